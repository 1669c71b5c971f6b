"""A real server in a thread, and how its answers are read."""

import contextlib
import threading
import time

import httpx

from lacy.cascade import Engine
from lacy.serve import Limits, Scheduler, Server, make_app
from lacy.testing import scripted

JSON = {"Content-Type": "application/json"}
TEMPLATE = (
    "{% for m in messages %}<|endoftext|>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


class Running:
    """A server and how to reach it."""

    def __init__(self, server, scheduler, thread):
        self.server, self.scheduler, self.thread = server, scheduler, thread
        self.url = f"http://127.0.0.1:{server.port}"

    def stop(self):
        self.server.should_exit = True

    def post(self, path, timeout=120, headers=None, **body):
        return httpx.post(self.url + path, json=body, timeout=timeout, headers=headers)

    def complete(self, prompt="Mara", **body):
        return self.post("/v1/completions", model="slm", prompt=prompt, **body)


@contextlib.contextmanager
def serving(engine, streams=16, queue=32, grace=5.0, **how):
    scheduler = Scheduler(engine, streams=streams, queue=queue)
    app = make_app(scheduler, "slm", **how)
    server = Server(app, scheduler, port=0, grace=grace)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    running = Running(server, scheduler, thread)
    try:
        yield running
    finally:
        running.stop()
        thread.join(timeout=120)
        assert not thread.is_alive()


def pieces(spans):
    return [(s["text"], s["speaker"], s["reason"], s["cost"], s["tokens"]) for s in spans]


def as_pieces(answer):
    spans = (s for s in answer.spans if s.speaker != "prompt")
    return [(s.text, s.speaker, s.reason, s.cost, s.tokens) for s in spans]


def joined(chunks):
    """Spans of a stream's chunks: own words that follow one another are one span."""
    spans = []
    for chunk in chunks:
        for span in chunk.choices[0].lacy["spans"]:
            if spans and not span["asked"] and not spans[-1]["asked"]:
                both = spans[-1]
                spans[-1] = both | {
                    "text": both["text"] + span["text"], "tokens": both["tokens"] + span["tokens"]
                }  # fmt: skip
            else:
                spans.append(span)
    return spans


def problem(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


def serve_slowly(port, grace):
    """Serve a model that writes up to 50,000 tokens, fifty per second, until a signal comes."""

    def speak(text):
        time.sleep(0.02)
        return "x"

    engine = Engine(scripted(speak, context=1 << 16), max_new_tokens=50_000)
    with Scheduler(engine) as scheduler:
        app = make_app(scheduler, "slm", limits=Limits(max_new_tokens=50_000))
        try:
            Server(app, scheduler, port=port, grace=grace).run()
        except KeyboardInterrupt:
            return 130
