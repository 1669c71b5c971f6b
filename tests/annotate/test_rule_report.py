"""Shares, agreement and calibration, each against a slow count."""

import pytest
import spacy

from lacy.annotate import Rules, SpacyAnnotator, encode
from lacy.annotate.config import MARKING, UNMARKING
from lacy.annotate.rule_report import (
    MarkAgreement,
    ParsedDocuments,
    agreement,
    calibrate_rules,
    rule_shares,
)
from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.types import Document, Mark, MarkFlag

TEXTS = [
    f"Ann Lee{i} was a French painter from Lyon who lived in 19{i:02d} with two cats. "
    f"Lee{i} painted 3{i} pictures of Lyon and of old houses on the way to the sea."
    for i in range(10, 40)
]


@pytest.fixture(scope="module")
def parsed():
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS)]
    annotator = SpacyAnnotator("bundled", Rules(entities=True))
    return ParsedDocuments(documents, annotator, train_tokenizer(TEXTS, 400))


def test_token_shares_equal_those_of_encoded_documents(parsed):
    rules = Rules(unmark_seen=False)
    documents = [
        Document(d.id, d.text, marks=tuple(found))
        for d, found in zip(parsed.documents, parsed.marks(rules), strict=True)
    ]
    tokenizer = train_tokenizer(TEXTS, 400)
    flags = [flag for d in documents for flag in encode(d, tokenizer).marks[1:-1]]
    share = parsed.share(rules)
    assert share.tokens == len(flags)
    assert share.facts == sum(bool(flag & MarkFlag.FACT) for flag in flags)
    assert share.starts == sum(bool(flag & MarkFlag.START) for flag in flags)
    assert share.content == sum(bool(flag & MarkFlag.CONTENT) for flag in flags)


def test_every_switch_is_reported_and_moves_the_right_way(parsed):
    rows = {row.name: row for row in rule_shares(parsed)}
    whole = rows["all"].share
    assert len(rows) == 1 + len(MARKING) + len(UNMARKING) + len(MARKING)
    assert 0 < whole < 1
    assert rows["numbers off"].share < whole < rows["unmark_seen off"].share
    assert rows["unmark_inside on"].share <= whole
    assert all(0 < rows[f"{name} alone"].share < 0.6 for name in MARKING)


def test_calibration_reaches_a_share_within_reach(parsed):
    default = parsed.share(parsed.rules).share
    assert calibrate_rules(parsed, target=default).rules == parsed.rules
    for target in (default - 0.03, default + 0.05):
        found = calibrate_rules(parsed, target=target, tolerance=0.01)
        assert abs(found.share - target) < abs(default - target)
        assert parsed.share(found.rules).share == found.share


def test_calibration_adjusts_the_learned_threshold(parsed):
    bare = Rules().only("learned")
    low = calibrate_rules(parsed, bare, target=0.5, tolerance=0.02)
    assert low.rules.learned_threshold < 0.5
    assert low.share == pytest.approx(0.5, abs=0.05)


def test_a_target_must_be_a_share(parsed):
    with pytest.raises(LacyError, match="25"):
        calibrate_rules(parsed, target=25)


def test_agreement_counts_words():
    text = "Ann saw two red hens in May 1900"
    judged = [Document("a", text, marks=(Mark(8, 11, "VALUE"), Mark(24, 32, "VALUE")))]
    ours = [
        [Mark(0, 3, "ENTITY"), Mark(4, 7, "CONTENT"), Mark(8, 15, "NUMBER"), Mark(28, 32, "DATE")]
    ]
    assert agreement(judged, ours) == {
        "all": MarkAgreement(both=2, marked=4, judged=3),
        "DATE": MarkAgreement(both=1, marked=1, judged=3),
        "ENTITY": MarkAgreement(both=0, marked=1, judged=3),
        "NUMBER": MarkAgreement(both=1, marked=2, judged=3),
    }
    whole = agreement(judged, ours)["all"]
    assert (whole.precision, whole.recall) == (0.5, 2 / 3)
    assert whole.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert agreement(judged, [[]]) == {}
    assert (
        MarkAgreement(0, 0, 0).f1
        == MarkAgreement(0, 0, 0).precision
        == MarkAgreement(0, 0, 0).recall
        == 0.0
    )


def test_no_documents():
    tokenizer = train_tokenizer(TEXTS, 300)
    empty = ParsedDocuments([], SpacyAnnotator(spacy.blank("en")), tokenizer)
    assert empty.share(Rules()).share == 0.0
