"""The privacy budget that the training of a model had, from what the model says about itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PrivacyBudget:
    """Differential privacy of a training: (epsilon, delta), and the noise that was added."""

    epsilon: float
    delta: float
    noise: float
    """Noise multiplier: standard deviation of the noise by the norm that gradients are clipped
    to."""


def privacy_of(meta: Mapping[str, Any] | None) -> PrivacyBudget | None:
    """Return the budget in a model's ``lacy.json``; None if its training had none.

    Args:
        meta: contents of ``lacy.json``. A training with differential privacy writes ``privacy``
            with ``epsilon``, ``delta`` and ``noise``, beside or inside its settings.
    """
    for entry in _entries(meta or {}):
        if isinstance(entry.get("epsilon"), int | float):
            delta, noise = entry.get("delta"), entry.get("noise")
            return PrivacyBudget(float(entry["epsilon"]), _number(delta), _number(noise))
    return None


def _entries(meta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every ``privacy`` in nested settings."""
    for key, value in meta.items():
        if isinstance(value, Mapping):
            if key == "privacy":
                yield value
            yield from _entries(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
