"""Packed biographies of a small made-up world, and two random models for its byte tokens."""

import pytest
import torch

from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.model import Loaded, build_model
from lacy.testing import byte_tokenizer
from lacy.world import make_world

CONTEXT = 48


@pytest.fixture(scope="session")
def documents():
    return list(make_world(12, 0).documents("train"))


@pytest.fixture(scope="session")
def packed(tmp_path_factory, documents):
    tokenizer = byte_tokenizer()
    encoded = [encode(document, tokenizer) for document in documents[:8]]
    return PackedData.write(encoded, tokenizer, CONTEXT, tmp_path_factory.mktemp("packed") / "data")


def make(packed, seed, scale=1.5):
    model = build_model("tiny", packed.tokenizer, context=packed.context, seed=seed)
    with torch.no_grad():  # uneven predictions, as of a model that has learned something
        for parameter in model.parameters():
            parameter.mul_(scale)
    return Loaded(model, packed.tokenizer, name=f"model{seed}")


@pytest.fixture
def student(packed):
    return make(packed, 1)


@pytest.fixture
def teacher(packed):
    return make(packed, 2, scale=2.5)
