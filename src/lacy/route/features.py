"""Numbers that describe a text, as inputs of heads: its length and its shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import Floats

Matrix: TypeAlias = Any
"""Inputs of texts ``[N, F]``: a dense float64 array or a sparse matrix in rows."""


class Features(Protocol):
    """Turns texts into numbers.

    ``fit`` may look at the training texts. Nothing that it keeps contains their words.
    """

    name: str

    def fit(self, texts: Sequence[str]) -> Matrix:
        """Prepare on the training texts, and return their inputs."""
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

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs; there is nothing to prepare."""
        return self.matrix(texts)

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

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs; there is nothing to prepare."""
        return self.matrix(texts)

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
