"""A hosted model says what the same model says in process, span for span."""

import asyncio
import json
import re
import shutil
import socket
import time
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import hosted_app
from lacy.cascade import Engine, Oracle, parse_policy
from lacy.cascade.calibration import Calibration, KindFit
from lacy.cascade.hosted import mode_of
from lacy.cascade.hosted_model import connect
from lacy.cascade.hosted_server import LLAMA_TEXTS, CompletionServer
from lacy.cascade.reference import ReferenceText
from lacy.corpus import TokenText
from lacy.errors import LacyError
from lacy.model import load_model, save_model
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource
from lacy.testing import byte_tokenizer
from lacy.types import Candidate, Reply

pytestmark = pytest.mark.slow

LETTERS = hosted_app.LETTERS
PROMPTS = ["Mara", "The old ", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hosted_app.talker(tmp_path_factory.mktemp("hosted") / "slm")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def place(loaded):
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (url, engine):
        yield url, engine


@pytest.fixture
def hosted(place, folder):
    return connect(place[0], "slm", folder)


@pytest.fixture
def wide(place, folder):
    """Told of all tokens, as a budget must be to be held exactly."""
    return connect(place[0], "slm", folder, top=258)


def seen(answers):
    return [
        [(s.text, s.speaker, s.tokens, s.asked, s.evidence, s.fault) for s in answer.spans]
        + [answer.finished]
        for answer in answers
    ]


def reasons(answers):
    return [span.reason for answer in answers for span in answer.spans if span.asked]


def fits_in(answers):
    """Scores of the chosen candidates, as the reasons tell them."""
    found = (re.search(r"fits(?: best)? \(score (-?[\d.]+)\)", why) for why in reasons(answers))
    return [float(match[1]) for match in found if match]


def one(request):
    """Reply with one candidate, several, or none."""
    # With signs at the end: the model says only letters, and must not continue a source's word.
    ways = {
        0: " ulm,",
        1: [" Paris;", " Par;", "is not;", " 1879;"],
        2: None,
        3: Reply(error="down"),
    }
    return ways[len(request.text) % 4]


POLICIES = (
    "never", "always", "threshold=0", "threshold=1.5", "budget=0.22", "random=0.3,seed=2", "top2=1",
    "threshold=0.4,by=p_call", "budget=0.3,by=top2",
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_says_the_same_as_in_process(place, folder, loaded, policy):
    hosted = connect(place[0], "slm", folder, top=258 if "budget" in policy else 20)
    mine = Engine(loaded, ScriptedSource(one), policy, read=0, max_new_tokens=16)
    theirs = Engine(hosted, ScriptedSource(one), policy, max_new_tokens=16)
    expected, found = mine.generate(PROMPTS), theirs.generate(PROMPTS)
    assert seen(found) == seen(expected)
    assert policy == "never" or sum(answer.calls for answer in found) > 0
    for ours, told in zip(reasons(expected), reasons(found), strict=True):
        assert told.split("; ")[1:] == ours.split("; ")[1:]  # scores of candidates among them


def test_texts_end_as_they_do_in_process(hosted, loaded):
    """By the end of text, by the limit, by the context."""
    prompts = [*(letter * 3 for letter in LETTERS[:4]), "m" * 70]
    end = loaded.model.lm_head.weight.data[0]
    end *= 1.5
    expected = Engine(loaded, None, "never").generate(prompts, max_new_tokens=30)
    found = Engine(hosted, None, "never").generate(prompts, max_new_tokens=30)
    end /= 1.5
    assert seen(found) == seen(expected)
    assert 0 < sum(answer.finished for answer in found) < len(found)


@pytest.mark.parametrize("policy", ["never", "threshold=0", "budget=0.22"])
def test_every_end_of_the_checkpoint_ends_a_text(place, folder, tmp_path, policy):
    """The server does not know of the second; the folder's generation_config lists it."""
    shutil.copytree(folder, tmp_path / "slm")
    other = byte_tokenizer().encode("v", add_special_tokens=False)
    settings = {"eos_token_id": [0, *other], "bos_token_id": 0}
    (tmp_path / "slm" / "generation_config.json").write_text(json.dumps(settings))
    hosted = connect(place[0], "slm", tmp_path / "slm", top=258)
    mine = Engine(load_model(tmp_path / "slm"), ScriptedSource(one), policy, read=0)
    expected = mine.generate(PROMPTS, max_new_tokens=40)
    found = Engine(hosted, ScriptedSource(one), policy).generate(PROMPTS, max_new_tokens=40)
    assert seen(found) == seen(expected)
    longer = Engine(load_model(folder), ScriptedSource(one), policy, read=0).generate(
        PROMPTS, max_new_tokens=40
    )
    assert seen(longer) != seen(expected) and any(answer.finished for answer in expected)


@pytest.mark.parametrize("unit", ["token", "word"])
def test_units_and_places_are_held(hosted, loaded, unit):
    def answers(given):
        engine = Engine(given, ScriptedSource(one), "threshold=-2", read=0, unit=unit, at="word")
        return engine.generate(PROMPTS, max_new_tokens=14)

    assert seen(answers(hosted)) == seen(answers(loaded))


def test_a_calibration_ranks_as_in_process(wide, loaded):
    fits = {
        kind: KindFit((ReferenceText("Mara was born in", "Mara"), ReferenceText("she", "")), low, 9)
        for kind, low in (("town", -30.0), ("year", -60.0))
    }
    ends = (*loaded.tokenizer.encode("., a"), 0)
    calibration = Calibration(fits, {"margin": tuple(n / 7 - 9 for n in range(100))}, ends)

    def offer(request):
        found = [Candidate(" ulm,", kind="town", subject="Mara"), Candidate(" 1879;", kind="year")]
        return Reply(tuple(found), ranked=True)

    def answers(given):
        how = {"calibration": calibration, "abstain": None, "max_new_tokens": 12}
        return Engine(given, ScriptedSource(offer), "budget=0.2", read=0, **how).generate(
            PROMPTS[:2]
        )

    expected, found = answers(loaded), answers(wide)
    assert seen(found) == seen(expected)
    assert fits_in(found) == pytest.approx(fits_in(expected), abs=0.01)
    assert fits_in(found)


def test_sampling_goes_on_and_is_repeatable(hosted):
    engine = Engine(hosted, ScriptedSource(one), "threshold=0", temperature=0.8, seed=3)
    first, second = (engine.generate(PROMPTS, max_new_tokens=12) for _ in range(2))
    assert seen(first) == seen(second)
    assert all(answer.tokens == 12 or answer.finished or answer.calls for answer in first)


def test_an_oracle_needs_no_likelihoods(hosted, loaded):
    policy = Oracle(lambda text: "town" if len(text) % 5 == 0 else None)
    expected = Engine(loaded, ScriptedSource([" ulm,"]), policy, read=0).generate(
        PROMPTS, max_new_tokens=12
    )
    found = Engine(hosted, ScriptedSource([" ulm,"]), policy).generate(PROMPTS, max_new_tokens=12)
    assert seen(found) == seen(expected)


def test_where_call_is_not_told_its_margin_is_a_bound_and_counted(place, folder, wide):
    narrow = connect(place[0], "slm", folder, top=3)
    engine = Engine(narrow, ScriptedSource([" ulm"]), "budget=0.2")
    answers = engine.generate(PROMPTS, max_new_tokens=24)
    assert narrow.guessed > 0
    assert all(answer.tokens <= 24 for answer in answers)
    exact = Engine(wide, None, "budget=0.2")
    exact.generate(PROMPTS, max_new_tokens=10)
    assert wide.guessed == 0


def test_a_text_takes_a_request_per_call_where_the_server_stops(place, hosted):
    place[1].bodies.clear()
    engine = Engine(hosted, ScriptedSource([" ulm"]), "threshold=0", max_new_tokens=24)
    answers = engine.generate(PROMPTS)
    calls = sum(answer.calls for answer in answers)
    # after two answers at one place the model says a word of its own: a request of one token
    assert calls > 2
    assert len(place[1].bodies) <= 2 * calls + len(PROMPTS)


@pytest.mark.parametrize("policy", ["entropy=2", "budget=0.2,by=entropy"])
def test_a_policy_that_a_server_cannot_hold_is_refused(hosted, policy):
    with pytest.raises(LacyError, match="E92") as caught:
        Engine(hosted, None, policy)
    assert "entropy" in str(caught.value)
    assert mode_of(Engine(hosted).variant("threshold=0").sequence(0, "x", None, 1)) == "stops"


def test_a_gate_of_its_own_is_refused(hosted):
    hosted.gate = "sigmoid"
    with pytest.raises(LacyError, match="E92"):
        Engine(hosted, None, "threshold=0")
    Engine(hosted, None, "random=0.2")


def test_names_of_special_tokens_do_not_become_tokens(hosted, loaded):
    prompt, answer = "say <CALL> ", " a <CALL> b"
    engine = Engine(hosted, ScriptedSource([answer]), "always", max_new_tokens=16)
    expected = Engine(loaded, ScriptedSource([answer]), "always", read=0, max_new_tokens=16)
    assert seen(engine.generate([prompt])) == seen(expected.generate([prompt]))


def test_characters_of_several_tokens_come_whole(tmp_path_factory):
    """Random bytes: most are no characters. Ids tell them exactly."""
    torch.manual_seed(2)
    tokenizer = byte_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=96, bos_token_id=0, eos_token_id=0,
    )).eval()  # fmt: skip
    model.lm_head.weight.data *= 30
    folder = save_model(tmp_path_factory.mktemp("bytes") / "slm", model, tokenizer)
    mine = Engine(load_model(folder), ScriptedSource([" é"]), "threshold=-2", read=0)
    expected = mine.generate(PROMPTS, max_new_tokens=24)
    with hosted_app.serving(model, tokenizer) as (url, _):
        engine = Engine(connect(url, "slm", folder), ScriptedSource([" é"]), "threshold=-2")
        assert seen(engine.generate(PROMPTS, max_new_tokens=24)) == seen(expected)


