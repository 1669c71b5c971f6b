"""Reading labelled files, and how far a judge agrees with them."""

import json
import math

import numpy as np
import pytest

from helpers.labelled import FACTS, PASSAGES, response, write_labelled
from lacy.cli import main
from lacy.errors import LacyError
from lacy.judges import (
    Claim,
    Judgment,
    LabelledClaims,
    OverlapJudge,
    agreement_of,
    check_judge,
    labelled_claims,
    read_labelled_responses,
    read_topic_passages,
    topic_hash,
)


def test_reads_responses_facts_and_abstentions(tmp_path):
    labels, passages = write_labelled(tmp_path)
    responses = read_labelled_responses([labels])
    assert [(r.model, r.topic, len(r.facts)) for r in responses] == [
        ("Parrot", topic, len(facts)) for topic, facts in FACTS.items()
    ] + [("Parrot", "Lena Strand", 0)]
    assert responses[-1].sentences == ()
    assert responses[0].model_facts == (tuple(text for text, _ in FACTS["Mira Okafor"]),)
    assert read_topic_passages(passages) == {t: tuple(texts) for t, texts in PASSAGES.items()}


def test_claims_leave_out_irrelevant_facts_and_keep_topics_without_passages(tmp_path):
    labels, passages = write_labelled(tmp_path)
    found = labelled_claims(read_labelled_responses([labels]), read_topic_passages(passages))
    assert [len(one.claims) for one in found] == [4, 3, 2, 1]
    assert found[3].claims[0].passages == ()
    assert found[0].supported == (True, True, False, False)


@pytest.mark.parametrize(
    ("spelling", "label"),
    [("Supported", "S"), ("not-supported", "NS"), ("NOT_SUPPORTED", "NS"), ("Irrelevant", "IR"),
     ("unsupported", "NS"), (True, "S"), (False, "NS")],
)  # fmt: skip
def test_all_spellings_of_labels(tmp_path, spelling, label):
    path = tmp_path / "Parrot.jsonl"
    path.write_text(json.dumps(response("A", [("A is.", spelling)])) + "\n", encoding="utf-8")
    [one] = read_labelled_responses([path])
    assert [fact.label for fact in one.facts] == [label]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "not a JSON object"),
        ('{"topic": "A", "output": "x"}', "no 'annotations'"),
        ('{"topic": 1, "output": "x", "annotations": []}', "'topic' is not a text"),
        ('{"topic": "A", "output": "x", "annotations": [3]}', "not a list of objects"),
        (json.dumps(response("A", [("x", "maybe")])), "maybe"),
        ("[" * 100_000, ""),
    ],
)
def test_a_damaged_line_is_an_error_with_its_place(tmp_path, text, why):
    path = tmp_path / "Parrot.jsonl"
    path.write_text("\n" + text + "\n", encoding="utf-8")
    with pytest.raises(LacyError, match="E217") as caught:
        read_labelled_responses([path])
    assert "line 2" in str(caught.value) and why in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(LacyError, match="E217"):
        read_topic_passages(tmp_path / "none.jsonl")


# -------------------------------------------------------------------------------- agreement


def labelled(topic, labels):
    claims = tuple(Claim(f"{topic} {n}", topic, ("page",), "m") for n in range(len(labels)))
    return LabelledClaims("m", topic, claims, tuple(labels))


