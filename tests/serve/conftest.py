"""Fixtures: models, servers in threads, and a browser."""

import time

import pytest
import torch

from helpers import models
from helpers.browser import browsing
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.sources import ScriptedSource
from lacy.testing import scripted

torch.set_num_threads(1)


def reply(request):
    """Reply with one text, a choice of two, or nothing, depending on the length of the prompt."""
    return [f" {len(request.text)}é", ["Paris", " in Ulm"], None][len(request.text) % 3]


@pytest.fixture(scope="session")
def real():
    """A tiny random Llama."""
    return models.llama(models.ALL["byte_level"])


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
    """One Chromium for all tests."""
    with browsing() as looking:
        yield looking


@pytest.fixture(scope="module")
def browser(looking):
    """The browser, and its event loop in this thread for the tests of a module."""
    with looking() as browser:
        yield browser


@pytest.fixture
def slow():
    """An SLM that takes about 10 ms per token and never ends by itself.

    The answer of its source ends in a sign, because no letter follows a borrowed word.
    """

    def speak(text):
        time.sleep(0.01)
        return "x"

    return Engine(scripted(speak, context=4096), ScriptedSource(["y."]), max_new_tokens=500)
