"""Can these devices train this model? Several seeds, and one assumption at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lacy.edge.answer import EdgeAnswer, Varied, VariedKind
from lacy.edge.assumptions import (
    EdgeAssumptions,
    algorithm_of,
    changed,
    device_classes,
)
from lacy.edge.draws import scale
from lacy.edge.simulating import simulate_devices
from lacy.edge.workload import workload_of
from lacy.errors import LacyError

FACTOR = 2.0
"""Every assumption is halved and doubled."""

VARIED_ROUNDS, VARIED_DEVICE_ROUNDS = 2_000, 1e6
"""Rounds and device rounds of each simulation with a changed assumption."""

VARIED_SEEDS = 3
"""Seeds whose mean is taken for each changed assumption."""


def can_devices_train(
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
    if vary and done[0].devices_that_fit:
        short = changed(assumed, {
            "rounds": min(assumed.rounds, VARIED_ROUNDS),
            "device_rounds": min(assumed.device_rounds, VARIED_DEVICE_ROUNDS),
        })  # fmt: skip
        seeds = range(seed, seed + min(runs, VARIED_SEEDS))
        usual = _mean_days(short, seeds)
        notify("Halving and doubling every assumption.")
        for name, kind in VARIATIONS:
            low, high = (
                _mean_days(variation(short, name, factor), seeds)
                for factor in (1.0 / FACTOR, FACTOR)
            )
            varied.append(Varied(name, kind, usual, low, high))
        varied.sort(key=lambda one: -one.width)
    algorithm = algorithm_of(assumed)
    return EdgeAnswer(
        assumed, algorithm, workload_of(assumed, algorithm), tuple(done), days, tuple(varied)
    )


def _mean_days(assumed: EdgeAssumptions, seeds: Iterable[int]) -> float:
    """Return the mean time over seeds; infinite if one of them reaches the horizon first."""
    return float(np.mean([simulate_devices(assumed, seed).days for seed in seeds]))


VARIATIONS: tuple[tuple[str, VariedKind], ...] = (
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
