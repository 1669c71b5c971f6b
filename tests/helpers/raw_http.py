"""Clients that write raw HTTP."""

import contextlib
import json
import socket
import threading

import httpx

BODY = json.dumps({"model": "slm", "prompt": "a", "max_tokens": 2}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
ASK = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.contextmanager
def connected(running):
    port = int(running.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        yield sock


def everything(sock):
    """Everything received until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def exchange(running, data, half_close=False):
    with connected(running) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        return everything(sock)


def status(answer):
    return int(answer.split(b" ", 2)[1])


def error(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def ask_health(sock):
    """On a connection that is kept."""
    sock.sendall(GET)
    got = b""
    while not got.endswith(b'{"status":"ok"}'):
        part = sock.recv(65536)
        assert part, got
        got += part
    return got.startswith(b"HTTP/1.1 200 OK")


def alive(running):
    return httpx.get(running.url + "/health", timeout=60).status_code == 200


@contextlib.contextmanager
def trickling(sock, data):
    """Send ``data`` a byte at a time, repeatedly, until the server closes the connection."""
    stop = threading.Event()

    def send():
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                sock.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
