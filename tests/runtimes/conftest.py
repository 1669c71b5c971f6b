"""A small tuned model with a tied head, and the folder it is saved in."""

import pytest
import torch

from lacy.model import FINGERPRINT, Loaded, build_model, model_fingerprint, save_model, set_gate
from lacy.testing import byte_tokenizer


def made(seed=0, **overrides):
    """A model in memory whose row of <CALL> is a gate, with weights large enough to differ."""
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64, seed=seed, **overrides).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.2 if "embed" not in name else 0.5)
    set_gate(model, "sigmoid")
    meta = {FINGERPRINT: model_fingerprint(model), "tune": {"threshold": 0.0}}
    return Loaded(model, tokenizer, meta, name="mine")


@pytest.fixture
def loaded():
    return made()


def saved(one, path):
    """Save a model with a card."""
    card = "# Mine\n\n| signal | AUROC |\n|---|---|\n| gate | 0.9 |\n"
    return save_model(path, one.model, one.tokenizer, one.meta, card=card)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return saved(made(), tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture(scope="session")
def ids_BT():
    return torch.arange(1, 41).view(2, 20) * 7 % 256


def logits(model, ids_BT):
    with torch.inference_mode():
        return model(input_ids=ids_BT).logits.float()
