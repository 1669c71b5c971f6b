"""TF-IDF of hashed n-grams: words 1 to 2, characters 2 to 5 within words.

The vocabulary of the training texts is not stored: an n-gram is a bucket. Hashes of all characters
of a text are computed at once by numpy; scikit-learn's ``HashingVectorizer`` gives the same kind of
inputs, but takes a second to import and several times longer per text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacy._text import without_accents

MAX_BUCKETS = 2**18
"""Buckets of hashed n-grams at most."""

HEAD_BYTES = 6_000_000
"""Bytes that the weights of n-grams may take; many routes get fewer buckets."""

GRAMS_PER_TEXT = 64
"""Buckets per training text, between the least and the most."""

MIN_TEXTS = 2
"""N-grams of fewer training texts are left out: they say nothing about other texts."""

LETTERS = range(2, 6)
"""Lengths of n-grams of characters."""

_FACTOR, _SPREAD = np.uint64(1_000_003), np.uint64(0x9E3779B97F4A7C15)
_SPACE = ord(" ")
_WORD = re.compile(r"\w+")


def buckets_for(routes: int, texts: int) -> int:
    """Return the number of buckets: few for few texts, and the weights fit ``HEAD_BYTES``."""
    most = 2**14
    while most < MAX_BUCKETS and most < GRAMS_PER_TEXT * texts:
        most *= 2
    while most > 2**12 and most * routes > HEAD_BYTES:
        most //= 2
    return most


class GramFeatures:
    """TF-IDF of hashed n-grams, rows of length 1.

    Args:
        buckets: number of buckets, a power of 2.
        idf_F: inverse document frequency of each bucket; None before ``fit``.
    """

    name = "grams"

    def __init__(self, buckets: int, idf_F: NDArray[Any] | None = None) -> None:
        self.buckets = buckets
        self.idf_F = np.ones(buckets) if idf_F is None else idf_F.astype(np.float64)

    def fit(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Count in how many texts each bucket occurs, and return the inputs of the texts."""
        counts = self._counts(texts)
        documents_F = np.bincount(counts.indices, minlength=self.buckets)
        idf_F = np.log((1.0 + len(texts)) / (1.0 + documents_F)) + 1.0
        idf_F[documents_F < MIN_TEXTS] = 0.0
        # float16 is what a folder holds, so that a saved router scores as the fitted one.
        self.idf_F = idf_F.astype(np.float16).astype(np.float64)
        return self._weighted(counts)

    def matrix(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return ``[N, buckets]``, rows of length 1 (or 0 without known n-grams)."""
        return self._weighted(self._counts(texts))

    def places(self, text: str) -> tuple[str, dict[int, list[tuple[int, int]]]]:
        """Return a text without case and accents, and by bucket where its n-grams are in it."""
        plain = _plain(text)
        hashes, places = _hashes(plain)
        found: dict[int, list[tuple[int, int]]] = {}
        for bucket, place in zip(self._buckets(hashes).tolist(), places, strict=True):
            found.setdefault(bucket, []).append(place)
        return plain, found

    def _counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return how often each bucket occurs in each text."""
        columns, counts, ends = [np.zeros(0, np.int32)], [np.zeros(0)], [0]
        for text in texts:
            mine = np.sort(self._buckets(_hashes(_plain(text), places=False)[0]))
            starts = np.flatnonzero(np.r_[True, mine[1:] != mine[:-1]]) if len(mine) else mine
            columns.append(mine[starts].astype(np.int32))
            counts.append(np.diff(np.r_[starts, len(mine)]).astype(np.float64))
            ends.append(ends[-1] + len(starts))
        data = np.concatenate(counts), np.concatenate(columns), np.array(ends)
        return sparse.csr_matrix(data, (len(texts), self.buckets))

    def _weighted(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        counts.data = (1.0 + np.log(counts.data)) * self.idf_F[counts.indices]
        counts.eliminate_zeros()
        lengths_N = np.sqrt(np.asarray(counts.multiply(counts).sum(1))).ravel()
        counts.data /= np.repeat(np.maximum(lengths_N, 1e-12), np.diff(counts.indptr))
        return counts

    def _buckets(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        bits = self.buckets.bit_length() - 1
        return ((hashes * _SPREAD) >> np.uint64(64 - bits)).astype(np.int64)

    def data(self) -> dict[str, Any]:
        """Return the number of buckets."""
        return {"buckets": self.buckets}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the inverse document frequencies."""
        return {"idf": self.idf_F.astype(np.float16)}


def _plain(text: str) -> str:
    """Return a text without case, accents and repeated spaces, with a space at both ends."""
    plain = text.casefold() if text.isascii() else without_accents(text.casefold())
    return f" {' '.join(plain.split())} "


def _hashes(plain: str, *, places: bool = True) -> tuple[NDArray[np.uint64], list[tuple[int, int]]]:
    """Return the hash of every n-gram of a text, and its place if that is wanted."""
    codes = np.frombuffer(plain.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    spaces = np.r_[0, np.cumsum(codes == _SPACE)]
    found, where = [], []
    rolled = codes
    for size in LETTERS:
        if len(codes) < size:
            break
        rolled = rolled[:-1] * _FACTOR + codes[size - 1 :]
        starts = np.arange(len(rolled))
        # Within a word: no space between the first and the last character.
        inside = spaces[starts + size - 1] == spaces[starts + 1]
        found.append(rolled[inside] + np.uint64(size << 48))
        if places:
            where += [(int(one), int(one) + size) for one in starts[inside]]
    words = list(_WORD.finditer(plain))
    single = np.array([zlib.crc32(one[0].encode("utf-8", "replace")) for one in words], np.uint64)
    found += [single + np.uint64(1 << 48), single[:-1] * _FACTOR + single[1:]]
    if places:
        where += [one.span() for one in words]
        where += [(a.start(), b.end()) for a, b in pairwise(words)]
    return np.concatenate(found), where
