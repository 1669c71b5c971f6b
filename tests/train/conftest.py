"""Packed biographies of a small made-up world, byte tokens, gold marks."""

from pathlib import Path

import pytest

from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.testing import byte_tokenizer
from lacy.train import TrainConfig
from lacy.world import make_world

CONTEXT = 48


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    world = make_world(12, 0)
    tokenizer = byte_tokenizer()
    encoded = [encode(document, tokenizer) for document in world.documents("train")]
    path = tmp_path_factory.mktemp("packed") / "data"
    PackedData.write(encoded[:8], tokenizer, CONTEXT, path)
    return path


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
