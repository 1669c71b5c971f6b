"""A judge that only compares words: the baseline that every other judge has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from lacy.judges.protocol import Claim, Judgment, not_judgeable
from lacy.judges.words import (
    MAX_FACT_CHARACTERS,
    content_words,
    names_and_numbers,
    passage_words,
)


class OverlapJudge:
    """Judges a fact by the share of its words that occur in the passages.

    The score is the mean of two shares: of the fact's content words that occur in the best single
    passage, and of its names and numbers that occur in any passage. The topic's own words do not
    count. A fact is supported if the score reaches ``threshold``.

    Args:
        threshold: the lowest score of a supported fact.
    """

    name = "overlap"

    def __init__(self, threshold: float = 0.6) -> None:
        self.threshold = threshold

    def judge(self, claims: Sequence[Claim]) -> list[Judgment]:
        """Return one judgment per claim, in their order."""
        return [self._judge(claim) for claim in claims]

    def _judge(self, claim: Claim) -> Judgment:
        if undecidable := not_judgeable(claim):
            return undecidable
        score = word_overlap(claim)
        return Judgment(score >= self.threshold, score)


def word_overlap(claim: Claim) -> float:
    """Return the share of a claim's words that its passages contain (see ``OverlapJudge``)."""
    text = claim.text[:MAX_FACT_CHARACTERS]
    topic = set(content_words(claim.topic))
    words = set(content_words(text)) - topic
    details = names_and_numbers(text) - topic
    each, page = passage_words(claim.passages)
    best = max((len(words & passage) for passage in each), default=0)
    shares = [best / len(words)] if words else []
    shares += [len(details & page) / len(details)] if details else []
    if not shares:  # only the topic's name and stop words: nothing contradicts the passages
        return 1.0
    return sum(shares) / len(shares)
