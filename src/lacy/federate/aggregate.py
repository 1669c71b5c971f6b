"""Aggregate the updates of a round: the weighted mean (FedAvg), and what all strategies share.

FedAvg (McMahan et al., arXiv 1602.05629) weights every delta by its number of samples. The mean is
a running sum, so its memory does not grow with the number of clients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lacy.deltas import RunningMean
from lacy.federate.protocol import State
from lacy.types import Update


@dataclass(frozen=True)
class Aggregate:
    """What the updates of a round amount to."""

    delta: dict[str, Tensor]
    """The change of the state."""
    left_out: tuple[str, ...] = ()
    """Clients whose updates were accepted, but that the strategy did not choose."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures of the strategy, for the table of rounds."""


class Aggregator(Protocol):
    """Receives the accepted updates of one round."""

    def add(self, client: str, update: Update) -> None:
        """Add an update."""
        ...

    def result(self) -> Aggregate:
        """Return the aggregate; it does not depend on the order in which updates were added."""
        ...


class Strategy(Protocol):
    """Says how updates become one change of the state."""

    @property
    def least(self) -> int:
        """Least number of updates that it needs."""
        ...

    def start(self, state: State) -> Aggregator:
        """Return the aggregator of a round that started from ``state``."""
        ...


@dataclass(frozen=True)
class Mean:
    """FedAvg: the mean, weighted by the number of samples."""

    least: int = 1

    def start(self, state: State) -> Aggregator:
        """Return a running mean."""
        return _Mean()


class _Mean:
    def __init__(self) -> None:
        self._mean = RunningMean()

    def add(self, client: str, update: Update) -> None:
        self._mean.add(update.delta, update.samples)

    def result(self) -> Aggregate:
        return Aggregate(self._mean.mean())


def norm_of(delta: Mapping[str, Tensor]) -> float:
    """Return the Euclidean norm of all tensors together."""
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in delta.values()))


def clipped(update: Update, most: float) -> tuple[Update, bool]:
    """Return an update whose norm is at most ``most``, and whether it was longer."""
    norm = norm_of(update.delta)
    if norm <= most:
        return update, False
    delta = {name: tensor * (most / norm) for name, tensor in update.delta.items()}
    return Update(
        delta, update.samples, update.round, update.model, update.counts, update.metrics
    ), True
