"""Heads: they learn, calibrate, come back from disk, and refuse what they were not fitted to."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import models
from helpers.encoders import write_bert
from helpers.toy_decisions import toy_decisions
from helpers.toy_safety import WORDS
from lacy.decide import (
    Decider,
    DecisionHead,
    FitSettings,
    KnownDecision,
    OptionRows,
    StateFeatures,
    TypedDecision,
    VectorFeatures,
    check_decider,
    check_decisions,
    choice,
    fit_head,
    hold_out_decisions,
    known_decision,
    load_head,
    open_decider,
    question_from_data,
    read_decisions,
    score,
    yes_no,
    zero_shot,
)
from lacy.errors import LacyError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_bert(folder, WORDS)
    return folder


@pytest.fixture(scope="module")
def fitted(encoder):
    return fit_head(toy_decisions(240), VectorFeatures.open(encoder), FitSettings(held_out=0.3))


def test_a_head_learns_what_its_features_tell(fitted, encoder):
    """Also from options in another order, and with fewer of them."""
    everything = fitted.figures[-1]
    assert (everything.source, everything.type) == ("all", "all")
    assert everything.accuracy.value > 0.7 > everything.majority
    decider = Decider(VectorFeatures.open(encoder), fitted.head)
    others = check_decider(decider, toy_decisions(90, seed=5))[-1]
    assert others.accuracy.value > 0.7 and others.n == 90
    [decision] = decider.decide("tell me of the garden", [choice("which", ["cake", "garden"])])
    assert decision.likeliest == "garden"


def test_figures_name_every_source_and_type(fitted):
    rows = [(one.type, one.source) for one in fitted.figures]
    assert len(rows) == 7 and set(rows) >= {("noul", "toy"), ("score", "all"), ("all", "all")}
    assert fitted.head.made["sources"] == ["toy"]
    assert sum(fitted.head.made["held_out"].values()) == fitted.figures[-1].n


def test_a_head_comes_back_from_disk(fitted, encoder, tmp_path):
    fitted.head.made["encoder"] = str(encoder)
    fitted.head.save(tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    for kind, weights_D in fitted.head.weights.items():
        assert np.allclose(loaded.weights[kind], weights_D, rtol=1e-6)
    assert loaded.temperatures == fitted.head.temperatures and loaded.uses == fitted.head.uses
    decider = open_decider(head=tmp_path / "head")
    asked = "the cat song cat", [yes_no("cat")]
    [decision] = decider.decide(*asked)
    [before] = Decider(VectorFeatures.open(encoder), fitted.head).decide(*asked)
    assert decision.probabilities == pytest.approx(before.probabilities, abs=1e-5)
    stored = (tmp_path / "head" / "decide.json").read_text()
    assert "garden" not in stored  # no text of the decisions


def test_a_head_of_another_encoder_or_model_is_refused(fitted, tmp_path):
    fitted.head.save(tmp_path / "head")
    other = tmp_path / "other"
    other.mkdir()
    write_bert(other)
    with pytest.raises(LacyError, match="E384"):
        open_decider(head=tmp_path / "head", encoder=str(other))
    tokenizer = models.ALL["byte_level"]
    first, second = (models.llama(tokenizer, context=256, seed=seed) for seed in (0, 1))
    features = StateFeatures(first.model, tokenizer, 1)
    head = fit_head(toy_decisions(60), features, FitSettings(held_out=0.4)).head
    head.save(tmp_path / "states")
    decider = open_decider(first.model, tokenizer, head=tmp_path / "states")
    assert decider.features.layer == 1
    assert decider.decide("the cat", [yes_no("cat")])
    with pytest.raises(LacyError, match="E384"):
        open_decider(second.model, tokenizer, head=tmp_path / "states")
    with pytest.raises(LacyError, match="E386"):
        open_decider(head=tmp_path / "states")


DAMAGE = {
    "no folder": None,
    "no json": lambda folder: (folder / "decide.json").write_text("{"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(b"x"),
    "a temperature of 0": lambda folder: (folder / "decide.json").write_text(
        (folder / "decide.json").read_text().replace('"choice": 1.0', '"choice": 0.0')
    ),
    "other features": lambda folder: (folder / "decide.json").write_text(
        (folder / "decide.json").read_text().replace('"uses": {}', '"uses": {"kind": "x"}')
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_heads_are_refused(name, tmp_path):
    if DAMAGE[name] is not None:
        zero_shot().save(tmp_path / "head")
        DAMAGE[name](tmp_path / "head")
    with pytest.raises(LacyError, match="E383"):
        open_decider(head=tmp_path / "head")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    for noul in ([1.0, math.nan], [1.0]):
        weights = {"noul": np.array(noul), "choice": np.ones(2), "score": np.ones(2)}
        DecisionHead(weights).save(tmp_path / "head")
        with pytest.raises(LacyError, match="E383"):
            load_head(tmp_path / "head")


def test_a_type_without_decisions_gets_the_weights_of_all(encoder):
    known = [one for one in toy_decisions(240) if one.question.type == "choice"]
    head = fit_head(known, VectorFeatures.open(encoder), FitSettings(0.3)).head
    assert np.allclose(head.weights["score"], head.weights["choice"])
    assert head.temperatures["score"] == 1.0


def test_too_few_decisions(encoder):
    with pytest.raises(LacyError, match="E385"):
        fit_head(toy_decisions(12), VectorFeatures.open(encoder))


def test_equal_states_are_on_the_same_side():
    known = toy_decisions(60)
    twice = [*known, *(KnownDecision(f"  {one.state.upper()} ", one.question, one.answer)
                       for one in known)]  # fmt: skip
    train, held = hold_out_decisions(twice, 0.3)
    sides = [{" ".join(one.state.lower().split()) for one in part} for part in (train, held)]
    assert not sides[0] & sides[1] and len(train) + len(held) == 120 and len(held) > 10


def test_a_decision_and_its_answer():
    question = score("how", ["low", "middle", "high"])
    decision = TypedDecision(question, (0.2, 0.5, 0.3))
    assert decision.score == pytest.approx(1.1) and decision.likeliest == "1"
    assert decision.confidence == pytest.approx((3 * 0.5 - 1) / 2)
    assert decision.answer(0.6) is None and decision.answer(0.5) == "1"
    assert TypedDecision(choice("a", ["b"]), (1.0,)).confidence == 1.0
    even = TypedDecision(yes_no("a"), (0.5, 0.5))
    assert even.confidence == 0 and even.to_data() == {"type": "noul", "noul": 0.5}
    # Of equal options, the order does not decide.
    assert {TypedDecision(choice("a", names), (0.5, 0.5)).likeliest for names in ("bc", "cb")} == {
        "b"
    }


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.51, 1), st.booleans()), min_size=1, max_size=40))
def test_accuracy_and_calibration_error_equal_slow_ones(pairs):
    question, known, decided, slow = yes_no("a"), [], [], 0.0
    for p, right in pairs:
        known.append(KnownDecision("b", question, "true" if right else "false", "s"))
        decided.append(TypedDecision(question, (p, 1 - p)))
    for low in range(15):
        mine = [(p, right) for p, right in pairs if min(int(p * 15), 14) == low]
        slow += abs(sum(p for p, _ in mine) - sum(right for _, right in mine)) / len(pairs)
    figures = check_decisions(known, decided)[-1]
    assert figures.ece == pytest.approx(slow)
    assert figures.accuracy.value == pytest.approx(np.mean([right for _, right in pairs]))


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_the_loss_of_all_options_equals_a_slow_one(sizes, seed):
    chance = np.random.default_rng(seed)
    known = [KnownDecision("a", choice("b", "cdefg"[:size]), "c", "s") for size in sizes]
    known.append(KnownDecision("a", yes_no("b"), "false", "s"))
    features = [chance.normal(0, 50, (len(one.target), 3)) for one in known]
    weights, yes, slow = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor(0.7).double(), 0.0
    for one, x in zip(known, features, strict=True):
        logits = torch.from_numpy(x) @ weights
        logits[0] += yes if one.question.type == "noul" else 0.0
        slow -= float(torch.log_softmax(logits, 0)[1 if one.question.type == "noul" else 0])
    fast = OptionRows.of(known, features).loss(weights, yes)
    assert float(fast) == pytest.approx(slow / len(known))


def test_unknown_answers_teach_even_odds_and_are_not_counted():
    row = {"state": "a", "question": "b", "type": "noul", "answer": "unknown"}
    one = known_decision(row)
    assert one.target == (0.5, 0.5)
    assert check_decisions([one], [TypedDecision(one.question, (0.9, 0.1))]) == []


def test_answers_by_name_number_or_description(tmp_path):
    rows = [
        {"state": "a", "question": "b", "type": "score", "options": ["x", "y"], "answer": 1},
        {"state": "a", "question": "b", "type": "score", "options": ["x", "y"], "answer": "y"},
        {"state": "a", "question": "b", "type": "noul", "answer": True},
        {"state": "a", "question": "b", "type": "choice", "options": {"x": "what"}, "answer": "x"},
    ]  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_decisions([file])
    assert [one.answer for one in found] == ["1", "1", "true", "x"]
    assert {one.source for one in found} == {"mine"}


@pytest.mark.parametrize(
    "change",
    [
        {"type": "box"}, {"type": None}, {"answer": "z"}, {"answer": None}, {"options": None},
        {"options": ["x", "x"]}, {"options": []}, {"options": {"x": 1}},
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used_are_named(change, tmp_path):
    row = {"state": "a", "question": "b", "type": "choice", "options": ["x", "y"], "answer": "x"}
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(LacyError, match="E381") as caught:
        read_decisions([file])
    assert "mine.jsonl:2" in str(caught.value)


def test_questions_in_python_are_checked_too():
    for make in (
        lambda: choice("a", ["b", "b"]), lambda: score("a", []), lambda: yes_no(""),
        lambda: choice("a", []), lambda: question_from_data([]),
    ):  # fmt: skip
        with pytest.raises(LacyError, match="E380"):
            make()
