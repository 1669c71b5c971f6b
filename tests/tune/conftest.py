"""A raw model of random weights, and marked articles for it."""

from functools import partial

import pytest

from helpers.articles import article
from helpers.raw import raw_llama, save_raw
from helpers.records import write_records


@pytest.fixture(scope="session")
def articles():
    return [article(number) for number in range(24)]


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory):
    """The folder of a raw model, tied and with a padded vocabulary."""
    return save_raw(tmp_path_factory.mktemp("raw"), raw_llama(padding=7))


@pytest.fixture(scope="session")
def tuned(raw_folder, articles, tmp_path_factory):
    """The result of a tuning of it."""
    from lacy.tune import tune

    return tune(raw_folder, articles, out=tmp_path_factory.mktemp("tuned") / "model")


@pytest.fixture
def kept(tmp_path):
    """A function that writes records of a server and returns their folder."""
    return partial(write_records, tmp_path / "logs")
