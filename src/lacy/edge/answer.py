"""What simulations of the same assumptions answer: runs, means with intervals, effects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lacy.edge.assumptions import EdgeAlgorithm, EdgeAssumptions
from lacy.edge.outcome import EdgeRun
from lacy.edge.workload import Workload
from lacy.results import Score, score_sums

VariedKind = Literal["assumption", "choice"]
"""About devices, network and training; or a choice of whoever runs the training."""


@dataclass(frozen=True)
class Varied:
    """What happens if one assumption is halved or doubled."""

    name: str
    kind: VariedKind
    usual: float
    """Days with nothing changed."""
    halved: float
    """Days; infinite if the horizon is reached first."""
    doubled: float

    @property
    def width(self) -> float:
        """How many times longer the slowest of the three takes than the fastest."""
        days = (self.usual, self.halved, self.doubled)
        if math.isinf(min(days)):
            return 1.0
        return max(days) / min(days)


@dataclass(frozen=True)
class EdgeAnswer:
    """The answer of some simulations of the same assumptions."""

    assumed: EdgeAssumptions
    algorithm: EdgeAlgorithm
    work: Workload
    runs: tuple[EdgeRun, ...]
    """One per seed."""
    wanted_days: float
    varied: tuple[Varied, ...] = ()
    """From the one that matters most to the one that matters least."""

    @property
    def finished(self) -> tuple[EdgeRun, ...]:
        """The runs that reached the token budget."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def can(self) -> bool:
        """True if the training ends within the wanted days in every run."""
        return all(run.days <= self.wanted_days for run in self.runs)

    @property
    def usual_days(self) -> float:
        """Days with nothing changed, from the simulations that ``varied`` comes from."""
        return self.varied[0].usual if self.varied else math.nan

    @property
    def matters_most(self) -> Varied | None:
        """The assumption with the largest effect; None if none was varied or none has an effect."""
        found = [v for v in self.varied if v.kind == "assumption" and v.width > 1.001]
        return found[0] if found else None

    def figures(self) -> dict[str, Score]:
        """Return the mean of every quantity over seeds, with its interval."""
        runs = self.finished or self.runs
        count = self.algorithm.sampled or self.assumed.population

        def mean(value: Callable[[EdgeRun], float], unit: str) -> Score:
            rows = [(value(run), 1.0) for run in runs]
            return score_sums(rows, lambda sums: sums[:, 0] / sums[:, 1], unit=unit)

        return {
            "wall time": mean(lambda r: r.days if r.finished else math.nan, "days"),
            "rounds": mean(lambda r: r.rounds, "rounds"),
            "device hours": mean(lambda r: r.device_hours, "hours"),
            "energy": mean(lambda r: r.kwh, "kWh"),
            "price of energy": mean(lambda r: r.kwh * self.assumed.price_per_kwh, "dollars"),
            "sent by devices": mean(lambda r: r.sums["bytes_up"] / 1e12, "TB"),
            "received by devices": mean(lambda r: r.sums["bytes_down"] / 1e12, "TB"),
            "devices per round": mean(
                lambda r: r.sums["chosen"] / r.rounds if r.rounds else math.nan, f"of {count:,}"),
            "device rounds lost": mean(lambda r: r.lost, "share"),
            "utilisation": mean(lambda r: r.utilisation, "share"),
            "tokens spent": mean(lambda r: r.sums["tokens"] / 1e9, "10^9"),
            "time without a round": mean(
                lambda r: r.waited_seconds / r.seconds if r.seconds else math.nan, "share"),
            "devices with enough memory": mean(lambda r: r.devices_that_fit, "share"),
        }  # fmt: skip
