"""A real HTTP server with OpenAI's routes whose replies a function makes."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Replies with what ``server.reply(text)`` returns: a text, or a status and a message."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("/chat/completions")
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        server = self.server
        with server.lock:
            server.seen.append(body)
            reply = server.reply(text)
        if isinstance(reply, tuple):
            status, content = reply[0], {"error": {"message": reply[1]}}
        else:
            status = 200
            own = {"message": {"role": "assistant", "content": reply}} if chat else {"text": reply}
            usage = {"prompt_tokens": len(text), "completion_tokens": len(reply)}
            choice = {"index": 0, "finish_reason": "stop", **own}
            content = {"choices": [choice], "usage": usage}
        raw = json.dumps(content).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def black_box_server(reply):
    """Yield a running server with its ``url`` and the bodies that it has ``seen``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.reply, server.lock = [], reply, threading.Lock()
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
