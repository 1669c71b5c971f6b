"""``logprobs`` and ``echo`` as OpenAI's client gets them, whole and in chunks."""

import json

import httpx
import openai
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.serving import serving
from lacy.cascade import Engine
from lacy.model import without_call
from lacy.sources import ScriptedSource
from lacy.testing import scripted

PROMPT = "Tomas Brill from Łódź, 東京"
MODELS = ["slm:never", "slm:always", "slm"]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def bytes_of(token):
    if not token.startswith("bytes:"):
        return token.encode()
    return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))


def forward(engine, ids):
    with torch.inference_mode():
        logits_TV = engine.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    return torch.log_softmax(without_call(logits_TV, engine.call_id), dim=-1)


def check_offsets(logprobs, text):
    """Check that the tokens are the text, and that each begins at its offset."""
    tokens, places = logprobs.tokens, logprobs.text_offset
    assert b"".join(map(bytes_of, tokens)).decode(errors="replace").startswith(text)
    for token, place in zip(tokens, places, strict=True):
        if not token.startswith("bytes:"):
            assert text[place:].lstrip("�").startswith(token)  # bytes before it were no text
    assert places == sorted(places)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_completions(client, engine, model, stream, echo):
    how = {"model": model, "prompt": PROMPT, "temperature": 0.7, "seed": 5, "max_tokens": 12}
    plain = client.completions.create(**how).choices[0]
    got = client.completions.create(**how, logprobs=3, echo=echo, stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in got]
        text = "".join(chunk.text for chunk in chunks)
        logprobs = chunks[0].logprobs
        for chunk in chunks[1:]:
            for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                getattr(logprobs, name).extend(getattr(chunk.logprobs, name))
    else:
        text, logprobs = got.choices[0].text, got.choices[0].logprobs
        assert got.usage.completion_tokens == sum(s["tokens"] for s in plain.lacy["spans"])
    assert text == (PROMPT if echo else "") + plain.text
    check_offsets(logprobs, text)
    row = engine.sequence(0, PROMPT, None, 1)
    begin = row.ids[:1] if echo else row.ids
    table = {engine.token_text.bytes_of(n): n for n in range(3, len(engine.tokenizer) - 1)}
    ids = [*begin, *(table[bytes_of(token)] for token in logprobs.tokens)]
    logp_TV = forward(engine, ids)
    for place, said in enumerate(logprobs.token_logprobs):
        at = len(begin) + place
        assert said == pytest.approx(float(logp_TV[at - 1, ids[at]]), abs=1e-3)
        top = logprobs.top_logprobs[place]
        assert max(top.values()) == pytest.approx(float(logp_TV[at - 1].max()), abs=1e-3)
        assert 3 <= len(top) <= 4 and top[logprobs.tokens[place]] == said
    assert len(ids) == len(row.ids) + sum(span["tokens"] for span in plain.lacy["spans"])


@pytest.mark.parametrize("model", MODELS)
def test_chats(client, model):
    how = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 12}
    legacy = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, logprobs=2)
    whole = client.chat.completions.create(**how, logprobs=True, top_logprobs=2).choices[0]
    assert [t.logprob for t in whole.logprobs.content] == legacy.choices[0].logprobs.token_logprobs
    said = b"".join(bytes(token.bytes) for token in whole.logprobs.content)
    assert said.decode(errors="replace").startswith(whole.message.content.rstrip("�"))
    assert all(len(token.top_logprobs) == 2 for token in whole.logprobs.content)
    chunks = client.chat.completions.create(**how, logprobs=True, top_logprobs=2, stream=True)
    content = []
    for chunk in chunks:
        logprobs = chunk.choices[0].logprobs
        content += logprobs.content if logprobs else []
    assert content == whole.logprobs.content
    alone = client.chat.completions.create(**how, logprobs=True).choices[0].logprobs.content
    assert all(token.top_logprobs == [] for token in alone) and len(alone) == len(content)


def test_a_prompt_is_scored_without_generation(client, engine):
    got = client.completions.create(
        model="slm", prompt=[PROMPT, "Mara"], max_tokens=0, echo=True, logprobs=1, n=2
    )
    assert [choice.text for choice in got.choices] == [PROMPT, PROMPT, "Mara", "Mara"]
    assert got.usage.completion_tokens == 0
    for choice in got.choices:
        ids = engine.sequence(0, choice.text, None, 1).ids
        logp_TV = forward(engine, ids)
        expected = [float(logp_TV[n - 1, ids[n]]) for n in range(1, len(ids))]
        assert choice.logprobs.token_logprobs == pytest.approx(expected, abs=1e-3)
        assert choice.finish_reason == "length" and choice.lacy["spans"][0]["speaker"] == "prompt"
    bare = client.completions.create(model="slm", prompt="Mara", max_tokens=0, echo=True)
    assert bare.choices[0].text == "Mara" and bare.choices[0].logprobs is None
    streamed = client.completions.create(
        model="slm", prompt="Mara", max_tokens=2, echo=True, stream=True
    )
    said = "".join(chunk.choices[0].text for chunk in streamed)
    assert said.startswith("Mara") and len(said) > 4


