"""The signal gate+entropy: its values, the policies that read it, and models without weights."""

import math

import numpy as np
import pytest
import torch

from helpers.models import REAL
from lacy.cascade import Engine, GateEntropy, calibrate, explain, log_entropy
from lacy.cascade.policy import Budget, Threshold
from lacy.cascade.signals import read_signal, step_signals
from lacy.errors import LacyError
from lacy.model import Loaded, set_gate
from lacy.testing import ScriptedSource
from lacy.types import Document, Mark

WEIGHTS = GateEntropy(-1.5, 0.5, 1.25, 0.25, limit=-0.75)


@pytest.fixture
def loaded():
    """A tiny model with a gate and weights."""
    import copy

    model = copy.deepcopy(REAL["llama"].model)
    set_gate(model, "sigmoid")
    meta = {"tune": {"gate_entropy": WEIGHTS.to_data()}}
    return Loaded(model, REAL["llama"].tokenizer, meta)


def test_the_signal_is_the_logistic_combination():
    logits_BV = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * 3
    signals = step_signals(logits_BV, 39, [0] * 5, lambda row: "", "sigmoid", WEIGHTS)
    p_BV = torch.softmax(logits_BV[:, :-1].double(), -1)
    entropy_B = -(p_BV * p_BV.log()).sum(-1).numpy()
    gate_B = logits_BV[:, -1].double().numpy()
    log_B = np.log(entropy_B + 0.1)
    expected_B = -1.5 + 0.5 * gate_B + 1.25 * log_B + 0.25 * gate_B * log_B
    np.testing.assert_allclose(signals.read("gate+entropy"), expected_B, rtol=1e-5)
    np.testing.assert_allclose(log_entropy(entropy_B), log_B)


def test_weights_go_round_and_damaged_ones_count_as_none():
    assert GateEntropy.from_meta({"tune": {"gate_entropy": WEIGHTS.to_data()}}) == WEIGHTS
    for meta in (
        None,
        {},
        {"tune": {}},
        {"tune": {"gate_entropy": {"gate": 1.0}}},
        {"tune": {"gate_entropy": WEIGHTS.to_data() | {"gate": "much"}}},
        {"tune": {"gate_entropy": WEIGHTS.to_data() | {"gate": math.nan}}},
    ):
        assert GateEntropy.from_meta(meta) is None


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("gate+entropy", Threshold(-0.75, by="gate+entropy")),
        ("gate+entropy=-2", Threshold(-2.0, by="gate+entropy")),
        ("threshold=-2,by=gate+entropy", Threshold(-2.0, by="gate+entropy")),
        ("budget=0.22,by=gate+entropy", Budget(0.22, by="gate+entropy")),
    ],
)
def test_policies_read_it(loaded, policy, expected):
    engine = Engine(loaded, ScriptedSource({}), policy, max_new_tokens=6)
    assert engine.policy == expected
    assert engine.variant(policy).policy == expected
    [answer] = engine.generate(["Mara Vell was born in"])
    assert answer.tokens == 6


def test_a_threshold_calls_where_the_signal_exceeds_it(loaded):
    engine = Engine(loaded, ScriptedSource({}), "gate+entropy", max_new_tokens=12)
    _, steps = explain(engine, "Mara Vell was born in")
    for step in steps:
        value = float(WEIGHTS([step.margin], [step.entropy])[0])
        assert step.value == pytest.approx(value, rel=1e-4)
        assert step.called == (value > WEIGHTS.limit)


def test_a_calibration_starts_a_budget(loaded):
    text = "Mara Vell was born in Ulm on 12 March 1879."
    document = Document("a", text, {}, (Mark(22, 25, "ENTITY"), Mark(29, 42, "DATE")))
    calibration = calibrate(loaded, [document])
    policy = Engine(loaded, None, "budget=0.22,by=gate+entropy", calibration=calibration).policy
    assert policy.initial_signals == calibration.signals["gate+entropy"]
    ids_BT = torch.tensor([[loaded.tokenizer.bos_token_id, *loaded.tokenizer.encode(text)]])
    with torch.inference_mode():
        first_BV = loaded.model(input_ids=ids_BT).logits[:, 0]
    gate = read_signal(first_BV, len(loaded.tokenizer) - 1, "margin", "sigmoid")
    entropy = read_signal(first_BV, len(loaded.tokenizer) - 1, "entropy")
    assert policy.initial_signals[0] == pytest.approx(float(WEIGHTS(gate, entropy)[0]), rel=1e-4)


@pytest.mark.parametrize("policy", ["gate+entropy", "budget=0.2,by=gate+entropy"])
def test_a_model_without_weights(loaded, policy):
    loaded.meta = {}
    with pytest.raises(LacyError) as caught:
        Engine(loaded, ScriptedSource({}), policy)
    assert caught.value.code == "E166"
    assert "lacy tune" in caught.value.do
