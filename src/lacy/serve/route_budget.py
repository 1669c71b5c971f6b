"""Budgets of routes: requests and cost within the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

MINUTE = 60.0


@dataclass
class RouteBudget:
    """What a route may still spend.

    Attributes:
        per_minute: largest number of requests within a minute; None for any.
        cost_per_minute: largest cost within a minute.
        cost: cost of a request.
        clock: returns seconds.
    """

    per_minute: float | None = None
    cost_per_minute: float | None = None
    cost: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _times: deque[float] = field(default_factory=deque, init=False)

    def wait(self) -> float:
        """Return the seconds until the next request is within the budget; 0 if it is."""
        if self.per_minute is None and self.cost_per_minute is None:
            return 0.0
        now = self.clock()
        while self._times and self._times[0] <= now - MINUTE:
            self._times.popleft()
        most = self.per_minute if self.per_minute is not None else float("inf")
        if self.cost_per_minute is not None and self.cost > 0:
            most = min(most, self.cost_per_minute / self.cost)
        # Rounding must not forbid the tenth request of cost 0.1 within a budget of 1.
        allowed = int(min(most + 1e-9, 1e9))
        if len(self._times) < allowed:
            return 0.0
        if not allowed:
            return MINUTE
        return self._times[len(self._times) - allowed] + MINUTE - now

    def spend(self) -> None:
        """Count a request."""
        self._times.append(self.clock())
        if self.per_minute is None and self.cost_per_minute is None:
            self._times.clear()
