"""A tiny encoder with toy texts, and a tiny language model with adapters."""

import pytest
import torch

from helpers.encoders import write_bert
from helpers.toy_safety import WORDS, toy_texts
from lacy.model import Loaded, build_model
from lacy.safety import SafetySettings, train_classifier
from lacy.testing import byte_tokenizer


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_bert(folder, WORDS, positions=40)
    return folder


@pytest.fixture(scope="session")
def quick(encoder):
    return SafetySettings(encoder=str(encoder), layers=2, epochs=5, lr=5e-3, batch=8, rate=0.05,
                          prompt_tokens=16, answer_tokens=16)  # fmt: skip


@pytest.fixture(scope="session")
def texts():
    return toy_texts(400)


@pytest.fixture(scope="session")
def teacher(texts, quick):
    return train_classifier(texts, quick)


@pytest.fixture(scope="session")
def student(texts, quick, teacher):
    return train_classifier(texts, quick, teacher=teacher, start=teacher)


@pytest.fixture
def loaded():
    """A random model of byte tokens with LoRA adapters that already change it."""
    from lacy.train import TrainConfig, Trained

    model = build_model("tiny", byte_tokenizer(), context=96, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    Trained.start(model, TrainConfig(depth="lora", lora_rank=4), "tiny")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return Loaded(model, byte_tokenizer(), name="tiny")


@pytest.fixture
def packed_model():
    """A model without adapters."""
    return build_model("tiny", byte_tokenizer(), context=96, seed=0)
