"""Real servers in threads, and what talks to them."""

import contextlib
import importlib.util
import threading
import time
from pathlib import Path

import httpx
import pytest
import torch

from lacy.cascade import Engine
from lacy.serve import Scheduler, Server, make_app
from lacy.sources import ScriptedSource
from lacy.testing import scripted

from .browser import browsing

torch.set_num_threads(1)

_spec = importlib.util.spec_from_file_location(
    "lacy_kinds", Path(__file__).parents[1] / "sources" / "kinds.py"
)
kinds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kinds)


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


def reply(request):
    """One text, a choice of two, or nothing, by the length of the text."""
    return [f" {len(request.text)}é", ["Paris", " in Ulm"], None][len(request.text) % 3]


@pytest.fixture(scope="session")
def real():
    """A tiny random Llama."""
    return kinds.llama(kinds.ALL["byte_level"])


@pytest.fixture(scope="session")
def engine(real):
    """The SLM of most tests: random words, answers from a script, calls by entropy."""
    source = ScriptedSource(reply, name="book", cost=0.5)
    return Engine(real, source, "entropy=1.5", max_new_tokens=24)


@pytest.fixture(scope="session")
def server(engine):
    with serving(engine) as running:
        yield running


@pytest.fixture(scope="session")
def looking():
    """One Chromium for all."""
    with browsing() as looking:
        yield looking


@pytest.fixture(scope="module")
def browser(looking):
    """The browser, and its event loop in this thread for the tests of a module."""
    with looking() as browser:
        yield browser


@pytest.fixture
def slow():
    """An SLM that takes about 10 ms per token and never ends by itself; its source never calls."""

    def speak(text):
        time.sleep(0.01)
        return "x"

    return Engine(scripted(speak, context=4096), ScriptedSource(["y"]), max_new_tokens=500)
