"""Fixtures of a real pretrained model, SmolLM2-135M-Instruct; tests that use them are slow."""

import os

import pytest


@pytest.fixture(scope="session")
def smollm2():
    """The folder of SmolLM2 as plain transformers files, converted once into the user's cache."""
    from lacy.errors import LacyError
    from lacy.model import resolve

    try:
        return resolve("smollm2")
    except LacyError as error:
        if error.code != "E153":
            raise
        pytest.skip(f"needs SmolLM2: {error.do.removeprefix('install it: ')}")


@pytest.fixture(scope="session")
def smollm2_loaded(smollm2):
    """The raw model, loaded once for all tests of a session, which must not change it."""
    from lacy.model import load_model

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return load_model(smollm2)
