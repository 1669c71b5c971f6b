"""Split a page into passages and find those that share words with a fact (BM25).

The original cuts pages into passages of 256 RoBERTa tokens and ranks them with GTR-T5, or with
Okapi BM25 in its NPM variant. Here passages have about as many words as 256 tokens have, end at
sentences where possible, and are ranked by BM25 with its usual constants.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lacy._text import normalized_words
from lacy.factscore.sentences import split_sentences

PASSAGE_WORDS = 190
"""Words per passage; 256 RoBERTa tokens of Wikipedia are about 190 words."""

PASSAGES = 5
"""Number of passages that a judge gets per fact, as in the original."""

MAX_PAGE_CHARACTERS = 4_000_000
"""A page is cut after this many characters (Wikipedia's longest has about 600,000)."""

_K1, _B = 1.5, 0.75
_IDF_FLOOR = 0.25
"""Words in more than half of the passages get this share of the mean idf instead of a negative
one, as in rank_bm25, which the original uses."""


def split_page(text: str) -> tuple[str, ...]:
    """Return the passages of a page, in order; a sentence is divided only if it is too long."""
    passages: list[str] = []
    current: list[str] = []
    for sentence in split_sentences(text[:MAX_PAGE_CHARACTERS]):
        words = sentence.split()
        if current and len(current) + len(words) > PASSAGE_WORDS:
            passages.append(" ".join(current))
            current = []
        current += words
        while len(current) > PASSAGE_WORDS:
            passages.append(" ".join(current[:PASSAGE_WORDS]))
            current = current[PASSAGE_WORDS:]
    if current:
        passages.append(" ".join(current))
    return tuple(passages)


class PassageRanking:
    """Ranks the passages of one page by Okapi BM25.

    Args:
        passages: the passages of a page.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self.passages = tuple(passages)
        self._counts = [Counter(normalized_words(passage)) for passage in self.passages]
        lengths = [counts.total() for counts in self._counts]
        mean = sum(lengths) / len(lengths) if lengths else 0.0
        self._norms = [_K1 * (1 - _B + _B * length / mean) if mean else 1.0 for length in lengths]
        number = len(self.passages)
        rows = Counter(word for counts in self._counts for word in counts)
        idf = {w: math.log((number - n + 0.5) / (n + 0.5)) for w, n in rows.items()}
        floor = _IDF_FLOOR * (sum(idf.values()) / len(idf) if idf else 0.0)
        self._idf = {word: floor if value < 0 else value for word, value in idf.items()}

    def best(self, query: str, number: int = PASSAGES) -> tuple[str, ...]:
        """Return the best passages for a query, the best first; ties keep the page's order."""
        if len(self.passages) <= number:
            return self.passages
        words = normalized_words(query)
        scores = [self._score(words, row) for row in range(len(self.passages))]
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
        return tuple(self.passages[row] for row in order[:number])

    def _score(self, words: Sequence[str], row: int) -> float:
        counts, norm = self._counts[row], self._norms[row]
        return sum(
            self._idf[word] * counts[word] * (_K1 + 1) / (counts[word] + norm)
            for word in words
            if word in counts
        )
