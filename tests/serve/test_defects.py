"""Defects of the past: lost capacity, bugs mistaken for clients that left, hidden bugs."""

import asyncio
import json
import logging
import time

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from helpers.serving import serving
from lacy.cascade import Engine, Oracle
from lacy.serve import Limits, Scheduler, make_app
from lacy.serve.admission import GenerationJob
from lacy.sources import ScriptedSource
from lacy.testing import scripted


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", rb'"prompt": "a\ud800"'),
        ("completions", rb'"prompt": ["a", "\udfff"]'),
        ("completions", rb'"prompt": "a", "stop": ["\ud800"]'),
        ("chat/completions", rb'"messages": [{"role": "user", "content": "\ud800"}]'),
        (
            "chat/completions",
            rb'"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]',
        ),
    ],
)
def test_a_lone_surrogate_is_an_error_of_the_caller(server, path, body):
    raw = b'{"model": "slm", "max_tokens": 1, %s}' % body
    headers = {"Content-Type": "application/json"}
    got = httpx.post(f"{server.url}/v1/{path}", content=raw, headers=headers)
    assert got.status_code == 400, got.text
    assert got.json()["error"]["param"].split(".")[0] in ("prompt", "stop", "messages")


@pytest.mark.parametrize("words", [400, 40_000])
@pytest.mark.parametrize(
    ("path", "param"),
    [("completions", "prompt"), ("chat/completions", "messages"), ("responses", "input")],
)
def test_a_text_beyond_the_context_names_its_field(server, path, param, words):
    text = "word " * words
    given = [{"role": "user", "content": text}] if param == "messages" else text
    got = server.post(f"/v1/{path}", model="slm", **{param: given})
    assert got.status_code == 400, got.text
    error = got.json()["error"]
    assert (error["param"], error["code"]) == (param, "context_length_exceeded")


def test_a_wrong_method_lists_the_allowed_ones(server):
    got = httpx.get(server.url + "/v1/completions")
    assert got.status_code == 405 and got.headers["allow"] == "POST"


def test_an_infinite_cost_is_null():
    source = ScriptedSource([" Ulm"], name="book", cost=float("inf"))
    with serving(Engine(scripted(lambda t: "x"), source, "always", max_new_tokens=8)) as running:
        for stream in (False, True):
            text = running.complete("a", stream=stream).text
            assert "Infinity" not in text and '"cost":null' in text.replace(" ", "")
        assert httpx.get(running.url + "/v1/lacy").json()["sources"][0]["cost"] is None


def test_a_bug_is_counted_and_logged_once(caplog):
    def broken(text):
        raise RuntimeError("the cause")

    engine = Engine(scripted(lambda t: "x"), None, Oracle(broken), max_new_tokens=3)
    with Scheduler(engine) as scheduler:
        app = make_app(scheduler, "slm")

        @app.get("/broken")
        async def path():
            raise RuntimeError("another cause")

        client = TestClient(app, raise_server_exceptions=False)
        caplog.set_level(logging.INFO, logger="lacy.serve")
        got = client.post("/v1/completions", json={"model": "slm", "prompt": "a", "n": 2})
        assert got.status_code == 500 and "cause" not in got.text
        assert client.get("/broken").status_code == 500
        figures = client.get("/metrics").text
    assert 'path="other",status="500"} 1.0' in figures and 'status="499"' not in figures
    lines = [json.loads(r.message) for r in caplog.records if r.message.startswith("{")]
    assert [line["status"] for line in lines] == [500, 500]
    shown = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert shown == ["the cause", "another cause"]


def test_a_cancelled_job_in_the_queue_makes_room(slow):
    with Scheduler(slow, streams=1, queue=2) as scheduler:
        ends = []
        orders = [
            GenerationJob(slow, "a", 400, on_end=lambda number, answer, n=n: ends.append(n))
            for n in range(3)
        ]
        scheduler.submit(*orders)
        while not scheduler.running:
            time.sleep(0.005)
        scheduler.cancel(orders[2])  # the last in the queue
        end = time.monotonic() + 120
        while scheduler.waiting > 1:
            assert time.monotonic() < end
            time.sleep(0.005)
        while 2 not in ends:
            assert time.monotonic() < end
            time.sleep(0.005)
        assert ends == [2]
        scheduler.submit(GenerationJob(slow, "b", 1))  # there is room again, and no Busy


def streamed(scheduler, receive, send, **limits):
    """One streamed request to the application itself, whose client is ``receive`` and ``send``;
    soon after it nothing is being written."""
    body = {"model": "slm", "prompt": "a", "max_tokens": 400, "stream": True}
    news = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "POST",
        "path": "/v1/completions", "raw_path": b"", "root_path": "", "query_string": b"",
        "scheme": "http", "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def hear():
        return next(news, None) or await receive()

    async def ask():
        app = make_app(scheduler, "slm", limits=Limits(**limits))
        try:
            await asyncio.wait_for(app(scope, hear, send), 120)
        finally:
            async with asyncio.timeout(60):  # a loop that is gone would end texts as well
                while scheduler.running:
                    await asyncio.sleep(0.01)

    asyncio.run(ask())


def test_a_client_that_leaves_before_the_first_chunk_ends_its_text(slow):
    async def gone(message=None):
        raise OSError("nobody is there")

    with Scheduler(slow) as scheduler, pytest.raises(ClientDisconnect):
        streamed(scheduler, asyncio.Event().wait, gone)


def test_a_stalled_client_does_not_fill_the_memory(slow, caplog):
    sent = []

    async def wait(message=None):
        sent.append(message)
        if message is None or len(sent) > 3:
            await asyncio.sleep(600)

    caplog.set_level(logging.INFO, logger="lacy.serve")
    with Scheduler(slow) as scheduler:
        streamed(scheduler, wait, wait, stall_seconds=1)
    [line] = [json.loads(r.message) for r in caplog.records if r.message.startswith("{")]
    assert line["stalled"] and 0 < line["tokens"] < 400


def test_null_as_lacy_options_means_defaults(server):
    got = server.complete(max_tokens=1, lacy=None)
    assert got.status_code == 200, got.text


def test_a_foreign_web_page_cannot_generate_text(server):
    """A browser sends a preflight request before JSON; other content types are refused."""
    raw = b'{"model": "slm", "prompt": "a", "max_tokens": 1}'
    for kind in ({}, {"Content-Type": "text/plain"}):
        got = httpx.post(server.url + "/v1/completions", content=raw, headers=kind)
        assert got.status_code == 400, got.text
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    got = httpx.options(server.url + "/v1/completions", headers=asked)
    assert got.status_code == 405 and not any("access-control" in name for name in got.headers)
