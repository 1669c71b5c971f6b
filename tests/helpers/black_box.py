"""An OpenAI-compatible HTTP server for tests; a function computes the text of each reply."""

import contextlib

from helpers.scripted_server import scripted_server


@contextlib.contextmanager
def black_box_server(reply):
    """Yield a running server with its ``url`` and the ``bodies`` that it has received.

    ``reply`` is called with the text of a request, and returns a text, or a status and an error;
    tests may replace it (``server.reply``).
    """
    bodies = []

    def reply_to(path, body):
        bodies.append(body)
        chat = path.endswith("/chat/completions")
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        found = server.reply(text)
        if isinstance(found, tuple):
            status, message = found
            return status, {"error": {"message": message}}
        own = {"message": {"role": "assistant", "content": found}} if chat else {"text": found}
        usage = {"prompt_tokens": len(text), "completion_tokens": len(found)}
        choice = {"index": 0, "finish_reason": "stop", **own}
        return 200, {"choices": [choice], "usage": usage}

    with scripted_server() as server:
        server.reply, server.reply_to, server.bodies = reply, reply_to, bodies
        server.url = server.url.rstrip("/")
        yield server
