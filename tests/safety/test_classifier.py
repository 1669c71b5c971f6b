"""A teacher is distilled into a student whose probabilities and thresholds hold."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.toy_safety import toy_texts
from lacy.errors import LacyError
from lacy.safety import (
    LabelledText,
    SafetySettings,
    ScoreCalibration,
    at_rate,
    calibration_error,
    check_classifier,
    distillation_loss,
    hold_out,
    load_classifier,
    threshold_for,
    train_classifier,
)

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def figures_of(classifier, texts):
    return {
        (one.role, one.source): one for one in check_classifier(classifier, texts, resamples=20)
    }


def test_the_student_learns_from_its_teacher(teacher, student, quick):
    other = toy_texts(200, seed=7, source="other")
    for classifier, least in ((teacher, 0.75), (student, 0.9)):  # the encoder is random
        found = figures_of(classifier, other)
        for role in ("prompt", "answer"):
            assert found[role, "all"].auroc.value > least
            assert found[role, "all"].flagged_safe.value <= 0.35
    assert teacher.network.shape.layers == 3 and student.network.shape.layers == 2
    assert student.made["teacher"] == "teacher"
    assert student.made["sources"]["prompts of toy"]["harmful"] > 50
    # It says what the teacher says.
    assert np.corrcoef(teacher.logits(other), student.logits(other))[0, 1] > 0.5


def test_unlabelled_texts_teach_with_a_teacher_only(teacher, quick):
    unlabelled = [LabelledText(one.text, None, "more", one.prompt) for one in toy_texts(40, 3)]
    few = toy_texts(60, 4)
    taught = train_classifier([*few, *unlabelled], quick, teacher=teacher)
    assert taught.made["sources"]["prompts of more"] == {"unlabelled": 26}
    alone = train_classifier([*few, *unlabelled], quick)
    assert "prompts of more" not in alone.made["sources"]


def test_a_folder_gives_the_same_scores(student, tmp_path):
    texts = toy_texts(50, seed=2)
    student.save(tmp_path / "guard")
    again = load_classifier(tmp_path / "guard")
    assert np.array_equal(again.probabilities(texts), student.probabilities(texts))
    assert again.decisions == student.decisions and again.made == student.made
    assert again.name == "guard"
    prompts = [one for one in texts if one.role == "prompt"]
    scores = again.prompt_scores([one.text for one in prompts])
    assert np.array_equal(scores, again.probabilities(prompts))


def test_company_does_not_matter(student):
    texts = toy_texts(30, seed=5)
    together = student.probabilities(texts)
    for place in (0, 7, 29):
        assert student.probabilities([texts[place]])[0] == pytest.approx(together[place], abs=2e-5)


def test_the_teacher_is_a_regression_on_frozen_vectors(teacher, texts, quick, encoder):
    from sklearn.linear_model import LogisticRegression

    from lacy.encoder import EncoderBody, load_bert

    train, _ = hold_out(texts, quick.held_out, quick.seed)
    prompts = [one for one in train if one.role == "prompt"]
    scale = 32**0.5
    model = LogisticRegression(max_iter=2_000)
    model.fit(teacher.vectors(prompts) / scale, [one.harmful for one in prompts])
    want = model.decision_function(teacher.vectors(prompts) / scale)
    assert teacher.logits(prompts) == pytest.approx(want, abs=0.2)  # rounded to bytes, and fitted
    body = EncoderBody(teacher.network.shape)
    load_bert(body, encoder)
    step = body.layers[2].up.weight.abs().amax() / 127
    assert (teacher.network.layers[2].up.weight - body.layers[2].up.weight).abs().max() <= step


def test_long_texts_keep_both_ends(student):
    ids = student.ids
    long = "the " * 3_000
    (row, _), (plain, _) = ids.rows([LabelledText("bomb " + long + "kill"), LabelledText(long)])
    assert len(row) == len(plain) == 18
    reader = ids.reader
    (bomb,), (kill,) = reader.pieces(["bomb"], 1)[0], reader.pieces(["kill"], 1)[0]
    assert row[1] == bomb and row[-2] == kill
    same = ids.rows([LabelledText("how to make cake?!"), LabelledText("how to make cake")])
    assert same[0] == same[1]


def test_an_answer_is_read_with_its_prompt(student):
    ids, kinds = student.ids.rows([LabelledText("sure", prompt="how to kill")])[0]
    assert ids.count(student.ids.reader.sep) == 2 and kinds == [0] * 5 + [1] * 2
    alone, with_prompt = student.logits(
        [LabelledText("sure", prompt=""), LabelledText("sure", prompt="how to kill")]
    )
    assert alone != with_prompt


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0.5, 8))
def test_distillation_loss_equals_the_two_class_formula(seed, weight, tau):
    generator = torch.Generator().manual_seed(seed)
    s, t = torch.randn(2, 9, generator=generator, dtype=torch.float64).mul(3)
    labels = torch.randint(0, 2, (9,), generator=generator).double()
    labels[4] = math.nan
    want = 0.0
    for logit, teacher, label in zip(s, t, labels, strict=True):
        ours = torch.stack([torch.zeros(()), logit])
        theirs = torch.stack([torch.zeros(()), teacher])
        if not label.isnan():
            want += weight * torch.nn.functional.cross_entropy(ours, label.long())
        p, q = (theirs / tau).softmax(0), (ours / tau).softmax(0)
        want += (1 - weight) * tau**2 * (p * (p.log() - q.log())).sum()
    found = distillation_loss(s, labels, t, weight=weight, temperature=tau)
    assert found.item() == pytest.approx(float(want) / 9, rel=1e-9)


def test_a_role_that_was_not_learned_flags_nothing(texts, quick):
    prompts = [one for one in texts if one.role == "prompt"][:80]
    guard = train_classifier(prompts, quick)
    assert guard.threshold("prompt") <= 1 < guard.threshold("answer")
    assert guard.threshold("answer") == at_rate(guard, prompts, 0.5).threshold("answer")
    assert (guard.answer_scores(["how to"] * 20, ["kill"] * 20) < guard.threshold("answer")).all()


# ------------------------------------------------------------- calibration and thresholds


@settings(max_examples=60, deadline=None)
@given(probabilities, probabilities, st.floats(0, 1))
def test_a_threshold_flags_at_most_its_rate(safe, harmful, rate):
    scores = np.array(safe + harmful)
    labels = np.array([False] * len(safe) + [True] * len(harmful))
    limit = threshold_for(scores, labels, rate)
    flagged = (np.array(safe) >= limit).sum()
    assert flagged <= int(rate * len(safe)) or int(rate * len(safe)) == len(safe)
    # A lower threshold would flag too many.
    lower = scores[scores < limit]
    if len(lower):
        assert (np.array(safe) >= lower.max()).sum() > int(rate * len(safe)) or (
            lower.max() not in safe
        )


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_repairs_overconfident_logits(method):
    rng = np.random.default_rng(0)
    true = rng.normal(size=4_000) * 2
    labels = rng.random(4_000) < 1 / (1 + np.exp(-true))
    logits = 4 * true
    calibration = ScoreCalibration.fit(logits[:2_000], labels[:2_000], method)
    found = calibration.probabilities(logits[2_000:])
    before = calibration_error(1 / (1 + np.exp(-logits[2_000:])), labels[2_000:])
    assert before > 0.1 and calibration_error(found, labels[2_000:]) < 0.05
    order = np.argsort(logits[2_000:])
    assert (np.diff(found[order]) >= 0).all() and found.min() >= 0 and found.max() <= 1
    assert ScoreCalibration.from_data(json.loads(json.dumps(calibration.to_data()))) == calibration
    if method == "temperature":
        assert calibration.temperature == pytest.approx(4, rel=0.1)


def test_calibration_needs_both_classes():
    same = ScoreCalibration.fit(np.array([1.0, 2.0]), np.array([True, True]), "isotonic")
    assert (
        same
        == ScoreCalibration()
        == ScoreCalibration.fit(np.zeros(0), np.zeros(0, bool), "temperature")
    )
    assert threshold_for(np.array([0.9]), np.array([True]), 0.1) == 0.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_equals_a_slow_one(pairs):
    want = 0.0
    for b in range(15):
        mine = [(p, y) for p, y in pairs if min(int(p * 15), 14) == b]
        if mine:
            gap = abs(sum(p for p, _ in mine) - sum(y for _, y in mine)) / len(mine)
            want += gap * len(mine) / len(pairs)
    scores, labels = np.array([p for p, _ in pairs]), np.array([y for _, y in pairs])
    assert calibration_error(scores, labels) == pytest.approx(want, abs=1e-9)


def test_another_rate_keeps_the_weights(student, texts, quick):
    _, held = hold_out(texts, quick.held_out, quick.seed)
    strict, loose = at_rate(student, held, 0.0), at_rate(student, held, 0.5)
    for role in ("prompt", "answer"):
        assert strict.threshold(role) >= student.threshold(role) >= loose.threshold(role)
    assert strict.network is student.network and strict.decisions["prompt"].rate == 0.0


def test_equal_prompts_are_on_one_side():
    texts = [LabelledText(f"answer {n}", bool(n % 2), prompt=f"P {n // 4}") for n in range(80)]
    train, held = hold_out(texts, 0.5)
    assert not {one.prompt for one in train} & {one.prompt for one in held}
    assert sorted((*train, *held), key=texts.index) == texts
    again = hold_out(texts[::-1], 0.5)[1]
    assert set(again) == set(held)
    unknown = [LabelledText(f"x {n}") for n in range(20)]
    assert hold_out(unknown, 0.5) == (unknown, [])


# ------------------------------------------------------------------------------- figures


class Fixed:
    """Gives scores by text."""

    def __init__(self, scores):
        self.scores = scores

    def probabilities(self, texts):
        return np.array([self.scores[one.text] for one in texts])

    def threshold(self, role):
        return 0.5


def test_figures_by_source():
    texts = [
        LabelledText("a", True, "bad"), LabelledText("b", True, "bad"),
        LabelledText("c", False, "good"), LabelledText("d", False, "good"),
        LabelledText("e", None, "good"),
    ]  # fmt: skip
    found = figures_of(Fixed({"a": 0.9, "b": 0.3, "c": 0.4, "d": 0.1}), texts)
    assert set(found) == {("prompt", "all"), ("prompt", "bad"), ("prompt", "good")}
    whole, bad, good = found.values()
    assert whole.auroc.value == bad.auroc.value == good.auroc.value == 0.75
    assert (bad.caught.value, bad.harmful, bad.safe) == (0.5, 2, 0)
    assert math.isnan(bad.flagged_safe.value) and good.flagged_safe.value == 0.0
    assert bad.caught_at_rate.value == 0.5 and whole.ece == pytest.approx(0.325)


def test_figures_of_one_class_are_undefined():
    (whole, _) = check_classifier(Fixed({"a": 0.9}), [LabelledText("a", True, "bad")])
    assert math.isnan(whole.auroc.value) and whole.caught.value == 1.0


# ------------------------------------------------------------------------------- mistakes


def test_mistakes_are_found_before_work(quick, tmp_path, texts, student):
    one_class = [one for one in texts if one.harmful]
    with pytest.raises(LacyError, match=r"E348.*prompt are harmful"):
        train_classifier(one_class, quick)
    with pytest.raises(LacyError, match="E348"):
        train_classifier([LabelledText("x")], quick)
    with pytest.raises(LacyError, match="E345"):
        train_classifier(texts, SafetySettings(encoder=str(tmp_path)))
    for wrong in ({"rate": 2}, {"layers": 9}, {"prompt_tokens": 500}, {"lr": math.inf},
                  {"calibration": "platt"}):  # fmt: skip
        wrong_settings = SafetySettings(**{"encoder": quick.encoder, "epochs": 0.1, **wrong})
        with pytest.raises(LacyError, match="E12"):
            train_classifier(texts, wrong_settings, teacher=student)
    with pytest.raises(LacyError, match=r"E346.*safety\.json is missing"):
        load_classifier(tmp_path)
    with pytest.raises(LacyError, match=r"E346.*no such folder"):
        load_classifier(tmp_path / "nowhere")
    student.save(tmp_path / "guard")
    weights = tmp_path / "guard" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(LacyError, match="E346"):
        load_classifier(tmp_path / "guard")
