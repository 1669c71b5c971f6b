"""``lacy serve`` in front of a hosted model behaves as with a model in the process."""

import asyncio
import contextlib
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import httpx
import numpy as np
import openai
import pytest

from helpers import hosted_app
from helpers.serving import joined, problem, serving
from lacy.cascade import Engine
from lacy.cascade.hosted_model import connect
from lacy.decide import Decider, zero_shot
from lacy.model import load_model
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Reply

pytestmark = pytest.mark.slow

PATH = "/v1/completions"
PROMPTS = ["Mara", "The old ", "x"]


def reply(request):
    """Reply with one candidate, several, or none."""
    # With signs at the end: the model says only letters, and must not continue a source's word.
    values = [" Paris;", " Par;", "is not;", " 1879;"]
    ways = {0: " ulm,", 1: values, 2: None, 3: Reply(error="down")}
    return ways[len(request.text) % 4]


def book():
    return ScriptedSource(reply, name="book", cost=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hosted_app.talker(tmp_path_factory.mktemp("hosted") / "slm")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def engine_there(loaded):
    with hosted_app.serving(loaded.model, loaded.tokenizer) as place:
        yield place


@pytest.fixture
def there(engine_there):
    """The server that hosts the model; it can be made to fail."""
    yield engine_there
    engine_there[1].gone = False


@pytest.fixture
def make(there, folder):
    """Hosted engines."""

    def made(policy="threshold=0", source=None, **how):
        how = {"max_new_tokens": 16} | how
        return Engine(connect(there[0], "slm", folder), source or book(), policy, **how)

    return made


def talking(running):
    return openai.OpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0)


def never(running):
    """The status of a request without calls."""
    return running.post(PATH, model="slm:never", prompt="x", max_tokens=2).status_code


def told(spans):
    """The exact fields: the margin, and the number in the reason, come from rounded values."""
    keys = ("text", "speaker", "tokens", "asked", "evidence", "fault", "cost")
    return [[s[key] for key in keys] + s["reason"].split("; ")[1:] for s in spans]


def until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("policy", ["threshold=0", "never", "random=0.3,seed=2"])
def test_spans_are_those_of_the_model_in_process(make, loaded, policy):
    mine = Engine(loaded, book(), read=0, max_new_tokens=16)
    model, calls = f"slm:{policy}", 0
    with serving(mine) as here, serving(make()) as far, talking(here) as a, talking(far) as b:
        for prompt in PROMPTS:
            expected = a.completions.create(model=model, prompt=prompt).choices[0]
            whole = b.completions.create(model=model, prompt=prompt)
            found = whole.choices[0]
            assert told(found.lacy["spans"]) == told(expected.lacy["spans"])
            assert found.text == expected.text and found.finish_reason == expected.finish_reason
            assert whole.usage.prompt_tokens == len(prompt) + 1
            chunks = list(b.completions.create(model=model, prompt=prompt, stream=True))
            assert told(joined(chunks)) == told(expected.lacy["spans"])
            assert "".join(chunk.choices[0].text for chunk in chunks) == found.text
            assert chunks[-1].choices[0].finish_reason == expected.finish_reason
            calls += found.lacy["calls"]
        chat = b.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Mara"}], max_tokens=5
        )
        assert chat.choices[0].message.content
    assert (calls > 0) == (policy != "never")


def test_text_is_streamed_if_the_hosting_server_streams(make, there):
    with serving(make("never")) as running, talking(running) as client:
        chunks = list(client.completions.create(model="slm", prompt="x", stream=True))
    spans = [span for chunk in chunks for span in chunk.choices[0].lacy["spans"]]
    assert len(spans) > 5 and all(span["tokens"] <= 1 for span in spans)
    assert there[1].bodies[-1]["stream"]


def test_sixteen_texts_at_once_equal_each_alone(make, loaded):
    engine = make(max_new_tokens=12)
    mine = Engine(loaded, book(), "threshold=0", read=0, max_new_tokens=12)
    prompts = [f"{letter} old" for letter in "abcdefghijklmnop"]
    with serving(engine, streams=6, queue=20) as running, ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda p: running.complete(p).json()["choices"][0], prompts))
        for prompt, choice in zip(prompts, together, strict=True):
            (alone,) = mine.generate([prompt])
            expected = [asdict(span) for span in alone.spans[1:]]
            assert told(choice["lacy"]["spans"]) == told(expected)
        several = running.complete("Mara", n=3, temperature=1, seed=4, max_tokens=8).json()
        assert len({choice["text"] for choice in several["choices"]}) > 1
        figures = httpx.get(running.url + "/metrics").text
        about = httpx.get(running.url + "/v1/lacy").json()
    assert "lacy_streams 0.0" in figures and 'lacy_tokens_total{speaker="book"}' in figures
    assert about["policy"] == "threshold=0" and about["sources"][0]["requests"] > 0


def test_a_hosted_model_makes_no_typed_decisions_without_a_head(make):
    asked = {"a": {"type": "noul", "instructions": "b"}}
    body = {"model": "slm", "state": "x", "questions": asked}
    with serving(make()) as running:
        error = problem(running.post("/v1/systemone", **body), 501)
        assert error["code"] == "unsupported" and "--decide" in error["message"]
        [told] = httpx.get(running.url + "/v1/models").json()["data"]
    assert "decision" not in told["capabilities"]
    head = Decider(Two(), zero_shot())
    with serving(make(), decider=head) as running:
        answer = running.post("/v1/systemone", **body).json()["answers"]["a"]
    assert answer["noul"] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-5)


