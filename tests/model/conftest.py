"""A small real tokenizer."""

import pytest

from lacy.testing import byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()