def test_a_server_without_the_model_is_refused(place, folder, tmp_path):
    with pytest.raises(LacyError, match=r"E91.*\n.*slm.gguf"):
        connect(place[0], "another", folder)
    with pytest.raises(LacyError, match="E13"):
        connect(place[0], "slm", tmp_path)


@pytest.mark.parametrize("way", ["refuses_ids", "tells_pieces"])
def test_a_server_of_texts_is_refused_with_the_server_to_use(place, folder, way, monkeypatch):
    """It would read a typed ``<CALL>`` as a call, and not report where the model calls."""
    monkeypatch.setattr(place[1], way, True)
    with pytest.raises(LacyError, match=r"(?s)E91.*token ids|E91.*as text") as caught:
        connect(place[0], "slm", folder)
    assert "xllamacpp" in str(caught.value) and "llama_cpp.server" in str(caught.value)


def test_a_server_that_is_out_of_order_is_no_server_of_texts(place, folder, monkeypatch):
    monkeypatch.setattr(place[1], "gone", True)
    with pytest.raises(LacyError, match="E93"):
        connect(place[0], "slm", folder)


def test_a_server_that_is_not_there_is_said(folder):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(LacyError, match="E93"):
            connect(url, "slm", folder)
    with pytest.raises(LacyError, match="E72"):
        connect("ftp://x", "slm", folder)


