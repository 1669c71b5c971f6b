"""Deadlines for clients before authentication."""

import time

import pytest

from helpers.raw_http import (
    HEAD,
    ask_health,
    connected,
    error,
    everything,
    exchange,
    status,
    trickling,
)
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.serve import Limits, connections
from lacy.testing import scripted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain():
    """A model that answers at once and never calls."""
    return Engine(scripted(lambda text: "x"), max_new_tokens=3)


@pytest.fixture(scope="module")
def hasty(plain):
    """A server that waits a second for heads and bodies and for further requests."""
    limits = Limits(head_seconds=1, body_seconds=1, idle_seconds=1)
    with pytest.MonkeyPatch.context() as patch, serving(plain, limits=limits) as running:
        patch.setattr(connections, "LINGER_SECONDS", 1)
        yield running


def test_silent_connections_are_closed(hasty):
    assert exchange(hasty, b"") == b""


@pytest.mark.parametrize("head", [b"GET /hea", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n" * 2])
def test_incomplete_headers_time_out(hasty, head):
    answer = exchange(hasty, head)
    assert status(answer) in (400, 408) and error(answer)["message"]


def test_endless_headers_time_out(hasty):
    with connected(hasty) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        with trickling(sock, b"x"):
            assert status(everything(sock)) == 408


def test_endless_headers_time_out_after_a_first_request(hasty):
    with connected(hasty) as sock:
        assert ask_health(sock)
        with trickling(sock, b"x"):
            assert status(everything(sock)) == 408


@pytest.mark.parametrize(
    "how", [b"Content-Length: 500\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_an_incomplete_body_times_out(hasty, how):
    with connected(hasty) as sock:
        sock.sendall(HEAD + how)
        answer = everything(sock)
        assert status(answer) == 408 and error(answer)["code"] == "too_slow"


@pytest.mark.parametrize(
    ("how", "bit"),
    [
        (b"Content-Length: 50000\r\n\r\n", b" "),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
)
def test_an_endless_body_times_out(hasty, how, bit):
    with connected(hasty) as sock:
        sock.sendall(HEAD + how)
        with trickling(sock, bit):
            answer = everything(sock)
    assert status(answer) == 408


def test_an_idle_connection_is_closed(hasty):
    with connected(hasty) as sock:
        for _ in range(3):
            assert ask_health(sock)
        assert everything(sock) == b""  # no word about a request that nobody began


def test_the_rest_of_a_refused_body_is_not_awaited(hasty):
    """Data after a 413 are discarded for a while, and then the connection is closed."""
    with connected(hasty) as sock:
        sock.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        assert status(sock.recv(65536)) == 413
        with trickling(sock, b" "):
            everything(sock)


@pytest.mark.parametrize("data", [b"\x00" * 100, HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"])
def test_a_refused_connection_that_is_not_closed_is_closed(hasty, data):
    """The client has received its answer and the end of the stream, but does not close."""
    with connected(hasty) as sock:
        sock.sendall(data)
        assert status(everything(sock)) == 400
        with trickling(sock, b"x"):
            end = time.monotonic() + 60
            while hasty.server.server_state.connections:
                assert time.monotonic() < end
                time.sleep(0.02)
