"""A real HTTP server that plays a script, faults included; tiny models run on one thread."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from helpers.stores import postgres_server

# Tiny models are fastest so, above all where several test runs share the machine.
torch.set_num_threads(1)


def completion(text, finish="stop", usage=(7, 3)):
    """A whole answer of ``/completions``."""
    answer = {"choices": [{"text": text, "finish_reason": finish}]}
    if usage:
        answer["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return answer


def chatted(text, finish="stop", usage=(7, 3)):
    """A whole answer of ``/chat/completions``."""
    answer = completion("", finish, usage)
    answer["choices"][0] = {"message": {"content": text}, "finish_reason": finish}
    return answer


class Handler(BaseHTTPRequestHandler):
    """Gives each request to ``server.play(handler, number)``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.body = json.loads(self.rfile.read(length))
        server = self.server
        with server.lock:
            number = len(server.seen)
            server.seen.append((self.path, dict(self.headers), self.body))
            server.running += 1
            server.most = max(server.most, server.running)
        try:
            server.play(self, number)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up waiting, as the test wants
        finally:
            with server.lock:
                server.running -= 1

    def say(self, content, status=200, **headers):
        """A whole answer: bytes as they are, anything else as JSON."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """Plays ``play``; keeps what it was asked in ``seen`` and the most requests at a time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.lock = [], threading.Lock()
        self.running = self.most = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.stop = threading.Event()
        self.says(" Paris.")

    def says(self, text, **options):
        """Always this text, in the shape that was asked for."""

        def play(handler, number):
            chat = handler.path.endswith("/chat/completions")
            handler.say((chatted if chat else completion)(text, **options))

        self.play = play

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL server; skips where none can run."""
    with postgres_server() as running:
        yield running
