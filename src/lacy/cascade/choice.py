"""Choose among candidates after reading, with a probability that the choice is right.

``ValueChoice`` scores each candidate by a linear combination of its features. A softmax over the
candidates and one more class, "no candidate is right", gives probabilities. The default weights
were fitted on 57 people of PopQA with SmolLM2-135M and rounded (``docs/results/value.md``). The
score of "no candidate is right" and the limit were set by hand, by reading generated texts: a value
is used where it is more often right than what the model would write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEATURES = ("read", "relation")
"""Features of a candidate: its log-likelihood after reading the source's sentences, and the gain of
its relation's name (``reader``). Its number of tokens and its likelihood without reading did not
help."""


@dataclass(frozen=True, slots=True)
class ValueChoice:
    """A fitted linear combination of ``FEATURES``.

    Args:
        weights: one coefficient per feature.
        none: the score of "no candidate is right".
        limit: minimum probability of the best candidate to be used.
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
