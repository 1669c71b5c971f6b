"""Judges on FActScore's own labels, where they are at hand."""

import os
from pathlib import Path

import pytest

from lacy.judges import (
    check_judge,
    labelled_claims,
    open_judge,
    read_labelled_responses,
    read_topic_passages,
    stored_agreement,
    training_topics,
)

DATA = Path(os.environ.get("LACY_SHARED_DATA", "../shared/data")) / "factuality"


@pytest.fixture(scope="module")
def labelled():
    if not DATA.is_dir():
        pytest.skip(f"no labels in {DATA} (set LACY_SHARED_DATA)")
    responses = read_labelled_responses(sorted(DATA.glob("factscore_human_*.jsonl.gz")))
    return labelled_claims(responses, read_topic_passages(DATA / "factscore_passages.jsonl.gz"))


@pytest.mark.slow
def test_word_overlap_reproduces_its_stored_agreement(labelled):
    checked = check_judge(open_judge("overlap"), labelled, trained_on=training_topics())
    assert checked.seen == 129 and checked.topics == 109
    for one, stored in zip(checked.agreements, stored_agreement("overlap").agreements, strict=True):
        assert (one.model, one.facts, one.not_judgeable) == (
            stored.model, stored.facts, stored.not_judgeable,
        )  # fmt: skip
        assert one.auroc.value == pytest.approx(stored.auroc.value, abs=1e-9)
        assert one.gap.value == pytest.approx(stored.gap.value, abs=1e-9)


@pytest.mark.slow
def test_the_verifier_knows_people_it_was_trained_on_better(labelled):
    some = [one for one in labelled if one.claims[0].passages][::12]
    checked = check_judge(open_judge("verifier"), some)
    for one, stored in zip(
        checked.agreements, stored_agreement("verifier").agreements, strict=True
    ):
        assert one.auroc.value > stored.auroc.low
