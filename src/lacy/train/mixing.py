"""Mix rows of general texts into the batches (replay), so that a pretrained model forgets less.

Each batch contains the same share of replayed rows, up to rounding. Each data set has its own
order, and all its rows are used before any is repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.corpus import BatchOrder, PackedData
from lacy.types import MarkFlag


@dataclass(frozen=True, slots=True)
class Mixture:
    """Determines the rows of every step, from the data and the replayed data.

    Args:
        data: the training data.
        order: order of its training rows, with the size of the batch and the seed.
        replay: general texts with the same tokenizer and context; None for no replay.
        share: share of the rows that are replayed.
    """

    data: PackedData
    order: BatchOrder
    replay: PackedData | None = None
    share: float = 0.0

    @property
    def rows_per_epoch(self) -> float:
        """Number of rows in all batches of one epoch, including replayed rows."""
        return self.order.n_rows / (1.0 - self.replay_share)

    @property
    def replay_share(self) -> float:
        """Share of the rows that are replayed; 0 without replayed data."""
        return self.share if self.replay is not None else 0.0

    def epoch(self, step: int) -> float:
        """Return the number of epochs of the training data before ``step``, with its fraction."""
        return step * self.order.batch_rows / self.rows_per_epoch

    def numbers(self, step: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the rows of one step: a mask of replayed rows, and row numbers.

        Replayed rows are spread evenly over the batch, so that micro-batches are alike.
        """
        order, size = self.order, self.order.batch_rows
        if self.replay is None:
            return np.zeros(size, dtype=np.bool_), order.rows(step)
        before, after = (self._replayed(step * size), self._replayed((step + 1) * size))
        count = after - before
        mask = np.zeros(size, dtype=np.bool_)
        mask[((np.arange(count) + 0.5) * size / max(1, count)).astype(int)] = True
        numbers = np.empty(size, np.int64)
        general = BatchOrder(len(self.replay), 1, order.seed)
        own = BatchOrder(order.n_rows, 1, order.seed)
        numbers[mask] = [general.rows(place)[0] for place in range(before, after)]
        first = step * size - before
        numbers[~mask] = [own.rows(place)[0] for place in range(first, first + size - count)]
        return mask, numbers

    def columns(self, mask: NDArray[np.bool_], rows: NDArray[np.int64]) -> dict[str, Any]:
        """Return the packed columns of rows given as in ``numbers``."""
        if self.replay is None or not mask.any():
            return self.data.batch(rows)
        if mask.all():
            return self.replay.batch(rows)
        own, general = self.data.batch(rows[~mask]), self.replay.batch(rows[mask])
        mixed = {}
        for name, part in own.items():
            mixed[name] = np.empty((len(rows), *part.shape[1:]), part.dtype)
            mixed[name][~mask], mixed[name][mask] = part, general[name]
        return mixed

    def notes(self) -> list[str]:
        """Return sentences for the user about the replayed rows."""
        if self.replay is None:
            return []
        note = f"replay: {self.replay_share:.0%} of the rows are general texts ({self.replay.path})"
        if not self.replay.info.flags.get(str(MarkFlag.FACT.name)):
            note += "; WARNING: they have no marks, so the model learns not to call in such texts"
        return [note]

    def _replayed(self, rows: int) -> int:
        """Return the number of replayed rows among the first ``rows``."""
        return math.floor(rows * self.share + 1e-9)
