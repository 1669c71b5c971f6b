"""Faults of servers: each request ends in time, with a valid reply that says what happened."""

import asyncio
import gzip
import itertools
import json
import random
import socket
import time
from email.utils import formatdate

import pytest

from helpers.waiting import PATIENCE
from lacy.cascade import Engine
from lacy.remote.http import retry_after_seconds
from lacy.sources import guarded
from lacy.sources.models import Endpoint
from lacy.testing import scripted
from lacy.types import Request

pytestmark = pytest.mark.slow

SOUND = json.dumps({"choices": [{"text": " Paris.", "finish_reason": "stop"}]}).encode()


def hangs(handler, number):
    handler.server.stop.wait(PATIENCE)


def drips_body(handler, number):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    drip(handler)


def drips_headers(handler, number):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(handler)


def drip(handler):
    while not handler.server.stop.wait(0.05):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def half_closed(handler, number):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(SOUND)))
    handler.end_headers()
    handler.wfile.write(SOUND[:20])
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_WR)
    handler.close_connection = True


def closes(handler, number):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def no_http(handler, number):
    handler.wfile.write(b"\x00\xff\xfe SSH-2.0 hello\r\n\r\n")
    handler.close_connection = True


def endless(handler, number):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(160):  # 10 MB
        handler.wfile.write(piece)


def body(raw, **headers):
    return lambda handler, number: handler.say(raw, **headers)


def status(code, raw=b"{}", **headers):
    return lambda handler, number: handler.say(raw, code, **headers)


