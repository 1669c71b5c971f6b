"""Packed biographies of a small made-up world, byte tokens, gold marks."""

from pathlib import Path

import pytest

from helpers.packed import write_packed
from lacy.train import TrainConfig

CONTEXT = 48


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "data"
    return write_packed(folder, texts=8, context=CONTEXT)


@pytest.fixture
def config(data, tmp_path):
    """Settings of a quick run; ``config(steps=5)`` changes some."""

    def make(**changes) -> TrainConfig:
        quick = {
            "data": data, "out": tmp_path / "run", "model": "tiny", "steps": 6, "batch_rows": 4,
            "call_rate": 0.1, "log_every": 1, "save_minutes": 0.0, "dtype": "fp32", "device": "cpu",
            "threads": 1, "quiet": True,
        }  # fmt: skip
        return TrainConfig(**{**quick, **changes})

    return make
