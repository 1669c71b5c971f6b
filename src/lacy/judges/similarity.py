"""How similar a fact's words are to those of a page: "film" and "movie" are nearly one word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lacy.judges.pages import Page
from lacy.judges.pieces import CONTENT, FREQUENT_WORDS, Word, weight

Floats = NDArray[np.float32]

SIMILARITIES = (
    "best sentence, similar words", "second sentence, similar words", "page, similar words",
    "least similar word",
)  # fmt: skip
"""Names of the values of ``PageVectors.similarities``."""

UNRELATED = 0.2
"""Cosine of words that have nothing in common; similarity counts from here."""

MAX_PAGE_WORDS = 20_000
"""Only this many different words of a page are compared."""


class WordVectors:
    """Vectors of words: the mean of their pieces' input embeddings.

    Args:
        pieces_VD: an embedding per piece. The mean over frequent words is subtracted, because all
            embeddings of a model have a part in common.
    """

    def __init__(self, pieces_VD: Floats) -> None:
        frequent = pieces_VD[FREQUENT_WORDS.start : FREQUENT_WORDS.stop]
        self._pieces_VD = pieces_VD - frequent.mean(0)

    def of(self, words: list[Word]) -> Floats:
        """Return the vectors of words ``[N, D]``, of length 1."""
        found_ND = np.stack([self._pieces_VD[list(word)].mean(0) for word in words])
        lengths = np.linalg.norm(found_ND, axis=1, keepdims=True)
        return (found_ND / np.maximum(lengths, 1e-9)).astype(np.float32)


class PageVectors:
    """The content words of a page as vectors, and which sentences they are in."""

    def __init__(self, page: Page, vectors: WordVectors) -> None:
        self._vectors = vectors
        place: dict[Word, int] = {}
        rows: list[int] = []
        starts: list[int] = []
        for words in page.sentence_words:
            known = [
                place.setdefault(word, len(place))
                for word in dict.fromkeys(words)
                if weight(word) >= CONTENT and (word in place or len(place) < MAX_PAGE_WORDS)
            ]
            if known:
                starts.append(len(rows))
                rows += known
        self._words_WD = vectors.of(list(place)) if place else None
        self._rows, self._starts = np.asarray(rows), np.asarray(starts)

    def similarities(self, content: tuple[Word, ...]) -> NDArray[np.float64]:
        """Return the values named in ``SIMILARITIES`` for a fact's content words.

        A word counts as much as it weighs, times its similarity to the most similar word.
        """
        if not content:
            return np.ones(len(SIMILARITIES))
        if self._words_WD is None:
            return np.zeros(len(SIMILARITIES))
        weights_C = np.array([weight(word) for word in content], dtype=np.float32)
        weights_C /= weights_C.sum()
        cosine_CW = self._vectors.of(list(content)) @ self._words_WD.T
        similar_CW = np.clip((cosine_CW - UNRELATED) / (1 - UNRELATED), 0, 1)
        by_sentence_CS = np.maximum.reduceat(similar_CW[:, self._rows], self._starts, axis=1)
        covered_S = np.sort((weights_C[:, None] * by_sentence_CS).sum(0))[::-1]
        best_C = similar_CW.max(1)
        second = covered_S[1] if len(covered_S) > 1 else covered_S[0]
        values = [covered_S[0], second, (weights_C * best_C).sum(), best_C.min()]
        return np.array(values, dtype=np.float64)
