"""A folder of records."""

from functools import partial

import pytest

from helpers.records import write_records


@pytest.fixture
def kept(tmp_path):
    """A function that writes records and returns their folder."""
    return partial(write_records, tmp_path / "logs")