def test_stop_strings_cut_logprobs_but_not_the_echoed_prompt():
    line = "Ada. Ada lived in Rome. Then she left."
    loaded = scripted(
        lambda t: line[len(t) :] if line.startswith(t) else ". Then", lambda t: t[-3:] == " in"
    )
    source = ScriptedSource([" Ulm an der Donau"], name="book")
    with serving(Engine(loaded, source, "threshold=0", max_new_tokens=60)) as running:
        for stop, text in [(".", " Ada lived in Ulm an der Donau"), (" an", " Ada lived in Ulm")]:
            how = {"stop": stop, "logprobs": 0, "echo": True}
            got = running.complete("Ada.", **how).json()["choices"][0]
            if stop == ".":
                text = got["text"].removeprefix("Ada.")
                assert "." not in text and "Donau" in text
            assert got["text"] == "Ada." + text and got["finish_reason"] == "stop"
            assert "".join(got["logprobs"]["tokens"]) == got["text"]
            assert got["logprobs"]["text_offset"] == list(range(len(got["text"])))
            assert got["logprobs"]["top_logprobs"] is None
            events = running.complete("Ada.", stream=True, **how).text.split("\n\n")
            parts = [json.loads(e[6:])["choices"][0] for e in events if e.startswith("data: {")]
            tokens = [token for part in parts for token in part["logprobs"]["tokens"]]
            assert tokens == got["logprobs"]["tokens"]


def test_invalid_combinations_are_refused(server):
    chat = {"model": "slm", "messages": [{"role": "user", "content": "Mara"}], "max_tokens": 1}
    for path, body, param in [
        ("completions", {"max_tokens": -1}, "max_tokens"),
        ("chat/completions", {"max_tokens": 0}, "max_tokens"),
        ("completions", {"logprobs": 6}, "logprobs"),
        ("completions", {"logprobs": -1}, "logprobs"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("chat/completions", {"echo": True}, "echo"),
    ]:
        sound = chat if "chat" in path else {"model": "slm", "prompt": "Mara"}
        got = httpx.post(f"{server.url}/v1/{path}", json=sound | body)
        assert got.status_code == 400 and got.json()["error"]["param"] == param, body


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=st.text(st.characters(codec="utf-8"), max_size=20),
    stop=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=2), max_size=2),
    model=st.sampled_from(MODELS),
    n=st.integers(1, 2),
)
def test_any_prompt(server, prompt, stop, model, n):
    how = {"max_tokens": 6, "stop": stop, "n": n, "seed": 1, "temperature": 1}
    plain = server.post("/v1/completions", model=model, prompt=prompt, **how).json()["choices"]
    got = server.post("/v1/completions", model=model, prompt=prompt, logprobs=1, echo=True, **how)
    for choice, expected in zip(got.json()["choices"], plain, strict=True):
        assert choice["text"] == prompt + expected["text"]
        assert "".join(span["text"] for span in choice["lacy"]["spans"]) == choice["text"]
        logprobs = choice["logprobs"]
        assert len({len(values) for values in logprobs.values()}) == 1
        assert all(0 <= place <= len(choice["text"]) for place in logprobs["text_offset"])


def test_a_prompt_may_come_as_tokens(client, engine):
    """As lm-eval sends them: no begin token is added, and the text is the same."""
    ids = [engine.tokenizer.bos_token_id, *engine.token_text.encode(PROMPT)]
    how = {"model": "slm:never", "max_tokens": 8, "echo": True, "logprobs": 1}
    text = client.completions.create(prompt=PROMPT, **how).choices[0]
    [one] = client.completions.create(prompt=ids, **how).choices
    several = client.completions.create(prompt=[ids, ids[1:]], **how)
    assert one.text == text.text == several.choices[0].text
    for got in (one, several.choices[0]):  # each token that was given has its entry
        assert got.logprobs.tokens == ["", *text.logprobs.tokens]
        assert got.logprobs.token_logprobs[0] is None and got.logprobs.text_offset[:2] == [0, 0]
        assert got.logprobs.token_logprobs[1:] == pytest.approx(
            text.logprobs.token_logprobs, abs=1e-4
        )
    assert several.choices[1].logprobs.token_logprobs[0] is None  # nothing stands before it
    assert several.usage.prompt_tokens == 2 * len(ids) - 1