def test_a_server_that_goes_away_ends_with_a_reason(loaded, folder):
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (url, _):
        hosted = connect(url, "slm", folder, timeout=1.0)
    with pytest.raises(LacyError, match="E93"):
        Engine(hosted, None, "never").generate(["Mara"])


def test_what_a_filter_leaves_is_said_and_the_filter_named(loaded, folder):
    with hosted_app.serving(loaded.model, loaded.tokenizer) as (url, server):
        engine = Engine(connect(url, "slm", folder), None, "never", max_new_tokens=12)
        [whole] = engine.generate(["Mara"])
        server.filtered = 3  # each answer ends so after three tokens; whoever asks goes on
        [answer] = engine.generate(["Mara"])
        assert answer.text == whole.text
        server.filtered = 0
        with pytest.raises(LacyError, match=r"E93.*content_filter"):
            engine.generate(["Mara"])


def test_policies_are_values_here_too(hosted, loaded):
    engine = Engine(hosted, ScriptedSource([" ulm"]), parse_policy("budget=0.3"))
    first, second = (engine.generate(["Mara"], max_new_tokens=12) for _ in range(2))
    assert seen(first) == seen(second)
    assert replace(hosted).server is hosted.server


class Hangs:
    """A source that never answers."""

    name, asked = "hangs", False

    async def ask(self, requests):
        self.asked = True
        await asyncio.sleep(600)


def test_a_cancelled_text_ends_at_once_while_its_source_hangs(hosted):
    engine = Engine(hosted, Hangs(), "always")
    sequence, ends = engine.sequence(0, "Mara", None, 9), []
    sequence.on_end = ends.append
    with LoopThread() as thread, closing(engine.loop(thread.submit)) as loop:
        loop.add([sequence])
        while not engine.source.asked:
            loop.step() if not loop.stuck else time.sleep(0.001)
        sequence.cancelled = True
        assert not loop.stuck
        loop.step()
        assert ends[0].text == "Mara" and len(loop) == 0 and loop.stuck


class Counted:
    """A client that counts how many requests run at the same time."""

    url = "http://127.0.0.1:9/v1"
    running = most = 0

    async def complete(self, **body):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        (token,) = [int(n) for n, bias in body["logit_bias"].items() if bias > 0] or [5]
        entry = {"id": token, "logprob": -0.5, "top_logprobs": []}
        return SimpleNamespace(choice={"text": "a", "logprobs": {"content": [entry]}})


def test_llama_cpp_gets_few_requests_at_a_time(loaded):
    client = Counted()
    server = CompletionServer(client, TokenText(loaded.tokenizer), None, 0, 0, 300)
    server.dialect = "llama"
    jobs = [([1, 2, 3], [7 + n, 40, 41], False) for n in range(24)]
    scored = asyncio.run(server.score_texts(jobs))
    assert [[t.token for t in text] for text in scored] == [[7 + n, 40, 41, 5] for n in range(24)]
    assert 4 <= client.most <= LLAMA_TEXTS * 4  # a request per token and one for the next token
