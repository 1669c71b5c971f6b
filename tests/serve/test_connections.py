"""Connections before authentication: limits, slow or silent clients, shutdown."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.raw_http import (
    ASK,
    GET,
    HEAD,
    alive,
    ask_health,
    connected,
    error,
    everything,
    exchange,
    status,
)
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.errors import LacyError
from lacy.serve import Limits
from lacy.serve.limits import affordable_connections
from lacy.testing import scripted

pytestmark = pytest.mark.slow

FOREVER = 3600


@pytest.fixture(scope="module")
def plain():
    """A model that answers at once and never calls."""
    return Engine(scripted(lambda text: "x"), max_new_tokens=3)


@pytest.fixture(scope="module")
def running(plain):
    with serving(plain) as running:
        yield running


def test_a_refused_body_is_not_read_to_its_end(running):
    with connected(running) as sock:
        sock.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        assert status(sock.recv(65536)) == 413
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                sock.sendall(bytes(1 << 20))
    assert alive(running)


def test_a_client_reads_why_its_body_was_refused(running):
    """It sends the whole body first, as most clients do, and reuses the connection."""
    with httpx.Client() as client:
        got = client.post(running.url + "/v1/completions", content=bytes(3 << 20), timeout=60)
        assert got.status_code == 413
        assert client.get(running.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-"),
        (HEAD + b"Transfer-Encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n", "Transfer-"),
        (HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "1.0"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", "Content-Length"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "Content-Length"),
        (HEAD + b"Content-Length: +1\r\n\r\na", "Content-Length"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnumber\r\n", ""),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 50_000, "chunks"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 50_000, ""),
        (b"GET / HTTP/1.1\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "Host"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), ""),
        (b"\x00" * 100_000, ""),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", ""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ],
)
def test_invalid_requests_are_refused_and_the_connection_closed(running, data, why, caplog):
    answer = exchange(running, data)
    assert 400 <= status(answer) < 600 and status(answer) != 500
    assert b"connection: close" in answer.lower()
    assert why in error(answer)["message"] and answer.count(b"HTTP/1.1 ") == 1
    assert alive(running) and "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\na: " + b"b" * 16_400 + b"\r\n\r\n",
        b"GET /" + b"b" * 16_400 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\na: " + b"b" * 300_000 + b"\r\n\r\n",
        b"GET /" + b"b" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\na: " + b"b" * 300_000,
    ],
)
def test_large_heads_are_refused(running, head):
    assert status(exchange(running, head)) == 431
    assert alive(running)


def test_as_many_headers_as_clients_send_are_accepted(running):
    head = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"a: bbbb\r\n" * 90
    assert status(exchange(running, head + b"Cookie: " + b"c" * 8000 + b"\r\n\r\n")) == 200


def test_pipelined_requests_are_answered_in_turn(running):
    answer = exchange(running, GET + ASK + GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"text_completion") < answer.rindex(b'"status"')


def test_a_half_closed_client_gets_its_answer(running):
    for data, answers in ((ASK, 1), (GET, 1), (GET + ASK, 2)):
        got = exchange(running, data, half_close=True)
        assert got.startswith(b"HTTP/1.1 200 OK") and got.count(b"HTTP/1.1 200 OK") == answers
    assert exchange(running, ASK[:-5], half_close=True) == b""


@pytest.mark.parametrize("stream", [False, True])
def test_a_half_closed_client_gets_an_answer_that_takes_long(slow, stream):
    body = json.dumps({"model": "slm", "prompt": "a", "max_tokens": 200, "stream": stream}).encode()
    ask = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(slow) as running:
        got = exchange(running, ask, half_close=True)
        assert b"HTTP/1.1 200 OK" in got and got.count(b"x") >= 200
        head = got.partition(b"HTTP/1.1 200 OK")[0]
        assert set(head.split(b"\r\n\r\n")) <= {b"HTTP/1.1 100 Continue", b""}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("abrupt", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("after", "more"), [(0, b""), (1, b""), (1, GET), (1, GET[:9])])
def test_a_client_that_leaves_frees_its_place(slow, stream, abrupt, version, after, more):
    """Before or after its text has started, in the queue, or with another request already sent."""
    body = json.dumps({"model": "slm", "prompt": "a", "max_tokens": 500, "stream": stream}).encode()
    ask = HEAD.replace(b"1.1", version) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    slow.max_new_tokens = 500
    with serving(slow, streams=1, queue=1) as running:
        scheduler, clients = running.scheduler, []
        for _ in range(2):
            clients.append(socket.create_connection(("127.0.0.1", running.server.port)))
            clients[-1].sendall(ask + more)
        while after and scheduler.running + scheduler.waiting < 2:
            time.sleep(0.01)
        for client in clients:
            if abrupt:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        assert running.complete("b", max_tokens=1, timeout=60).status_code in (200, 429)
        end = time.monotonic() + 60
        while scheduler.running + scheduler.waiting:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert running.complete("b", max_tokens=1).status_code == 200


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_a_client_that_stops_reading_is_disconnected(plain, close):
    """Neither many answers nor a last one wait for it forever."""
    get = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n"
    with serving(plain, limits=Limits(stall_seconds=1)) as running, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.connect(("127.0.0.1", running.server.port))
        sock.sendall((get + b"\r\n") * 200 + get + close + b"\r\n")
        assert sock.recv(1)
        end = time.monotonic() + 60
        while running.server.server_state.connections or running.server.server_state.tasks:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_silent_connections_do_not_shut_others_out(plain):
    limits = Limits(connections=8, head_seconds=FOREVER, body_seconds=FOREVER)
    with serving(plain, limits=limits) as running, contextlib.ExitStack() as stack:
        for number in range(40):
            sock = stack.enter_context(connected(running))
            sock.sendall([b"", b"GET / HT", HEAD, HEAD + b"Content-Length: 9\r\n\r\n"][number % 4])
        for _ in range(5):
            assert running.complete(timeout=60).status_code == 200
        assert len(running.server.server_state.connections) <= 9


def test_a_connection_beyond_the_limit_is_refused_if_none_is_idle(slow):
    with serving(slow, limits=Limits(connections=2)) as running:
        body = {"model": "slm", "prompt": "a", "max_tokens": 400, "stream": True}
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                url = running.url + "/v1/completions"
                stack.enter_context(httpx.stream("POST", url, json=body, timeout=60))
            got = httpx.get(running.url + "/health", timeout=60)
            assert got.status_code == 503 and got.json()["error"]["code"] == "too_many_connections"
            assert int(got.headers["retry-after"]) >= 1
        end = time.monotonic() + 60
        while httpx.get(running.url + "/health", timeout=60).status_code == 503:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_requests_during_shutdown_are_refused(slow):
    """Idle connections close, incomplete requests get an error, and other requests are answered."""
    with serving(slow, streams=1, queue=5, grace=60) as running, contextlib.ExitStack() as stack:
        got = []
        threads = [
            threading.Thread(
                target=lambda: got.append(running.complete(max_tokens=60, timeout=120).json())
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while running.scheduler.running + running.scheduler.waiting < 2:
            time.sleep(0.01)
        silent, idle, half, head = (stack.enter_context(connected(running)) for _ in range(4))
        assert ask_health(idle)
        half.sendall(ASK[:-5])
        head.sendall(GET[:-5])
        assert alive(running)
        running.stop()
        assert everything(silent) == everything(idle) == everything(head) == b""
        told = everything(half)
        assert status(told) == 503 and b"retry-after: " in told.lower()
        with pytest.raises(OSError, match="refused"), connected(running):
            pass
        for thread in threads:
            thread.join()
        assert [answer["usage"]["completion_tokens"] for answer in got] == [60, 60]


FLOODED = """
import resource, socket, sys, threading, time, httpx
from lacy.cascade import Engine
from lacy.serve import Limits, Scheduler, Server, make_app
from lacy.testing import scripted

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
limits = Limits(head_seconds=3600)
print(limits.connections)
with Scheduler(Engine(scripted(lambda text: "x"), max_new_tokens=2)) as scheduler:
    server = Server(make_app(scheduler, "slm", limits=limits), scheduler, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    print(server.port, flush=True)
    sys.stdin.read()
    server.should_exit = True
    thread.join()
"""


def test_a_flood_leaves_descriptors_to_others():
    """Hundreds of silent connections arrive at once; real requests are still answered."""
    command = [sys.executable, "-c", FLOODED]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process,
        contextlib.ExitStack() as stack,
    ):
        connections, port = (int(process.stdout.readline()) for _ in range(2))
        assert 30 <= connections <= 64
        for _ in range(3):
            flood = [stack.enter_context(socket.socket()) for _ in range(150)]
            for sock in flood:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            body = {"model": "slm", "prompt": "a"}
            got = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=120)
            assert got.status_code == 200
        _, said = process.communicate("", timeout=120)
        assert process.returncode == 0 and said == ""


def test_more_connections_than_descriptors_are_not_the_default():
    assert Limits().connections == min(1024, affordable_connections())
    with pytest.raises(LacyError, match="E12"):
        Limits(connections=0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from([ASK, GET, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]),
    cut=st.integers(0, 300),
    noise=st.binary(max_size=40),
    half_close=st.booleans(),
)
def test_no_bytes_harm_the_server(running, start, cut, noise, half_close, caplog):
    with connected(running) as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(start[:cut] + noise + start[cut + len(noise) :])
        if half_close:
            sock.shutdown(socket.SHUT_WR)
            everything(sock)
    assert alive(running)
    assert "Traceback" not in caplog.text and not [r for r in caplog.records if r.exc_info]
