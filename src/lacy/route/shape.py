"""The shape of a text and its answer options, as piecewise linear inputs.

A linear head adds up what each input says. Here every input is passed through straight pieces
between quantiles of the training texts (a linear spline; Hastie, Tibshirani and Friedman, 2009,
§5.2), so that a head can learn that very short *and* very long options are hard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import Floats
from lacy.route.features import ShapeFeatures

KNOTS = 5
"""Quantiles between which an input is a straight line."""

_OPTION = re.compile(r"\n\s*\(?([A-Ha-h1-9])[).:]\s+")
_NUMBER = re.compile(r"[\s\d.,%$/\-+^()]*")
_NEGATION = re.compile(r"(?i)\b(?:not|no|never|except|without|false|least|none|incorrect)\b")
_STATEMENTS = re.compile(r"(?i)\bstatement\s*1\b|\b(?:i|ii|iii) (?:and|only)\b")
_PERSON = re.compile(r"(?i)\b(?:he|she|his|her|man|woman|year-old|patient|plaintiff|defendant)\b")
_DOUBT = re.compile(r"(?i)\b(?:would|should|could|likely|best|most)\b")

OPTION_COLUMNS = (
    "options", "length before the options", "mean length of options", "longest option",
    "shortest option", "spread of lengths", "options that are numbers", "words of the question in "
    "options", "different words in options", "negations in options", "all or none of the above",
    "numbered statements", "persons", "words of judgement", "length of words", "gap to fill",
)  # fmt: skip


def options_of(text: str) -> tuple[str, list[str]]:
    """Return what stands before the answer options, and the options ("A. yes", "(b) no")."""
    parts = _OPTION.split(text)
    return parts[0], [re.sub(r"\n\s*Answer:?\s*$", "", one).strip() for one in parts[2::2]]


def option_counts(text: str) -> list[float]:
    """Return the ``OPTION_COLUMNS`` of a text; those of options are 0 where it has none."""
    question, options = options_of(text)
    sizes = [len(one) for one in options] or [0]
    words = [one.casefold().split() for one in options]
    asked, every = set(question.casefold().split()), [word for one in words for word in one]
    shared = [len(asked & set(one)) / (len(one) + 1) for one in words]
    plain = question.split()
    return [
        float(len(options)), np.log1p(len(question)), np.log1p(np.mean(sizes)),
        np.log1p(max(sizes)), np.log1p(min(sizes)), np.log1p(np.std(sizes)),
        sum(bool(_NUMBER.fullmatch(one)) for one in options) / max(1, len(options)),
        float(np.mean(shared or [0.0])), len(set(every)) / (len(every) + 1),
        float(sum(len(_NEGATION.findall(one)) for one in options)),
        float(sum(one.casefold().startswith(("all of", "none of", "both")) for one in options)),
        float(bool(_STATEMENTS.search(text))), float(bool(_PERSON.search(question))),
        float(len(_DOUBT.findall(question))),
        float(np.mean([len(word) for word in plain])) if plain else 0.0,
        float("__" in question),
    ]  # fmt: skip


class SplineShape:
    """Length, shape and options of a text, each as pieces of straight lines.

    Args:
        knots_FK: for each input, the quantiles between which it is a straight line; None before
            ``fit``.
    """

    name = "shape"

    def __init__(self, knots_FK: NDArray[Any] | None = None) -> None:
        self.knots_FK = None if knots_FK is None else knots_FK.astype(np.float64)
        self._shape = ShapeFeatures()

    def fit(self, texts: Sequence[str]) -> Floats:
        """Take the quantiles of the training texts, and return their inputs."""
        plain_NF = self._plain(texts)
        knots_KF = np.quantile(plain_NF, np.linspace(0, 1, KNOTS), axis=0)
        # float32 is what a folder holds, so that a saved router scores as the fitted one.
        self.knots_FK = knots_KF.T.astype(np.float32).astype(np.float64)
        return self._spline(plain_NF)

    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, F * (KNOTS - 1)]``."""
        return self._spline(self._plain(texts))

    def names(self) -> list[str]:
        """Return the name of each column."""
        plain = [*self._shape.names(), *OPTION_COLUMNS]
        return [name for name in plain for _ in range(KNOTS - 1)]

    def data(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the quantiles."""
        return {} if self.knots_FK is None else {"knots": self.knots_FK.astype(np.float32)}

    def _plain(self, texts: Sequence[str]) -> Floats:
        counts_NF = np.array([option_counts(text) for text in texts], float)
        return np.hstack([self._shape.matrix(texts), counts_NF.reshape(-1, len(OPTION_COLUMNS))])

    def _spline(self, plain_NF: Floats) -> Floats:
        """Return how far each input goes into each interval between two quantiles."""
        assert self.knots_FK is not None, "fit comes first"
        low_FK, high_FK = self.knots_FK[:, :-1], self.knots_FK[:, 1:]
        pieces_NFK = np.clip(plain_NF[:, :, None] - low_FK, 0.0, high_FK - low_FK)
        found: Floats = pieces_NFK.reshape(len(plain_NF), -1)
        return found
