"""Compute the order of training rows as a pure function of the seed and the step.

Resuming needs no saved state, because the step determines the position in the data. Each epoch is
a new permutation, so every row is seen once per epoch, even if a batch spans two epochs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lacy._require import require_at_least
from lacy.errors import LacyError


class BatchOrder:
    """Determines the row numbers of every step and rank.

    Args:
        n_rows: rows in the data.
        batch_rows: rows per step over all ranks.
        seed: determines the order.
        rank: this process, from 0.
        world_size: number of processes; must divide ``batch_rows``.

    Raises:
        LacyError: E12, the arguments contradict each other.
    """

    def __init__(
        self, n_rows: int, batch_rows: int, seed: int = 0, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self.n_rows = require_at_least("n_rows", n_rows, 1)
        self.batch_rows = require_at_least("batch_rows", batch_rows, 1)
        if not 0 <= rank < world_size:
            why, do = f"ranks go from 0 to {world_size - 1}", "give a rank below world_size"
            raise LacyError("E12", key="rank", value=rank, why=why, do=do)
        if batch_rows % world_size:
            why = f"{world_size} processes cannot share it equally"
            do = f"give a multiple of {world_size}"
            raise LacyError("E12", key="batch_rows", value=batch_rows, why=why, do=do)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the rows of one step (from 0) for this rank: ``batch_rows / world_size`` numbers.

        The rows of all ranks together form the batch, so the number of processes does not change
        the batches.
        """
        share = self.batch_rows // self.world_size
        first = step * self.batch_rows + self.rank * share
        places = np.arange(first, first + share, dtype=np.int64)
        epochs, inside = np.divmod(places, self.n_rows)
        found = np.empty(share, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            found[here] = permutation(self.n_rows, self.seed, epoch)[inside[here]]
        return found

    def epoch(self, step: int) -> float:
        """Return the number of epochs completed before ``step``, with its fraction."""
        return step * self.batch_rows / self.n_rows


@lru_cache(maxsize=4)
def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of ``range(n)`` that is the same on every machine and with every numpy.

    Sorts by SplitMix64 keys (Steele, Lea, Flood 2014), because the streams of ``numpy.random`` may
    change between versions.
    """
    mask = (1 << 64) - 1
    start = _mixed(np.array([(seed * 0x9E3779B97F4A7C15 + 1) & mask], np.uint64))
    start = _mixed(start ^ np.uint64((epoch * 0xD1B54A32D192ED03 + 1) & mask))
    keys = _mixed(start + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    order = np.argsort(keys, kind="stable")
    order.setflags(write=False)  # the array is cached, so no caller may change it
    return order


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