FAULTS = {
    "hangs": (hangs, "no whole answer within"),
    "drips its body": (drips_body, "no whole answer within"),
    "drips its headers": (drips_headers, "no whole answer within"),
    "half-closed": (half_closed, "RemoteProtocolError"),
    "closes at once": (closes, "after 2 tries"),
    "speaks no HTTP": (no_http, "RemoteProtocolError"),
    "10 MB": (body(b'{"x": "' + b"a" * 10_000_000 + b'"}'), "longer than 1,000,000 bytes"),
    "10 MB in chunks": (endless, "longer than 1,000,000 bytes"),
    "10 MB with a 500": (status(500, b"a" * 10_000_000), "HTTP 500"),
    "packed otherwise": (body(SOUND, Content_Encoding="br"), "compressed (br)"),
    "badly packed": (body(SOUND, Content_Encoding="gzip"), "the answer is not gzip"),
    "10 MB packed small": (
        body(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"),
        "longer than 1,000,000",
    ),
    "wrong encoding": (body('{"choices": [{"text": "Zürich"}]}'.encode("latin-1")), "not UTF-8"),
    "UTF-16": (body(SOUND.decode().encode("utf-16")), "not UTF-8"),
    "half a character": (body(b'{"choices": [{"text": "\\ud800a"}]}'), "half a character"),
    "garbage": (body(bytes(range(256)) * 10), "not UTF-8"),
    "no JSON": (body(b"<html>hello</html>"), "not JSON"),
    "half JSON": (body(SOUND[:-5]), "not JSON"),
    "deep JSON": (body(b"[" * 200_000), "not JSON"),
    "nothing": (body(b""), "not JSON"),
    "a list": (body([1]), "not a JSON object"),
    "a number too long": (body(b"1" * 10_000), "not JSON"),
    "no choices": (body({}), "has no choices"),
    "null choices": (body({"choices": None}), "has no choices"),
    "empty choices": (body({"choices": []}), "has no choices"),
    "choices of text": (body({"choices": ["Paris"]}), "has no choices"),
    "a choice without text": (body({"choices": [{}]}), "has no text"),
    "text that is a number": (body({"choices": [{"text": 5}]}), "has no text"),
    "500": (status(500, b'{"error": {"message": "out of memory"}}'), "HTTP 500 out of memory"),
    "500 with a page": (status(503, b"<html>" + b"x" * 5000), "HTTP 503, after 2 tries"),
    "500 of other JSON": (status(502, b'{"error": {"message": [1]}}'), "HTTP 502"),
    "429": (status(429, Retry_After="3600"), "HTTP 429, and no time for another try in 3600.0 s"),
    "401": (status(401), "HTTP 401; set the key: export OPENAI_API_KEY"),
    "elsewhere": (status(302, Location="http://127.0.0.1:1/"), "HTTP 302"),
    "418": (status(418, b"\x1b[31mred\x00\n\nteapot"), "HTTP 418 [31mred teapot"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_becomes_a_reply_in_time(server, name):
    """Servers that hang are abandoned at the deadline; other faults are noticed before it."""
    server.play, says = FAULTS[name]
    hangs = says.startswith("no whole answer")
    requests = [Request("He was born in"), Request("She was born in", "word")]
    with Endpoint(
        server.url, "m", mode="completions", timeout=1.0 if hangs else PATIENCE, retries=1,
        first_wait=0.01,
    ) as source:  # fmt: skip
        replies = asyncio.run(source.ask(requests))
    for reply in replies:
        assert reply.error.startswith("m: ") and says in reply.error
        assert reply.fault and reply.candidates == () and 0 < reply.seconds < PATIENCE / 2
        assert reply.error.isprintable() and len(reply.error) < 400


def test_a_server_that_is_down_is_an_error_reply():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Endpoint(f"http://127.0.0.1:{port}/v1", "m", retries=1, first_wait=0.01) as source:
        [reply] = asyncio.run(source.ask([Request("x")]))
    assert "ConnectError" in reply.error and "after 2 tries" in reply.error


def test_500s_at_30_percent_lose_no_request(server):
    """With three retries, 0.3^4 of 200 requests stay without an answer: fewer than 2 on average."""
    draw = random.Random(3)
    fails = [draw.random() < 0.3 for _ in range(2000)]

    def play(handler, number):
        if fails[number]:
            return handler.say(b"busy", 500)
        handler.say(SOUND)

    server.play = play
    requests = [Request(f"text {number}") for number in range(200)]
    with Endpoint(server.url, "m", first_wait=0.005, timeout=60) as source:
        replies = asyncio.run(source.ask(requests))
    answered = [reply for reply in replies if reply.candidates]
    assert len(answered) >= 190
    assert all(reply.candidates[0].text == " Paris" for reply in answered)
    assert all("HTTP 500 busy, after 4 tries" in r.error for r in replies if not r.candidates)
    assert len(server.seen) <= 4 * 200


def test_retry_after_is_respected(server):
    times = []

    def play(handler, number):
        times.append(time.monotonic())
        return handler.say(b"", 429, Retry_After="0.4") if number == 0 else handler.say(SOUND)

    server.play = play
    with Endpoint(server.url, "m", first_wait=0.01) as source:
        [reply] = asyncio.run(source.ask([Request("x")]))
    assert reply.candidates and times[1] - times[0] >= 0.4


def test_waits_grow_and_retries_are_bounded(server):
    times = []

    def play(handler, number):
        times.append(time.monotonic())
        handler.say(b"", 500)

    server.play = play
    with Endpoint(server.url, "m", retries=3, first_wait=0.1) as source:
        [reply] = asyncio.run(source.ask([Request("x")]))
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert "after 4 tries" in reply.error and len(waits) == 3
    assert waits[0] >= 0.05 and waits[1] >= 0.1 and waits[2] >= 0.2
    assert sum(waits) < 20.0


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 409, 422])
def test_client_errors_are_not_retried(server, code):
    server.play = status(code)
    with Endpoint(server.url, "m", mode="completions") as source:
        asyncio.run(source.ask([Request("x")]))
    assert len(server.seen) == 1


def test_retry_after_may_be_a_date():
    assert 50 < retry_after_seconds(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after_seconds(formatdate(time.time() - 60, usegmt=True)) == 0
    for nonsense in (None, "", "soon", "-5", "nan", "Mon, 99 Foo 2020"):
        assert retry_after_seconds(nonsense) == 0


def test_generation_continues_after_a_failure_and_spans_say_why(server):
    def play(handler, number):
        return status(500, b"out of memory")(handler, number) if number else handler.say(SOUND)

    server.play = play
    line = "He was born in Paris and lived in sunny Rome"
    loaded = scripted(
        next_text=lambda text: line[len(text) :][:1], call=lambda text: text.endswith(" in")
    )
    with Endpoint(server.url, "m", retries=0, mode="completions") as source:
        engine = Engine(loaded, source, "threshold=0", max_new_tokens=40)
        [answer] = engine.generate(["He was born in"])
    assert answer.text == line and answer.finished
    borrowed, own = [span for span in answer.spans if span.asked]
    assert (borrowed.speaker, borrowed.text) == ("m", " Paris")
    assert own.speaker == "slm" and "m: HTTP 500 out of memory" in own.reason


def test_replies_pass_the_guard_unchanged(server):
    server.play = lambda handler, number: handler.say(SOUND) if number else handler.say(b"", 400)
    with Endpoint(server.url, "m", mode="completions", concurrency=1) as source:
        replies = asyncio.run(guarded(source, [Request("x"), Request("y")]))
    assert replies[0].fault and replies[1].candidates[0].text == " Paris"