def test_agreement_equals_a_slow_reference():
    rng = np.random.default_rng(3)
    pairs = []
    for topic in "abcdefgh":
        labels = rng.random(9) < rng.random()
        scores = np.clip(labels * 0.3 + rng.random(9) * 0.7, 0, 1)
        judgments = [Judgment(bool(s >= 0.5), float(s)) for s in scores]
        judgments[0] = Judgment(None, None, "failed")
        pairs.append((labelled(topic, [bool(x) for x in labels]), judgments))
    got = agreement_of("m", pairs)
    flat = [
        (label, judgment.score, judgment.supported)
        for one, judgments in pairs
        for label, judgment in zip(one.supported, judgments, strict=True)
        if judgment.score is not None
    ]
    wins = [
        (a > b) + (a == b) / 2 for la, a, _ in flat if la for lb, b, _ in flat if not lb
    ]  # fmt: skip
    assert got.auroc.value == pytest.approx(np.mean(wins))
    assert got.accuracy.value == pytest.approx(np.mean([label == v for label, _, v in flat]))
    people = [np.mean(one.supported[1:]) for one, _ in pairs]
    judge = [np.mean([j.supported for j in js[1:]]) for _, js in pairs]
    assert got.pearson.value == pytest.approx(np.corrcoef(people, judge)[0, 1])
    assert got.gap.value == pytest.approx(np.mean(judge) - np.mean(people))
    assert (got.facts, got.not_judgeable, got.auroc.n) == (64, 8, 8)
    assert got.pearson.low < got.pearson.value < got.pearson.high


class Scripted:
    """Says what it was told."""

    name = "scripted"

    def __init__(self, verdicts):
        self.verdicts = verdicts

    def judge(self, claims):
        return [self.verdicts[claim.text] for claim in claims]


def test_a_judge_that_is_no_better_than_chance_is_unfit():
    one = labelled("a", [True, False, True, False])
    chance = {c.text: Judgment(True, 0.5) for c in one.claims}
    perfect = {
        c.text: Judgment(y, float(y)) for c, y in zip(one.claims, one.supported, strict=True)
    }
    silent = {c.text: Judgment(None, None, "no answer") for c in one.claims}
    assert check_judge(Scripted(chance), [one]).unfit
    assert not check_judge(Scripted(perfect), [one]).unfit
    checked = check_judge(Scripted(silent), [one])
    assert checked.unfit and checked.agreements[0].not_judgeable == 4
    assert math.isnan(checked.agreements[0].auroc.value)


def test_topics_of_the_training_are_recognised():
    one = labelled("Mira  Okafor", [True, False])
    checked = check_judge(OverlapJudge(), [one], trained_on={topic_hash("mira okafor")})
    assert checked.seen == 1


# ---------------------------------------------------------------------------------- command


def test_judge_check_as_typed(tmp_path, capsys):
    labels, passages = write_labelled(tmp_path)
    out = tmp_path / "agreement.json"
    words = ["judge", "check", "--judge", "overlap", "--labels", labels]
    assert main([str(w) for w in [*words, "--passages", passages, "--out", out]]) == 0
    shown = capsys.readouterr()
    assert "Agreement of the judge overlap with people" in shown.out
    assert "Parrot" in shown.out
    data = json.loads(out.read_text(encoding="utf-8"))
    [one] = data["agreements"]
    assert (one["facts"], one["not_judgeable"], data["judge"]) == (9, 1, "overlap")
    assert {r["metric"] for r in data["results"]} >= {"judge_auroc", "judge_gap"}
    assert data["environment"]


def test_judge_check_names_an_unfit_judge(tmp_path, capsys):
    facts = {"Lena Strand": [("Lena Strand is Danish.", "S"), ("She is a singer.", "NS")]}
    labels, passages = write_labelled(tmp_path, facts)
    words = ["judge", "check", "--judge", "overlap", "--labels", labels, "--passages", passages]
    assert main([str(w) for w in words]) == 0
    assert "Unfit: AUROC below 0.75" in capsys.readouterr().err


def test_judge_check_names_what_is_wrong(tmp_path, capsys):
    labels, passages = write_labelled(tmp_path)
    words = ["judge", "check", "--labels", labels, "--passages", tmp_path / "no", "--judge"]
    assert main([str(w) for w in [*words, "overlap"]]) == 3
    assert main([str(w) for w in [*words[:-2], passages, "--judge", "overlp"]]) == 2
    shown = capsys.readouterr().err
    assert "[E217]" in shown and "[E216]" in shown and "did you mean 'overlap'" in shown
