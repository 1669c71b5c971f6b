"""Prices: of tokens that a machine computes, and of right answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy._require import require_at_least


@dataclass(frozen=True, slots=True)
class RateCard:
    """What a computation costs.

    Args:
        hour: US dollars for an hour of the machine that runs the model.
    """

    hour: float

    def __post_init__(self) -> None:
        require_at_least("hour", self.hour, 0.0, finite=True)

    def machine(self, seconds: float) -> float:
        """Return the US dollars for some seconds of the machine."""
        return self.hour * seconds / 3600.0

    def per_thousand_tokens(self, tokens_per_second: float, sources: float = 0.0) -> float:
        """Return US dollars per 1,000 generated tokens.

        Args:
            tokens_per_second: throughput of the machine.
            sources: US dollars that sources charge per generated token.
        """
        return 1000.0 * (self.machine(1.0 / tokens_per_second) + sources)

    def per_right(self, seconds: float, sources: float, right: float) -> float:
        """Return US dollars per right answer; infinite if none is right.

        Args:
            seconds: of the machine, for all answers.
            sources: US dollars that sources charged for all answers.
            right: number of right answers.
        """
        return (self.machine(seconds) + sources) / right if right else math.inf
