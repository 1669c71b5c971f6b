"""A model trained with a binary gate has this in its config, and all readers of CALL use it."""

import json
import math

import numpy as np
import pytest
import torch

from lacy.annotate import encode
from lacy.cascade import Engine, teacher_forced_signals
from lacy.cascade.calibration import calibrate
from lacy.cascade.signals import read_signal, step_signals
from lacy.corpus import PackedData
from lacy.model import build_model, gate_of, load_model, save_model, set_gate
from lacy.testing import byte_tokenizer
from lacy.train import TrainConfig, train
from lacy.train.checkpoint import newest
from lacy.types import call_rate
from lacy.world import make_world

TOKENS = 40


@pytest.fixture(scope="module")
def world():
    return make_world(12, 0)


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A run in which about half of all tokens are delegated, so that the gate is often open."""
    folder = tmp_path_factory.mktemp("gate")
    tokenizer = byte_tokenizer()
    encoded = [encode(document, tokenizer) for document in world.documents("train")]
    PackedData.write(encoded[:8], tokenizer, 128, folder / "data")
    train(
        TrainConfig(
            data=folder / "data", out=folder / "run", model="tiny", steps=60, batch_rows=4,
            method="loss_top", call_rate=0.5, call_negative="sigmoid", lr=1e-2, save_every=30,
            save_minutes=0.0, dtype="fp32", device="cpu", threads=1, quiet=True,
        )
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def prompts(world):
    return [f"{person.name} was" for person in world.people("train")]


@torch.no_grad()
def slow_calls(loaded, prompt):
    """Decode greedily with whole forward passes; return where p(CALL) > 1/2, and the logit."""
    ids = [0, *loaded.tokenizer.encode(prompt, add_special_tokens=False)]
    found = []
    for _ in range(TOKENS):
        logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
        found.append(float(logits[-1]))
        ids.append(int(logits[:-1].argmax()))
        if ids[-1] == 0:
            break
    return found


def test_the_config_carries_the_gate(run):
    for folder in (run / "model", newest(run)):
        assert json.loads((folder / "config.json").read_text())["lacy_gate"] == "sigmoid"
        assert gate_of(load_model(folder).model) == "sigmoid"


def test_a_threshold_of_zero_is_even_odds(run, prompts):
    loaded = load_model(run)
    engine = Engine(loaded, policy="threshold=0", unit="token", max_new_tokens=TOKENS)
    answers = engine.generate(prompts[:4])
    for prompt, answer in zip(prompts, answers, strict=False):
        assert answer.text.isascii()
        logits = slow_calls(loaded, prompt)
        margins = [span.margin for span in answer.spans if span.asked]
        assert margins == pytest.approx([x for x in logits if x > 0], abs=1e-3)
        assert all(1 / (1 + math.exp(-margin)) > 0.5 for margin in margins)
    assert 0.1 < call_rate(answers) < 0.9  # both kinds of places occur
    for part in loaded.model.config, engine:
        setattr(part, "lacy_gate" if part is loaded.model.config else "gate", "softmax")
    assert call_rate(engine.generate(prompts[:4])) != call_rate(answers)


def test_a_budget_is_kept_on_the_gate(run, world, prompts):
    loaded = load_model(run)
    texts = list(world.documents("train"))[:8]
    calibration = calibrate(loaded, texts)
    [signals] = teacher_forced_signals(loaded, texts[:1])
    assert np.allclose(signals.p_call, 1 / (1 + np.exp(-signals.margin)))
    engine = Engine(
        loaded, policy="budget=0.3", unit="token", max_new_tokens=100, calibration=calibration
    )
    assert call_rate(engine.generate(prompts)) == pytest.approx(0.3, abs=0.05)


def test_signals_of_a_gate_are_the_logit_and_its_sigmoid():
    logits = torch.tensor([[3.0, -2.0, 1.5], [0.0, 9.0, -40.0]])
    assert read_signal(logits, 2, "margin", "sigmoid").tolist() == [1.5, -40.0]
    p = [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(40.0))]
    assert read_signal(logits, 2, "p_call", "sigmoid") == pytest.approx(p, rel=1e-4)
    for name in ("entropy", "top2"):
        assert np.array_equal(read_signal(logits, 2, name, "sigmoid"), read_signal(logits, 2, name))
    assert np.isneginf(read_signal(logits, None, "margin", "sigmoid")).all()
    read = step_signals(logits, 2, [0, 0], lambda row: "", "sigmoid")
    assert read.margin.tolist() == [1.5, -40.0] and read.read("p_call") == pytest.approx(p)


def test_a_model_without_a_gate_setting_uses_the_softmax(run, tmp_path):
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=32, seed=0)
    assert gate_of(model) == "softmax" and not hasattr(model.config, "lacy_gate")
    save_model(tmp_path / "old", model, tokenizer)
    assert "lacy_gate" not in json.loads((tmp_path / "old" / "config.json").read_text())
    assert (
        gate_of(load_model(tmp_path / "old").model)
        == Engine(load_model(tmp_path / "old")).gate
        == "softmax"
    )
    set_gate(model, "sigmoid")
    assert gate_of(model) == "sigmoid"
    set_gate(model, "none")  # the paper's: p(CALL) is that of the whole softmax
    assert gate_of(model) == "softmax"
