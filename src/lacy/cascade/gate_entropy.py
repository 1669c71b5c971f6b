"""Compute the signal ``gate+entropy``: how likely the model is to get a value wrong here.

The gate tells where a value begins, and the entropy whether the model knows how to continue. A
logistic regression on the gate's logit, the logarithm of the entropy and their product finds more
of the values that a model gets wrong than either alone (``docs/results/tune.md``). ``lacy tune``
fits it on held-out articles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOOR = 0.1
"""Entropy in nats that is added before the logarithm, so that a very low entropy does not give an
extreme value. Results are the same from 0.03 to 0.3."""


@dataclass(frozen=True, slots=True)
class GateEntropy:
    """The weights of the signal; a value of 0 means even odds that the model is wrong."""

    intercept: float
    gate: float
    """Weight of the gate's logit, i.e. of the ``<CALL>`` margin."""
    entropy: float
    """Weight of ``log(entropy + FLOOR)``."""
    product: float
    """Weight of the product of the two."""
    limit: float = 0.0
    """The value above which the policy ``gate+entropy`` calls."""

    def __call__(self, gate: ArrayLike, entropy: ArrayLike) -> NDArray[np.float64]:
        """Return the signal at positions with these gate logits and entropies (nats)."""
        gate_N, log_N = np.asarray(gate, np.float64), log_entropy(entropy)
        return (
            self.intercept
            + self.gate * gate_N
            + self.entropy * log_N
            + self.product * gate_N * log_N
        )

    def to_data(self) -> dict[str, float]:
        """Return the weights for ``lacy.json``."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any] | None) -> GateEntropy | None:
        """Return the weights that ``lacy tune`` stored in a model's ``lacy.json``, if any."""
        tuned = (meta or {}).get("tune")
        stored = tuned.get("gate_entropy") if isinstance(tuned, Mapping) else None
        if not isinstance(stored, Mapping):
            return None
        try:
            values = {field.name: float(stored[field.name]) for field in fields(cls)}
        except (KeyError, TypeError, ValueError):
            return None
        return cls(**values) if all(map(math.isfinite, values.values())) else None


def log_entropy(entropy: ArrayLike) -> NDArray[np.float64]:
    """Return ``log(entropy + FLOOR)`` of entropies in nats."""
    result: NDArray[np.float64] = np.log(np.asarray(entropy, np.float64) + FLOOR)
    return result
