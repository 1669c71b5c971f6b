"""A tiny model, questions, and a black box that answers from the given knowledge only."""

import pytest

from helpers.raw import raw_llama, save_raw
from lacy.blade import Triple
from lacy.model import load_model


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of a random model of bytes."""
    return save_raw(tmp_path_factory.mktemp("small"), raw_llama(context=512))


@pytest.fixture(scope="session")
def loaded(small):
    """The same, opened; tests must not change it."""
    return load_model(small)


@pytest.fixture(scope="session")
def questions():
    return [Triple(f"What is {n}?", str(n), f"It is {n}.", id=str(n)) for n in range(6)]


def asked(text):
    """Return the last question of a prompt, and its knowledge."""
    block = text.rsplit("\n\n", 1)[-1]
    question = block.rsplit("Question: ", 1)[-1].split("\n")[0]
    knowledge = [line[11:] for line in block.splitlines() if line.startswith("Knowledge: ")]
    return question, knowledge


@pytest.fixture(scope="session")
def read_prompt():
    return asked
