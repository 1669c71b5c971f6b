"""Divide the rows of packed data among workers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lacy.corpus import PackedData, permutation
from lacy.errors import LacyError


def split_rows(
    data: PackedData, rows: int, workers: int, *, how: Literal["even", "skewed"], seed: int
) -> list[NDArray[np.int64]]:
    """Return the row numbers of each worker: disjoint, and of sizes that differ by at most 1.

    Skewed shards need no labels: rows are sorted along the first principal component of their
    (centred) token frequencies and cut into equal parts, so every worker has texts of its own kind.

    Args:
        data: packed data.
        rows: number of (first) rows to divide.
        workers: number of parts.
        how: at random (even), or by kind of text (skewed).
        seed: seed of random shards.

    Raises:
        LacyError: E358, there are fewer rows than workers.
    """
    if rows < workers:
        problem = f"\n  - the data have {rows} rows for {workers} workers"
        raise LacyError("E358", problems=problem)
    order = permutation(rows, seed, 0) if how == "even" else _sorted_by_kind(data, rows)
    return [np.sort(part) for part in np.array_split(order, workers)]


def _sorted_by_kind(data: PackedData, rows: int) -> NDArray[np.int64]:
    """Return row numbers, sorted by the first principal component of token frequencies."""
    size = data.info.vocab_size
    counts_NV = np.zeros((rows, size), np.float32)
    for first in range(0, rows, 1024):
        numbers = np.arange(first, min(rows, first + 1024))
        ids_NT = np.asarray(data.batch(numbers)["input_ids"])
        np.add.at(counts_NV, (np.repeat(numbers, ids_NT.shape[1]), ids_NT.ravel()), 1.0)
    share_NV = np.sqrt(counts_NV / np.maximum(1.0, counts_NV.sum(1, keepdims=True)))
    share_NV -= share_NV.mean(0)
    direction_V = np.ones(size, np.float32) + np.arange(size, dtype=np.float32) / size
    for _ in range(30):  # power iteration
        direction_V = share_NV.T @ (share_NV @ direction_V)
        direction_V /= max(1e-30, float(np.linalg.norm(direction_V)))
    return np.argsort(share_NV @ direction_V, kind="stable").astype(np.int64)