@pytest.mark.parametrize("wrong", [[], [[]], [-1], [3.5], ["a", 1], [10**9], "call"])
def test_unknown_tokens_are_refused(server, engine, wrong):
    prompt = [engine.call_id] if wrong == "call" else wrong
    refused = server.complete(prompt)
    assert refused.status_code == 400 and refused.json()["error"]["param"].startswith("prompt")


def test_names_of_special_tokens_in_a_prompt_are_these_tokens(client, engine):
    end = engine.tokenizer.eos_token_id
    encode = engine.token_text.encode
    how = {"model": "slm:never", "max_tokens": 0, "echo": True, "logprobs": 1}
    for text, ids in [
        ("<|endoftext|>Mara", [end, *encode("Mara")]),  # none is put before the one that is there
        ("Mara<|endoftext|>Jon", [*encode("Mara"), end, *encode("Jon")]),
        ("<|endoftext|><|endoftext|>", [end, end]),
        ("a <CALL> b", None),  # never a call
    ]:
        ids = encode(text) if ids is None else ids
        got = client.completions.create(prompt=text, **how).choices[0]
        assert got.text == text and "".join(got.logprobs.tokens) == text
        assert len(got.logprobs.tokens) == len(ids) and engine.call_id not in ids
        begun = ids if ids[0] == end else [end, *ids]
        given = client.completions.create(prompt=begun, **how).choices[0].logprobs
        found = given.token_logprobs[len(begun) - len(ids) :]
        assert got.logprobs.token_logprobs == pytest.approx(found, abs=1e-4)
        check_offsets(got.logprobs, text)
    asked = client.completions.create(model="slm:never", prompt="a<|endoftext|>b", max_tokens=3)
    given = [end, *encode("a"), end, *encode("b")]
    again = client.completions.create(model="slm:never", prompt=given, max_tokens=3)
    assert asked.choices[0].text == again.choices[0].text
    assert asked.usage.prompt_tokens == again.usage.prompt_tokens == len(given)


@pytest.mark.parametrize("policy", ["threshold=0", "always", "never"])
@pytest.mark.parametrize("speak", ["", "x"])
def test_a_scored_prompt_may_be_followed_by_one_token(policy, speak):
    """Even if the model ends or calls there; no source is asked, as no text is wanted."""
    asked = []

    def reply(request):
        asked.append(request.text)
        return " Ulm an der Donau"

    loaded = scripted(lambda text: speak, lambda text: True)
    with serving(Engine(loaded, ScriptedSource(reply), policy)) as running:
        how = {"max_tokens": 1, "echo": True, "logprobs": 1}
        for prompt in ("Ada.", [0, 34, 69]):
            [choice] = running.complete(prompt, **how).json()["choices"]
            count = len(prompt) + 1
            assert len(choice["logprobs"]["tokens"]) == count
            assert choice["logprobs"]["token_logprobs"][-1] == pytest.approx(0, abs=0.02)
            assert choice["finish_reason"] == ("length" if speak else "stop")
            assert {len(values) for values in choice["logprobs"].values()} == {count}
    assert not asked


def test_completions_include_the_end_token_in_logprobs():
    loaded = scripted(lambda text: "ab"[len(text) - 1 :])
    with serving(Engine(loaded)) as running:
        for stream in (False, True):
            got = running.complete("x", max_tokens=9, logprobs=1, stream=stream)
            events = [e[6:] for e in got.text.split("\n\n") if e.startswith("data: {")]
            parts = [json.loads(e) for e in events] if stream else [got.json()]
            choices = [part["choices"][0] for part in parts]
            tokens = [token for c in choices for token in c["logprobs"]["tokens"]]
            assert tokens == ["a", "b", ""] and "".join(c["text"] for c in choices) == "ab"
            spans = [span for c in choices for span in c["lacy"]["spans"]]
            assert all(span["tokens"] for span in spans)
        messages = [{"role": "user", "content": "x"}]
        chat = running.post("/v1/chat/completions", model="slm", messages=messages, logprobs=True)
        content = chat.json()["choices"][0]["logprobs"]["content"]
        assert [token["token"] for token in content] == ["a", "b"]  # as OpenAI's
