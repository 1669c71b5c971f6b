"""LanguageModel in batches: the answers of each text alone, timeouts and other tokenizers."""

import asyncio
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from helpers.letters import speaks_letters
from lacy.cascade import Engine
from lacy.corpus import TokenText, train_tokenizer
from lacy.model.decode import Decoder
from lacy.remote import RemoteError
from lacy.sources import LanguageModel, guarded
from lacy.sources.models.partial import PartialCompletion
from lacy.testing import byte_tokenizer, scripted, scripted_with
from lacy.types import Request

TOKENIZER = byte_tokenizer()
CONTEXT = 64
UNITS = ("token", "word", "value")


def tiny(kind, tokenizer=TOKENIZER):
    """Return a model with random weights; each kind finds the start of a row in another way."""
    torch.manual_seed(1)
    shared = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "initializer_range": 0.4,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    llama = {
        **shared, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
    }  # fmt: skip
    layers = {**shared, "n_layer": 2, "n_head": 4}
    model = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**llama)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**llama, sliding_window=8)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**layers, n_positions=CONTEXT)),
        "bloom": lambda: BloomForCausalLM(BloomConfig(**layers)),
        "mamba": lambda: MambaForCausalLM(
            MambaConfig(**shared, num_hidden_layers=2, state_size=4)
        ),
    }[kind]  # fmt: skip
    return model().eval()


MODELS = {kind: tiny(kind) for kind in ("llama", "mistral", "gpt2")}


def texts_of(replies):
    return [[c.text for c in reply.candidates] for reply in replies]


def ask(source, *requests):
    return asyncio.run(source.ask(requests))


def alone(model, request, tokenizer=TOKENIZER, **options):
    """Return a fresh source's reply to one request."""
    [reply] = ask(LanguageModel(model, tokenizer, **options), request)
    return reply


texts = st.text(st.sampled_from("abc é👍.,\n"), max_size=80)
asked = st.lists(
    st.builds(Request, texts, st.sampled_from(UNITS), stream=st.integers(0, 3)), max_size=5
)


@settings(max_examples=40, deadline=None)
@given(
    rounds=st.lists(asked, min_size=1, max_size=3), batch=st.integers(1, 4),
    kind=st.sampled_from(sorted(MODELS)),
)  # fmt: skip
def test_batched_answers_are_those_of_each_text_alone(rounds, batch, kind):
    model = MODELS[kind]
    source = LanguageModel(model, TOKENIZER, batch_size=batch, caches=3, price=1e6)
    for requests in rounds:  # later rounds meet the caches of earlier ones, fitting or not
        wanted = [alone(model, request, price=1e6) for request in requests]
        got = ask(source, *requests)
        assert [(r.candidates, r.cost, r.error) for r in got] == [
            (r.candidates, r.cost, r.error) for r in wanted
        ]
        assert len(source._caches) <= 3


def slowly(model, text, unit, limit, tokenizer=TOKENIZER):
    """Return the model's unit, generated token by token without a cache."""
    ids = [0, *tokenizer.encode(text, add_special_tokens=False)]
    out, said = TokenText(tokenizer).stream(), ""
    for _ in range(limit):
        with torch.inference_mode():
            logits_V = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        logits_V = logits_V.clone()
        logits_V[len(tokenizer) - 1] = -torch.inf  # <CALL>
        ids.append(int(logits_V.argmax()))
        if ids[-1] == 0:
            return unit_of(text, said, unit, "stop")
        said += out.add(ids[-1])
        if unit == "token" and said and out.whole:
            break
    return unit_of(text, said, unit, "length")


def unit_of(text, said, unit, finish):
    """Return the unit of a whole answer, "" if it contains half a character."""
    answer = PartialCompletion(text, unit, raw=True)
    answer.add(said)
    try:
        return answer.result(finish)
    except RemoteError:
        return ""


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "bloom", "mamba"])
def test_answers_of_every_architecture_are_those_without_a_cache(kind):
    model = MODELS.get(kind) or tiny(kind)
    source = LanguageModel(model, TOKENIZER)
    assert source.batch_size == (1 if kind in ("bloom", "mamba") else 32)
    beginnings = ["Ada", "Ada Lovelace was born in", "Émile", "x"]
    for more in ("", ", where"):  # the second time the caches are there
        requests = [
            Request(text + more, unit, stream=n)
            for n, text in enumerate(beginnings)
            for unit in UNITS[n % 3 :][:1]
        ]
        wanted = [slowly(model, r.text, r.unit, source.max_tokens[r.unit]) for r in requests]
        assert texts_of(ask(source, *requests)) == [[text] if text else [] for text in wanted]


def test_no_pass_is_larger_than_the_batch_size(monkeypatch):
    rows, forward = [], Decoder._forward

    def seen(self, which, input_BT, cache, keep):
        rows.append(len(input_BT))
        return forward(self, which, input_BT, cache, keep)

    monkeypatch.setattr(Decoder, "_forward", seen)
    source = LanguageModel(MODELS["llama"], TOKENIZER, batch_size=4)
    requests = [Request("a" * n, "value", stream=n) for n in range(10)]
    ask(source, *requests)
    assert max(rows) == 4
    together = len(rows)
    rows.clear()
    for request in requests:
        alone(MODELS["llama"], request)
    assert together < len(rows) / 2