class Two:
    """Features that need no model: those of *yes* are larger."""

    def features(self, state, questions):
        return [np.eye(len(question.options), 2) for question in questions]

    def tokens(self, state, questions):
        return len(questions)

    def identity(self):
        return {"kind": "two"}


@pytest.mark.parametrize("model", ["slm:never", "slm:always"])
def test_a_client_that_leaves_cancels_the_hosted_request(make, there, model):
    """The client leaves during a request to the hosting server, or to a source that hangs."""
    source = ScriptedSource([" ulm"], delay=30)
    with serving(make(source=source), streams=1, queue=1) as running:
        hangs = there[1].lock if model == "slm:never" else contextlib.nullcontext()
        with hangs, pytest.raises(httpx.ReadTimeout):
            running.post(PATH, model=model, prompt="x", timeout=0.7)
        until(lambda: running.scheduler.running == 0)
        until(lambda: there[1].streams == 0)
        assert never(running) == 200


def test_a_hosting_server_that_dies_is_an_error(make, there):
    class Dies(ScriptedSource):
        async def ask(self, requests):
            there[1].gone = True
            return await super().ask(requests)

    engine = make(source=Dies([" ulm"]))
    with serving(engine) as running, talking(running) as client:
        got = running.complete("x", stream=True)
        events = [event for event in got.text.split("\n\n") if event and event[0] != ":"]
        error = json.loads(events[-2][6:])["error"]
        assert error["code"] == "E93" and error["type"] == "api_error"
        assert events[-1] == "data: [DONE]" and len(events) > 2
        for stream in (False, True):  # nothing was said yet
            with pytest.raises(openai.InternalServerError) as caught:
                client.completions.create(model="slm", prompt="x", stream=stream)
            assert caught.value.status_code == 502 and caught.value.code == "E93"
        there[1].gone = False
        assert never(running) == 200
        until(lambda: running.scheduler.running == running.scheduler.waiting == 0)


def test_an_interrupted_stream_is_continued(make, there, monkeypatch):
    with serving(make()) as running:
        expected = running.complete("Mara", max_tokens=12).json()["choices"][0]
        monkeypatch.setattr(there[1], "longest", 3)
        found = running.complete("Mara", max_tokens=12).json()["choices"][0]
        assert told(found["lacy"]["spans"]) == told(expected["lacy"]["spans"])
        monkeypatch.setattr(there[1], "longest", 0)
        assert running.complete("Mara").status_code == 502


class Gate:
    """A source that waits for an event before it answers, without blocking others."""

    name = "gate"

    def __init__(self):
        self.open = threading.Event()

    async def ask(self, requests):
        for _ in range(3000):
            if self.open.is_set():
                break
            await asyncio.sleep(0.01)
        return [Reply((Candidate(" ulm"),)) for _ in requests]


def test_a_full_server_sends_retry_after(make):
    gate = Gate()
    engine = make("always", gate)
    with serving(engine, streams=1, queue=1) as running, ThreadPoolExecutor(2) as pool:
        held = []
        for n in range(2):
            held.append(pool.submit(running.complete, "x", max_tokens=4))
            until(lambda n=n: running.scheduler.running + running.scheduler.waiting == n + 1)
        refused = running.complete("x")
        assert refused.status_code == 429 and refused.headers["Retry-After"]
        gate.open.set()
        assert [one.result().status_code for one in held] == [200, 200]


def test_what_a_hosting_server_does_not_support_is_refused(make):
    with serving(make()) as running:
        for body, param, code in (
            ({"logprobs": 2}, "logprobs", "unsupported"),
            ({"lacy": {"policy": "entropy=2"}}, "lacy.policy", "E92"),
            ({"lacy": {"policy": "budget=0.2,by=entropy"}}, "lacy.policy", "E92"),
            ({"prompt": "x" * 99}, "prompt", "context_length_exceeded"),
        ):
            got = running.post(PATH, **{"model": "slm", "prompt": "x"} | body)
            error = got.json()["error"]
            assert got.status_code == 400 and error["type"] == "invalid_request_error"
            assert (error["param"], error["code"]) == (param, code)
        chat = {"messages": [{"role": "user", "content": "x"}], "logprobs": True}
        got = running.post("/v1/chat/completions", model="slm", **chat).json()
        assert got["error"]["param"] == "logprobs"
        echoed = running.complete("Mara", echo=True, max_tokens=2).json()["choices"][0]
        assert echoed["text"].startswith("Mara") and len(echoed["text"]) > 4


def test_shutting_down_ends_streams_well(make):
    source = ScriptedSource([" ulm"], delay=30)
    with serving(make("always", source), grace=0.2) as running, ThreadPoolExecutor(1) as pool:
        late = pool.submit(running.complete, "x", stream=True)
        until(lambda: running.scheduler.running == 1)
        running.stop()
        events = [part for part in late.result().text.split("\n\n") if part]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2][6:])["choices"][0]["finish_reason"] == "length"
