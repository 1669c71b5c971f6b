"""Limits, shutdown, metrics and log."""

import gzip
import hashlib
import json
import logging
import threading
import time

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from helpers.serving import JSON, problem, serving
from lacy.cascade import Engine
from lacy.errors import LacyError
from lacy.serve import Keys, Limits, Scheduler
from lacy.serve.admission import Closing
from lacy.serve.keys import Key
from lacy.serve.scheduler import GenerationJob
from lacy.sources import ScriptedSource
from lacy.testing import scripted

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ["model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "n", "stop",
          "stream", "stream_options", "lacy", "logprobs", "echo", "logit_bias"]  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3),
    sound=st.booleans(),
    path=st.sampled_from(["/v1/completions", "/v1/chat/completions"]),
)
def test_no_body_causes_a_server_error(server, body, sound, path):
    if sound:
        chat = [{"role": "user", "content": "Mara"}]
        words = {"prompt": "Mara"} if path == "/v1/completions" else {"messages": chat}
        body = {"model": "slm", "max_tokens": 2, **words, **body}
    raw = json.dumps(body)  # NaN and infinities among them, which JSON does not know
    response = httpx.post(server.url + path, content=raw, headers=JSON, timeout=120)
    event("answered" if response.status_code == 200 else "refused")
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        problem(response, response.status_code)


text = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=text,
    stop=st.lists(text.filter(bool), max_size=2),
    policy=st.sampled_from(["always", "entropy=2"]),
)
def test_spans_account_for_every_character(server, prompt, stop, policy):
    body = {"max_tokens": 6, "stop": stop, "lacy": {"policy": policy}}
    choice = server.complete(prompt, **body).json()["choices"][0]
    assert "".join(span["text"] for span in choice["lacy"]["spans"]) == choice["text"]
    assert not any(s in choice["text"] for s in stop)
    streamed = server.complete(prompt, stream=True, **body).text
    events = [line[6:] for line in streamed.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    parts = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert "".join(part["text"] for part in parts) == choice["text"]
    assert parts[-1]["finish_reason"] == choice["finish_reason"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 9}, "n"), ({"n": 0}, "n"), ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens"), ({"stop": ["a"] * 5}, "stop"), ({"stop": ""}, "stop"),
        ({"prompt": ["a"] * 33}, "prompt"), ({"prompt": [1.5]}, "prompt"),
        ({"suffix": "x"}, "suffix"), ({"temperature": 3}, "temperature"),
        ({"lacy": {"polcy": "never"}}, "lacy.polcy"), ({"lacy": {"unit": "page"}}, "lacy.unit"),
        ({"lacy": {"policy": "budget=7"}}, "lacy.policy"), ({"top_k": 5}, "top_k"),
        ({"prompt": "Mara " * 4000}, "prompt"), ({"model": "slm:maybe"}, "model"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(engine, body, param, server):
    body = {"prompt": "Mara", "max_tokens": 2, **body}
    if body["max_tokens"] == 65:
        with serving(engine, limits=Limits(max_new_tokens=64)) as small:
            error = problem(small.complete(**body), 400)
    else:
        error = problem(server.post("/v1/completions", **{"model": "slm", **body}), 400)
    assert error["param"].startswith(param.partition(".str")[0])


def test_infinite_numbers_are_an_error_of_the_caller(server):
    for policy in ("budget=0.1,horizon=" + "9" * 150, "budget=0.1,window=" + "9" * 25):
        problem(server.complete(lacy={"policy": policy}), 400)
    cold = server.complete(temperature=5e-324, max_tokens=3, lacy={"policy": "never"}).json()
    plain = server.complete(temperature=0, max_tokens=3, lacy={"policy": "never"}).json()
    assert cold["choices"][0]["text"] == plain["choices"][0]["text"]


def test_bodies_paths_and_methods(engine):
    with serving(engine, limits=Limits(body_bytes=300)) as running:
        url = running.url + "/v1/completions"
        large = json.dumps({"model": "slm", "prompt": "a" * 300}).encode()
        assert problem(httpx.post(url, content=large), 413)["code"] == "body_too_large"
        assert problem(httpx.post(url, content=iter([large])), 413)["code"] == "body_too_large"
        for raw in (b"{", b"\xff\xfe", b'{"prompt": "\xff"}', gzip.compress(b"{}"), b"[" * 250):
            error = problem(httpx.post(url, content=raw, headers=JSON), 400)
            assert "parsing" in error["message"] or "not valid JSON" in error["message"]
        problem(httpx.get(url), 405)
        problem(httpx.get(running.url + "/v2"), 404)
        assert running.complete(max_tokens=1).status_code == 200
        assert httpx.get(running.url + "/health").json() == {"status": "ok"}


def test_a_local_server_refuses_other_host_names(engine):
    with serving(engine, hosts=("127.0.0.1", "localhost")) as running:
        port = running.url.rpartition(":")[2]
        for host, status in [
            ("evil.example", 421), (f"evil.example:{port}", 421), ("[", 421), ("localhost", 200),
            (f"127.0.0.1:{port}", 200), ("LOCALHOST", 200),
        ]:  # fmt: skip
            got = httpx.get(running.url + "/v1/models", headers={"Host": host})
            assert got.status_code == status, host


def test_a_full_server_says_when_to_retry(slow):
    with serving(slow, streams=1, queue=1) as running:
        done = []
        threads = [
            threading.Thread(target=lambda: done.append(running.complete("a", max_tokens=40)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while running.scheduler.running + running.scheduler.waiting < 2:
            time.sleep(0.005)
        refused = running.complete("b", max_tokens=1)
        assert problem(refused, 429)["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1  # how many: test_keys.py
        for thread in threads:
            thread.join()
        assert [response.status_code for response in done] == [200, 200]
        assert running.complete("b", max_tokens=1).status_code == 200


def test_keys_and_their_rates(engine, tmp_path):
    path = tmp_path / "keys.json"
    with pytest.raises(LacyError, match="E13"):
        Keys.load(path)
    keys = Keys([])
    free, bound = keys.add(path, "ada"), keys.add(path, "bea", per_minute=2)
    stored = path.read_text()
    assert free not in stored and hashlib.sha256(free.encode()).hexdigest() in stored
    with serving(engine, keys=Keys.load(path)) as running:

        def ask(key):
            headers = {"Authorization": f"Bearer {key}"} if key else None
            return running.post(
                "/v1/completions", model="slm", prompt="Mara", max_tokens=1, headers=headers
            )

        assert problem(ask(None), 401)["code"] == "invalid_api_key"
        problem(ask("lacy-wrong"), 401)
        assert [ask(free).status_code for _ in range(4)] == [200] * 4
        assert [ask(bound).status_code for _ in range(2)] == [200] * 2
        late = ask(bound)
        assert problem(late, 429)["code"] == "rate_limit_exceeded"
        assert 20 < int(late.headers["retry-after"]) <= 31
        assert httpx.get(running.url + "/health").status_code == 200
        assert httpx.get(running.url + "/metrics").status_code == 401
    path.write_text('{"keys": [{"name": "ada"}]}')
    with pytest.raises(LacyError, match="E12"):
        Keys.load(path)


def test_a_rate_limit_holds_over_time():
    now = [0.0]
    key = Key("ada", "0" * 64, per_minute=6)
    keys = Keys([key], clock=lambda: now[0])
    assert [keys.charge(key) for _ in range(6)] == [0.0] * 6
    assert keys.charge(key) == pytest.approx(10)
    now[0] = 9.0
    assert keys.charge(key) == pytest.approx(1)
    now[0] = 10.0
    assert keys.charge(key) == 0.0 and keys.charge(key) > 9


@pytest.mark.parametrize(("grace", "finish"), [(20.0, "stop"), (0.2, "length")])
def test_shutting_down_ends_streams_well(grace, finish):
    def speak(text):
        time.sleep(0.01)
        return "x" if len(text) < 100 else ""

    with serving(Engine(scripted(speak), max_new_tokens=500), grace=grace) as running:
        body = {"model": "slm", "prompt": "a", "stream": True}
        with httpx.stream(
            "POST", running.url + "/v1/completions", json=body, timeout=120
        ) as stream:
            lines = stream.iter_lines()
            next(lines)
            running.stop()
            rest = [line[6:] for line in lines if line]
        running.thread.join(timeout=120)
    assert rest[-1] == "[DONE]"
    assert json.loads(rest[-2])["choices"][0]["finish_reason"] == finish
    with pytest.raises(Closing):
        running.scheduler.submit(GenerationJob(running.scheduler.engine, "a", 1))


def test_a_bug_during_generation_is_an_error_and_the_server_goes_on(caplog):
    def speak(text):
        if text.startswith("bad") and len(text) > 5:
            raise RuntimeError("secret")
        return "x"

    with serving(Engine(scripted(speak), max_new_tokens=5)) as running:
        error = problem(running.complete("bad"), 500)
        assert error["type"] == "api_error" and "secret" not in error["message"]
        events = [line[6:] for line in running.complete("bad", stream=True).text.split("\n\n")]
        assert "error" in json.loads(events[-3]) and events[-2] == "[DONE]"
        assert running.complete("good").json()["choices"][0]["text"] == "xxxxx"
    assert "secret" in caplog.text


def test_metrics_and_log_contain_no_prompts(real, caplog):
    source = ScriptedSource(lambda r: None if "Ulm" in r.text else " Ulm", name="book", cost=0.5)
    engine = Engine(real, source, "always")
    caplog.set_level(logging.INFO, logger="lacy.serve")
    with serving(engine) as running:
        got = running.complete("Geheim", max_tokens=4, lacy={"unit": "word"}).json()
        figures = httpx.get(running.url + "/metrics").text
    account = got["choices"][0]["lacy"]
    assert 'lacy_requests_total{path="/v1/completions",status="200"} 1.0' in figures
    answered = sum(span["asked"] and span["speaker"] == "book" for span in account["spans"])
    unanswered = account["calls"] - answered
    assert answered and unanswered
    assert f'lacy_calls_total{{outcome="found"}} {answered:.1f}' in figures
    assert f'lacy_calls_total{{outcome="not_found"}} {unanswered:.1f}' in figures
    assert 'outcome="failed"' not in figures
    assert f"lacy_cost_total {account['cost']}" in figures
    lines = [json.loads(r.message) for r in caplog.records if r.message.startswith("{")]
    assert lines[0]["status"] == 200 and lines[0]["tokens"] == got["usage"]["completion_tokens"]
    assert "Geheim" not in caplog.text


def test_a_scheduler_closes_with_running_texts(slow):
    scheduler, ends = Scheduler(slow, streams=1), []
    orders = [
        GenerationJob(slow, "a", 400, on_end=lambda number, answer: ends.append(answer))
        for _ in range(3)
    ]
    scheduler.submit(*orders)
    time.sleep(0.1)
    scheduler.close()
    assert len(ends) == 3 and scheduler.running == scheduler.waiting == 0
    assert sum(answer.tokens > 0 for answer in ends) == 1
