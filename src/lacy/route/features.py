"""Numbers that describe a text, as inputs of heads: length, shape, hashed n-grams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacy.route.cases import Floats

Matrix: TypeAlias = Any
"""Inputs of texts ``[N, F]``: a dense float64 array or a sparse matrix in rows."""


class Features(Protocol):
    """Turns texts into numbers.

    ``fit`` may look at the training texts. Nothing that it keeps contains their words.
    """

    name: str

    def fit(self, texts: Sequence[str]) -> None:
        """Prepare on the training texts."""
        ...

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """Return the inputs of each text ``[N, F]``."""
        ...

    def data(self) -> dict[str, Any]:
        """Return its settings as plain data."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        ...


class LengthFeatures:
    """Logarithms of a text's characters and words, and their squares."""

    name = "length"

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing."""

    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, 4]``."""
        sizes_N2 = np.array([(len(one), one.count(" ") + one.count("\n")) for one in texts], float)
        logs_N2 = np.log1p(sizes_N2.reshape(-1, 2)) / 5.0
        return np.hstack([logs_N2, logs_N2**2])

    def data(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


SHAPE = {
    "digits": r"\d", "numbers": r"\d+(?:[.,]\d+)?", "capitals": r"[A-Z]",
    "non-ASCII": r"[^\x00-\x7f]", "line breaks": r"\n", "question marks": r"\?",
    "commas": r",", "quotes": r"[\"“”]", "brackets": r"[()\[\]{}]", "operators": r"[=<>+*/^\\]",
    "code signs": r"[;_`#]|::|->|==",
    "dollars and TeX": r"\$|\\[a-z]+", "option marks": r"(?m)^\s*\(?[A-Ea-e1-5][).]\s",
    "negations": r"(?i)\b(?:not|no|never|except|without|false|n't)\b",
    "question words": r"(?i)\b(?:who|what|when|where|which|why|how)\b",
    "imperatives": r"(?i)\b(?:write|explain|describe|list|give|calculate|find|solve|summar\w+|"
                   r"translate|implement|prove|compare)\b",
    "polite words": r"(?i)\b(?:please|thanks?|hello|hi|could you|can you)\b",
    "first person": r"(?i)\b(?:i|my|me|mine|we|our)\b",
    "sentences": r"[.!?]+(?:\s|$)", "long words": r"\w{9,}", "all words": r"\w+",
}  # fmt: skip
"""What is counted in a text, and by which pattern."""


class ShapeFeatures:
    """Counts of digits, signs and kinds of words in a text, absolute and per character.

    They say how a text is written, not what it is about, so they carry over to other sources.
    """

    name = "shape"

    def __init__(self) -> None:
        self._patterns = [re.compile(pattern) for pattern in SHAPE.values()]
        self._length = LengthFeatures()

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing."""

    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, 4 + 2 * patterns]``."""
        counts_NP = np.array(
            [[len(one.findall(text)) for one in self._patterns] for text in texts], float
        ).reshape(-1, len(self._patterns))
        sizes_N1 = np.array([[len(text) + 1.0] for text in texts]).reshape(-1, 1)
        shares_NP = np.sqrt(counts_NP / sizes_N1)
        return np.hstack([self._length.matrix(texts), np.log1p(counts_NP) / 3.0, shares_NP])

    def names(self) -> list[str]:
        """Return the name of each column."""
        return ["length", "words", "length", "words", *SHAPE, *SHAPE]

    def data(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


MAX_BUCKETS = 2**18
"""Buckets of hashed n-grams at most."""

HEAD_BYTES = 6_000_000
"""Bytes that the weights of n-grams may take; many routes get fewer buckets."""


def buckets_for(routes: int) -> int:
    """Return the number of buckets for which the weights of all routes fit ``HEAD_BYTES``."""
    most = MAX_BUCKETS
    while most > 2**12 and most * routes > HEAD_BYTES:
        most //= 2
    return most


class GramFeatures:
    """TF-IDF of hashed n-grams: words 1 to 2, characters 2 to 5 within words.

    The vocabulary of the training texts is not stored: an n-gram is a bucket, and only weights per
    bucket are kept.

    Args:
        buckets: number of buckets.
        idf_F: inverse document frequency of each bucket; None before ``fit``.
    """

    name = "grams"

    def __init__(self, buckets: int, idf_F: Floats | None = None) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.buckets = buckets
        self.idf_F = np.ones(buckets) if idf_F is None else idf_F.astype(np.float64)
        common = {"n_features": buckets, "norm": None, "alternate_sign": False,
                  "strip_accents": "unicode", "dtype": np.float64}  # fmt: skip
        self._words = HashingVectorizer(
            analyzer="word", ngram_range=(1, 2), token_pattern=r"\w+", **common
        )
        self._letters = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common)

    def fit(self, texts: Sequence[str]) -> None:
        """Count in how many texts each bucket occurs."""
        counts = self._counts(texts)
        documents_F = np.bincount(counts.indices, minlength=self.buckets)
        # float16 is what a folder holds, so that a saved router scores as the fitted one.
        idf_F = np.log((1.0 + len(texts)) / (1.0 + documents_F)) + 1.0
        self.idf_F = idf_F.astype(np.float16).astype(np.float64)

    def matrix(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return ``[N, buckets]``, rows of length 1 (or 0 for an empty text)."""
        from sklearn.preprocessing import normalize

        counts = self._counts(texts)
        counts.data = (1.0 + np.log(counts.data)) * self.idf_F[counts.indices]
        return normalize(counts, copy=False)

    def grams(self, text: str) -> dict[int, list[str]]:
        """Return the n-grams of a text by bucket."""
        found: dict[int, list[str]] = {}
        for vectorizer in (self._words, self._letters):
            every = sorted(set(vectorizer.build_analyzer()(text)))
            for gram in every:
                place = int(_one_bucket(gram, self.buckets))
                found.setdefault(place, []).append(gram)
        return found

    def _counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        counts = self._words.transform(texts) + self._letters.transform(texts)
        found = sparse.csr_matrix(counts)
        found.sum_duplicates()
        return found

    def data(self) -> dict[str, Any]:
        """Return the number of buckets."""
        return {"buckets": self.buckets}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the inverse document frequencies."""
        return {"idf": self.idf_F.astype(np.float16)}


def _one_bucket(gram: str, buckets: int) -> int:
    """Return the bucket of an n-gram, as scikit-learn's hashing has it."""
    from sklearn.utils import murmurhash3_32

    return abs(int(murmurhash3_32(gram, seed=0))) % buckets
