"""The word-overlap judge and the judges' contract."""

import pytest

from lacy.errors import LacyError
from lacy.judges import NO_FACT, NO_PASSAGES, Claim, OverlapJudge, open_judge

PAGE = (
    "<s>Ada Lovelace was an English mathematician, born on 10 December 1815 in London.</s>",
    "<s>She translated an article about Babbage's Analytical Engine.</s>",
)


def scores(*texts, passages=PAGE):
    judged = open_judge("overlap").judge([Claim(t, "Ada Lovelace", passages) for t in texts])
    return [judgment.score for judgment in judged]


def test_score_is_the_mean_share_of_words_and_of_names_and_numbers():
    # Words: born, paris, 1815 (2 of 3 in the best passage); names, numbers: Paris, 1815 (1 of 2).
    assert scores("Ada Lovelace was born in Paris in 1815.") == [pytest.approx((2 / 3 + 1 / 2) / 2)]
    assert scores("Ada Lovelace was a mathematician.") == [1.0]
    assert scores("Ada Lovelace was a footballer.") == [0.0]


def test_a_fact_of_stop_words_and_the_topic_is_supported():
    assert scores("Ada Lovelace was she.") == [1.0]


def test_marks_of_sentences_are_not_words():
    assert scores("s", passages=("<s>nothing here</s>",)) == [0.0]


@pytest.mark.parametrize(
    ("text", "passages", "why"),
    [(" ", PAGE, NO_FACT), ("A fact.", (), NO_PASSAGES), ("A fact.", ("", " "), NO_PASSAGES)],
)
def test_what_cannot_be_judged_says_why(text, passages, why):
    [judgment] = OverlapJudge().judge([Claim(text, "Ada Lovelace", passages)])
    assert (judgment.supported, judgment.score, judgment.why) == (None, None, why)


def test_unknown_judge():
    with pytest.raises(LacyError, match="E216"):
        open_judge("overlpa")
