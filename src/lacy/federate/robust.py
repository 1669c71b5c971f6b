"""Aggregate updates although some clients are malicious and send false ones on purpose.

A mean can be moved anywhere by one client. These strategies ignore what lies far from the others,
and weight all clients equally, because a malicious client would claim any number of samples. They
keep all updates of a round in memory.

- ``Median`` and ``TrimmedMean`` (Yin et al., arXiv 1803.01498) work on each coordinate by itself:
  the median, or the mean without the ``malicious`` smallest and largest values.
- ``Krum`` (Blanchard et al., NeurIPS 2017) takes the ``keep`` updates that lie closest to their
  neighbours, and averages them (multi-Krum; Krum itself keeps one).

All assume that a majority of the clients of a round is honest and that their updates resemble one
another; with very different clients, honest ones are left out, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.federate.aggregate import Aggregate, Aggregator
from lacy.federate.protocol import State
from lacy.types import Update


@dataclass(frozen=True)
class Robust(ABC):
    """A strategy that needs all updates of a round at once.

    Args:
        malicious: how many updates may be malicious.
    """

    malicious: int = 0

    @property
    def least(self) -> int:
        """Least number of updates: more honest than malicious ones."""
        return 2 * self.malicious + 1

    def start(self, state: State) -> Aggregator:
        """Return an aggregator that collects the updates."""
        return _Collected(self)

    @abstractmethod
    def combine(self, clients: Sequence[str], updates: Sequence[Update]) -> Aggregate:
        """Return the aggregate of updates, which are in the order of the clients' names."""


@dataclass(frozen=True)
class Median(Robust):
    """The median of each coordinate; the mean of the two middle values if the number is even."""

    def combine(self, clients: Sequence[str], updates: Sequence[Update]) -> Aggregate:
        """Return the medians."""
        count = len(updates)
        middle = slice((count - 1) // 2, count // 2 + 1)
        return Aggregate({
            name: _stacked(updates, name).sort(0).values[middle].mean(0)
            for name in updates[0].delta
        })  # fmt: skip


@dataclass(frozen=True)
class TrimmedMean(Robust):
    """The mean of each coordinate without its ``malicious`` smallest and largest values."""

    def combine(self, clients: Sequence[str], updates: Sequence[Update]) -> Aggregate:
        """Return the trimmed means."""
        inner = slice(self.malicious, len(updates) - self.malicious)
        return Aggregate({
            name: _stacked(updates, name).sort(0).values[inner].mean(0)
            for name in updates[0].delta
        })  # fmt: skip


@dataclass(frozen=True)
class Krum(Robust):
    """The mean of the ``keep`` updates that are closest to their neighbours.

    Args:
        malicious: how many updates may be malicious.
        keep: how many updates are averaged; 0 for all but ``malicious`` (multi-Krum).
    """

    keep: int = 1

    @property
    def least(self) -> int:
        """Least number of updates for which Krum's guarantee holds (§4 of the paper)."""
        return 2 * self.malicious + 3

    def combine(self, clients: Sequence[str], updates: Sequence[Update]) -> Aggregate:
        """Return the mean of the chosen updates, and the names of the others."""
        scores = krum_scores(updates, self.malicious)
        keep = self.keep or len(updates) - self.malicious
        order = sorted(range(len(updates)), key=lambda number: (scores[number], number))
        chosen = sorted(order[:keep])
        delta = {
            name: _stacked([updates[number] for number in chosen], name).double().mean(0).float()
            for name in updates[0].delta
        }
        left_out = tuple(clients[number] for number in sorted(order[keep:]))
        return Aggregate(delta, left_out)


def krum_scores(updates: Sequence[Update], malicious: int) -> list[float]:
    """Return for each update the sum of squared distances to its closest neighbours.

    Of ``n`` updates, each has ``n - malicious - 2`` neighbours.
    """
    count = len(updates)
    squared = torch.zeros(count, count, dtype=torch.float64)
    for first in range(count):
        for second in range(first + 1, count):
            apart = sum(
                float((tensor - updates[second].delta[name]).double().square().sum())
                for name, tensor in updates[first].delta.items()
            )
            squared[first, second] = squared[second, first] = apart
    neighbours = max(1, count - malicious - 2)
    # Column 0 after sorting is the distance to itself.
    return squared.sort(1).values[:, 1 : 1 + neighbours].sum(1).tolist()  # type: ignore[no-any-return]


class _Collected:
    """All updates of a round, in the order of the clients' names."""

    def __init__(self, strategy: Robust) -> None:
        self._strategy = strategy
        self._updates: dict[str, Update] = {}

    def add(self, client: str, update: Update) -> None:
        self._updates[client] = update

    def result(self) -> Aggregate:
        clients = sorted(self._updates)
        return self._strategy.combine(clients, [self._updates[client] for client in clients])


def _stacked(updates: Sequence[Update], name: str) -> Tensor:
    """Return one tensor of all updates, stacked along a new first dimension."""
    return torch.stack([update.delta[name] for update in updates])
