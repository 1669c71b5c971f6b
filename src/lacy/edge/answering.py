"""Can these devices train this model? Several seeds, one assumption at a time, and plain words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lacy.edge.assumptions import (
    EdgeAlgorithm,
    EdgeAssumptions,
    algorithm_of,
    changed,
    device_classes,
)
from lacy.edge.draws import scale
from lacy.edge.outcome import EdgeRun
from lacy.edge.simulating import simulate_devices
from lacy.edge.workload import Workload, workload_of
from lacy.errors import LacyError
from lacy.results import Score, score_sums

FACTOR = 2.0
"""Every assumption is halved and doubled."""

VARIED_ROUNDS, VARIED_DEVICE_ROUNDS = 2_000, 1e6
"""Rounds and device rounds of each simulation with a changed assumption."""


@dataclass(frozen=True)
class Varied:
    """What happens if one assumption is halved or doubled."""

    name: str
    kind: Literal["assumption", "choice"]
    """assumption: about devices, network and training. choice: of whoever runs the training."""
    halved: float
    """Days; infinite if the horizon is reached first."""
    doubled: float

    @property
    def width(self) -> float:
        """How many times longer the slower of the two takes; infinite if only it never ends."""
        low, high = sorted((self.halved, self.doubled))
        if math.isinf(low):
            return 1.0
        return high / low


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
    usual_days: float = math.nan
    """Days of the simulation that ``varied`` is compared with."""

    @property
    def finished(self) -> tuple[EdgeRun, ...]:
        """The runs that reached the token budget."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def can(self) -> bool:
        """True if the training ends within the wanted days in every run."""
        return all(run.days <= self.wanted_days for run in self.runs)

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

    def sentences(self) -> list[str]:
        """Return the answer in words, the most important first."""
        from lacy.edge.wording import answer_sentences

        return answer_sentences(self)


def ask(
    assumed: EdgeAssumptions,
    days: float = 30.0,
    *,
    runs: int = 5,
    seed: int = 0,
    vary: bool = True,
    notify: Callable[[str], object] | None = None,
) -> EdgeAnswer:
    """Simulate with several seeds, and with every assumption halved and doubled.

    Args:
        assumed: the assumptions.
        days: the days within which the training should end.
        runs: number of seeds.
        seed: the first seed.
        vary: False to leave out the changed assumptions.
        notify: receives a line about the progress.

    Raises:
        LacyError: E365 or E366, the assumptions do not make sense; E367, ``days`` or ``runs`` do
            not.
    """
    if not (0 < days < math.inf and runs >= 1):
        raise LacyError("E367", days=days, runs=runs)
    notify = notify or (lambda line: None)
    done = []
    for number in range(runs):
        done.append(simulate_devices(assumed, seed + number))
        notify(f"Run {number + 1} of {runs}: {done[-1].rounds:,.0f} rounds.")
    varied: list[Varied] = []
    usual = math.nan
    if vary and done[0].devices_that_fit:
        short = changed(assumed, {
            "rounds": min(assumed.rounds, VARIED_ROUNDS),
            "device_rounds": min(assumed.device_rounds, VARIED_DEVICE_ROUNDS),
        })  # fmt: skip
        usual = simulate_devices(short, seed).days
        for name, kind in VARIATIONS:
            notify(f"Halved and doubled: {name}.")
            low, high = (
                simulate_devices(variation(short, name, factor), seed).days
                for factor in (1.0 / FACTOR, FACTOR)
            )
            varied.append(Varied(name, kind, low, high))
        varied.sort(key=lambda one: -one.width)
    algorithm = algorithm_of(assumed)
    return EdgeAnswer(
        assumed, algorithm, workload_of(assumed, algorithm), tuple(done), days, tuple(varied), usual
    )


VARIATIONS: tuple[tuple[str, Literal["assumption", "choice"]], ...] = (
    ("sustained FLOP/s", "assumption"), ("memory", "assumption"),
    ("bandwidth of devices", "assumption"), ("hours per day", "assumption"),
    ("time between interruptions", "assumption"), ("days until devices leave", "assumption"),
    ("bandwidth of the server", "assumption"), ("critical batch", "assumption"),
    ("number of devices", "assumption"),
    ("devices per round", "choice"), ("local steps", "choice"), ("tokens per step", "choice"),
    ("bits per parameter", "choice"), ("quorum", "choice"), ("grace window", "choice"),
)  # fmt: skip
"""What is halved and doubled, one at a time."""

_OF_CLASSES = {
    "sustained FLOP/s": ("flops",),
    "memory": ("memory_gb",),
    "bandwidth of devices": ("down_mbps", "up_mbps"),
    "hours per day": ("hours",),
    "time between interruptions": ("interrupted_hours",),
    "days until devices leave": ("stays_days",),
}


def variation(assumed: EdgeAssumptions, name: str, factor: float) -> EdgeAssumptions:
    """Return assumptions of which one is multiplied by a factor, as far as its limits allow."""
    algorithm, server = algorithm_of(assumed), assumed.server

    def whole(value: int) -> int:
        return max(1, round(value * factor))

    if name in _OF_CLASSES:
        classes = {
            key: dataclasses.replace(
                one, **{f: _limited(f, scale(getattr(one, f), factor)) for f in _OF_CLASSES[name]}
            )
            for key, one in device_classes(assumed).items()
        }
        return changed(assumed, {"devices": classes})
    sampled = min(algorithm.sampled or assumed.population, assumed.population)
    values: Mapping[str, Mapping[str, Any]] = {
        "bandwidth of the server": {
            "server.up_gbps": server.up_gbps * factor, "server.down_gbps": server.down_gbps * factor
        },
        "critical batch": {"critical_batch_tokens": assumed.critical_batch_tokens * factor},
        "number of devices": {"population": whole(assumed.population)},
        "devices per round": {"algorithm.sampled": min(whole(sampled), assumed.population)},
        "local steps": {"algorithm.steps": whole(algorithm.steps)},
        "tokens per step": {"algorithm.batch_tokens": whole(algorithm.batch_tokens)},
        "bits per parameter": {"algorithm.bits": min(64.0, algorithm.bits * factor)},
        "quorum": {"algorithm.quorum": min(1.0, algorithm.quorum * factor)},
        "grace window": {"algorithm.grace_minutes": algorithm.grace_minutes * factor},
    }  # fmt: skip
    return changed(assumed, values[name])


def _limited(name: str, value: Any) -> Any:
    """Cut values at what a day has; spreads beyond it are cut device by device."""
    if name == "hours":
        if isinstance(value, float | int):
            return min(24.0, value)
        cut = {key: min(24.0, v) for key in ("median", "p90", "low", "high")
               if (v := getattr(value, key)) is not None}  # fmt: skip
        return dataclasses.replace(
            value, **cut, values=tuple(np.minimum(24.0, value.values).tolist())
        )
    return max(0.25, value) if name == "stays_days" and value else value