def slow_partner(seconds, passes):
    """Return a model that is slow at every token and never ends a value."""

    def speak(text):
        passes.append(threading.current_thread().name)
        time.sleep(seconds)
        return "a"

    loaded = scripted(speak)
    return LanguageModel(loaded.model, loaded.tokenizer, max_tokens=200)


def test_the_event_loop_stays_free_and_a_timeout_ends_the_computation():
    passes, beats = [], []
    source = slow_partner(0.02, passes)

    async def beat():
        while True:
            beats.append(time.perf_counter())
            await asyncio.sleep(0.005)

    async def late():
        beating = asyncio.create_task(beat())
        [reply] = await guarded(source, [Request("x", "value")], timeout=0.3)
        beating.cancel()
        return reply

    begin = time.perf_counter()
    reply = asyncio.run(late())
    took = time.perf_counter() - begin
    assert reply.fault and "no answer after" in reply.error
    assert took < 3.5 and len(beats) > 10  # all tokens take 4 s
    time.sleep(0.1)
    count = len(passes)
    time.sleep(0.2)
    assert len(passes) == count < 100
    assert all(name.startswith("lacy-language-model") for name in passes)


def test_a_request_cancelled_while_queued_is_never_computed():
    passes = []
    source = slow_partner(0.01, passes)

    async def two():
        first = asyncio.create_task(source.ask([Request("x", "token")]))
        second = asyncio.create_task(source.ask([Request("y" * 9, "value")]))
        await asyncio.sleep(0)
        second.cancel()
        return await first

    assert texts_of(asyncio.run(two())) == [["a"]]
    time.sleep(0.05)
    assert len(passes) == 1


def test_one_thread_computes_with_a_model_whoever_asks():
    inside, most, lock = [0], [0], threading.Lock()

    def speak(text):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1
        return "a"

    loaded = scripted(speak)
    sources = [LanguageModel(loaded.model, loaded.tokenizer) for _ in "12"]

    def caller(source, number):
        ask(source, Request(f"text {number}", "token", stream=number))

    threads = [threading.Thread(target=caller, args=(sources[n % 2], n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


LINE = "Ada Lovelace was born in London, and 1815 was the year. Émile 👍 naïve Łódź 東京. "


def test_a_model_with_another_vocabulary():
    other = train_tokenizer([LINE] * 20, 330, split_digits=False)
    assert len(other) != len(TOKENIZER)
    assert len(other.encode("Lovelace")) < len(TOKENIZER.encode("Lovelace"))
    model = speaks_letters(tiny("llama", other), other)
    source = LanguageModel(model, other)
    requests = [Request(f"{LINE[:n]}", unit, stream=n) for n in range(1, 30) for unit in UNITS]
    wanted = [slowly(model, r.text, r.unit, source.max_tokens[r.unit], other) for r in requests]
    assert texts_of(ask(source, *requests)) == [[text] if text else [] for text in wanted]
    assert sum(map(bool, wanted)) > len(wanted) / 2


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("line", [" Łódź, where", " 東京 is", " 👍 yes", " naïve London."])
def test_characters_split_over_tokens_arrive_whole(line, unit):
    """Parts of characters from the larger model and bytes of the SLM form one text."""
    other = train_tokenizer(["the cat sat on London"] * 9, 300, split_digits=False)

    def speak(text):
        done = text[text.index("@") + 1 :]
        return line[len(done) :] if line.startswith(done) else ""

    partner = scripted_with(other, speak)
    source = LanguageModel(partner.model, other, name="partner", max_tokens=40)
    [[first]] = texts_of(ask(source, Request("He was@", unit)))
    assert line.startswith(first) and "\ufffd" not in first
    loaded = scripted(lambda text: "!", lambda text: "!" not in text)
    engine = Engine(loaded, source, "threshold=0", unit=unit, max_new_tokens=40)
    [answer] = engine.generate(["He was@"])
    assert answer.text.startswith(f"He was@{first}")
    borrowed = "".join(span.text for span in answer.spans if span.speaker == "partner")
    assert line.startswith(borrowed) and len(borrowed) >= len(first)


def test_a_number_comes_from_one_model():
    """Asked for tokens, a model with other tokens gives the whole number or none of it."""
    other = train_tokenizer(["born in 18 93 on 24 May"] * 9, 300, split_digits=False)

    def speak(text):
        done = text[text.index("@") + 1 :]
        return "1893 he"[len(done) :] if "1893 he".startswith(done) else ""

    partner = scripted_with(other, speak)
    assert len(other.encode("1893")) > 1
    source = LanguageModel(partner.model, other, name="partner", max_tokens=20)
    loaded = scripted(lambda text: "!", lambda text: text.endswith("@"))
    engine = Engine(loaded, source, "threshold=0", unit="token", max_new_tokens=20)
    [answer] = engine.generate(["He was born in@"])
    assert [span.text for span in answer.spans if span.speaker == "partner"] == ["1893"]
    loaded = scripted(lambda text: "1!"[text.count("1") :], lambda text: text.endswith("1"))
    [answer] = Engine(loaded, source, "threshold=0", unit="token").generate(["He was born in@"])
    assert not any(span.speaker == "partner" for span in answer.spans)
