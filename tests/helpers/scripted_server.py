"""A real HTTP server that plays a list of replies, for tests of clients."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Plays ``server.replies`` in order; the last one stays.

    A reply is its status and content (bytes, or anything else as JSON), and optionally headers and
    seconds to wait before it. ``server.play`` is called before each reply with the number
    of the request. If ``server.reply_to`` is set, it makes the replies instead: it is called with
    the path and body of each request, one at a time.
    """

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_GET(self):
        self.answer(None)

    def answer(self, body):
        server = self.server
        with server.lock:
            number = len(server.seen)
            server.seen.append((self.path, dict(self.headers), body))
            if server.reply_to is not None:
                reply = server.reply_to(self.path, body)
            else:
                reply = server.replies.pop(0) if len(server.replies) > 1 else server.replies[0]
        server.play(number)
        status, content, headers, pause = reply if len(reply) == 4 else (*reply, {}, 0.0)
        time.sleep(pause)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:  # a longer one breaks off the reply
                self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def scripted_server():
    """Yield a running server with its ``url``, the requests it has ``seen``, and ``replies``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.replies, server.lock = [], [(200, {})], threading.Lock()
        server.play, server.reply_to = lambda number: None, None
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
