"""Choose among candidates after reading, with a probability that the choice is right.

``ValueChoice`` scores each candidate by a linear combination of its features. A softmax over the
candidates and one more class, "no candidate is right", gives probabilities. The default weights are
those of SmolLM2-135M: their ratio was fitted on 57 people of PopQA, their size and the score of "no
candidate is right" on calls along 25 biographies (``docs/results/value.md``). The limit was chosen
by whole texts: what the model writes instead of a refused value is right even less often.
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

    weights: tuple[float, ...] = (0.8, 0.8)
    none: float = -2.6
    limit: float = 0.03

    def log_probabilities(self, features: Sequence[Sequence[float]]) -> list[float]:
        """Return the log-probability that each candidate is right.

        Args:
            features: ``FEATURES`` of each candidate.
        """
        scores = [sum(w * x for w, x in zip(self.weights, row, strict=True)) for row in features]
        most = max([*scores, self.none])
        total = sum(math.exp(score - most) for score in [*scores, self.none])
        return [score - most - math.log(total) for score in scores]
