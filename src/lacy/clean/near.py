"""Find near-duplicates among a stream of texts with MinHash and locality-sensitive hashing.

Two texts are near-duplicates if they share most of their word n-grams (Broder, 1997;
arXiv 2107.06499 applies it to training texts). The package rensa computes and compares signatures.
"""

from __future__ import annotations

import re

from lacy._require import require_at_least, require_package
from lacy.errors import LacyError

HASHES = 128
"""Values per signature; the standard error of a similarity of 0.8 is 0.035."""

RECALL = 0.9
"""Least probability with which a text at the threshold is compared at all."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word, or one character of a script without spaces between words."""


def word_ngrams(text: str, length: int) -> list[str]:
    """Return the n-grams of ``length`` words of a text; a shorter text is a single n-gram."""
    words = _WORD.findall(text.casefold())
    if len(words) <= length:
        return [" ".join(words)] if words else []
    return [" ".join(words[start : start + length]) for start in range(len(words) - length + 1)]


def _bands(threshold: float) -> int:
    """Return the number of parts of a signature of which one must be equal for a comparison.

    More bands find more pairs, and cost more memory and comparisons. The package's default of
    8 finds half of the pairs with a similarity of 0.86.
    """
    for bands in (8, 16, 32, 64):
        if 1 - (1 - threshold ** (HASHES // bands)) ** bands >= RECALL:
            return bands
    return HASHES


class NearDuplicates:
    """Texts seen so far, against which each new one is compared.

    Args:
        threshold: estimated Jaccard similarity of the sets of word n-grams from which two texts are
            near-duplicates.
        words: words per n-gram.

    Raises:
        LacyError: E11, rensa is not installed; E12, a threshold outside (0, 1], or no words.
    """

    def __init__(self, threshold: float = 0.8, words: int = 5) -> None:
        if not 0 < threshold <= 1:
            why, do = "not a similarity above 0 and up to 1", "give one such as 0.8"
            raise LacyError("E12", key="near", value=threshold, why=why, do=do)
        require_at_least("words", words, 1)
        self._rensa = require_package("rensa", "clean", "finding near-duplicates")
        self._known = self._rensa.RMinHashDeduplicator(
            threshold=threshold, num_perm=HASHES, use_lsh=True, num_bands=_bands(threshold), seed=0
        )
        self._words = words
        self._count = 0

    def first_like(self, text: str) -> int | None:
        """Return the number of the first kept text that is like this one, or None and keep it.

        Kept texts are numbered from 0. A text without a word is like no other.
        """
        ngrams = word_ngrams(text, self._words)
        if ngrams:
            signature = self._rensa.RMinHash(num_perm=HASHES, seed=0)
            signature.update(ngrams)
            found = self._known.get_duplicates(signature)
            if found:
                return min(int(key) for key in found)
            self._known.add(str(self._count), signature)
        self._count += 1
        return None
