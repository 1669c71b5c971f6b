"""Choose among candidates after reading, and say how probable it is that the choice is right.

``ValueChoice`` combines what is known about each candidate linearly. A softmax over all candidates
and "none of them" gives probabilities. The default weights are those of a fit on 57 people of PopQA
with SmolLM2-135M, rounded (``docs/results/value.md``). The score of "none of them" and the limit
were set by reading texts: a value is borrowed where it is likelier right than the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEATURES = ("read", "relation")
"""What is known about a candidate: its log-likelihood after reading the source's sentences, and
the gain of its relation's name (``reader``). Its number of tokens and its likelihood without
reading added nothing."""


@dataclass(frozen=True, slots=True)
class ValueChoice:
    """A fitted combination of ``FEATURES``.

    Args:
        weights: one coefficient per feature.
        none: the score of "none of them".
        limit: probability from which on the best candidate is used.
    """

    weights: tuple[float, ...] = (1.0, 1.0)
    none: float = -7.0
    limit: float = 0.15

    def log_probabilities(self, features: Sequence[Sequence[float]]) -> list[float]:
        """Return the log-probability that each candidate is right.

        Args:
            features: ``FEATURES`` of each candidate.
        """
        scores = [sum(w * x for w, x in zip(self.weights, row, strict=True)) for row in features]
        most = max([*scores, self.none])
        total = sum(math.exp(score - most) for score in [*scores, self.none])
        return [score - most - math.log(total) for score in scores]
