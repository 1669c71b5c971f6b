"""A decision: the probability of every option, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.decide.questions import YES, DecisionQuestion

Floats = NDArray[np.float64]

DIGITS = 6
"""Decimals of a probability. Rounding in floating point stays below them."""


@dataclass(frozen=True, slots=True)
class TypedDecision:
    """The answer to a question.

    Attributes:
        question: the question.
        probabilities: one per option, in the question's order; their sum is 1.
    """

    question: DecisionQuestion
    probabilities: tuple[float, ...]

    @property
    def likeliest(self) -> str:
        """Name of the likeliest option; equal ones are told apart by their texts."""
        order = self.question.in_order()
        best = max(order, key=lambda place: self.probabilities[place])
        return self.question.options[best].name

    @property
    def confidence(self) -> float:
        """``(K p - 1) / (K - 1)`` with the largest of K probabilities p.

        It is 0 if all are equal and 1 if one is certain, so that two and twenty options compare.
        """
        count, most = len(self.probabilities), max(self.probabilities)
        return 1.0 if count == 1 else max(0.0, (count * most - 1) / (count - 1))

    @property
    def score(self) -> float:
        """Mean level of a ``score``, from 0."""
        return float(sum(level * p for level, p in enumerate(self.probabilities)))

    def answer(self, sure: float = 0.0) -> str | None:
        """Return the likeliest option; None ("unknown") if its probability is below ``sure``.

        Args:
            sure: the least probability. It means what it says as far as the decider is calibrated.
        """
        return self.likeliest if max(self.probabilities) >= sure else None

    def to_data(self) -> dict[str, Any]:
        """Return the answer as the System One API writes it."""
        kind, options = self.question.type, self.question.options
        found = {one.name: _shown(p) for one, p in zip(options, self.probabilities, strict=True)}
        if kind == "noul":
            return {"type": kind, "noul": found[YES]}
        rest = {"confidence": _shown(self.confidence), "probabilities": found}
        if kind == "choice":
            return {"type": kind, "choice": self.likeliest, **rest}
        legend = {one.name: one.description for one in options}
        return {"type": kind, "score": _shown(self.score), **rest, "legend": legend}


def decision_of(question: DecisionQuestion, logits_K: Floats, temperature: float) -> TypedDecision:
    """Return the decision by the softmax of an option's logits, divided by a temperature."""
    scaled_K = logits_K / temperature
    weights_K = np.exp(scaled_K - scaled_K.max())
    total = math.fsum(weights_K)  # the same sum in any order
    return TypedDecision(question, tuple(float(weight / total) for weight in weights_K))


def _shown(value: float) -> float:
    return round(float(value), DIGITS)
