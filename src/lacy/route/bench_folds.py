"""How cases are divided for a benchmark: whole sources left out, and texts of the same sources."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError
from lacy.route.cases import Floats, RouteCase
from lacy.route.fitting import key_of

SplitName = Literal["other sources", "same sources"]

MOST_FOLDS = 25
"""Up to this number of sources, each one is left out alone; more sources are left out in groups."""


@dataclass(frozen=True)
class BenchFold:
    """Cases to train on and cases to measure on.

    Attributes:
        split: whether the measured cases come from sources that are absent in training.
        name: the source that is left out, or the fold's number.
        train_N: places of the training cases.
        test_N: places of the measured cases.
    """

    split: SplitName
    name: str
    train_N: NDArray[np.int64]
    test_N: NDArray[np.int64]


def bench_folds(
    cases: Sequence[RouteCase], targets_NR: Floats, *, folds: int = 5, seed: int = 0
) -> list[BenchFold]:
    """Return the folds of both splits; every case is measured once in each.

    *Other sources* leaves out one source at a time (or groups of sources, if there are more than
    ``MOST_FOLDS``); a text that occurs in a source that is left out is not trained on. *Same
    sources* is cross-validation over texts; equal texts stay together. With one source, there is
    only the latter.

    Args:
        cases: the cases.
        targets_NR: their targets, to spread classes evenly.
        folds: folds of *same sources*, and of *other sources* if sources are left out in groups.
        seed: seed of the folds.

    Raises:
        LacyError: E370, all texts are equal.
    """
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

    keys = np.array([key_of(case.text) for case in cases])
    sources = np.array([case.source for case in cases])
    if len(set(keys)) < 2:
        raise LacyError("E370", where="the cases", why="all texts are equal")
    rows = np.zeros((len(cases), 1))
    found: list[BenchFold] = []
    names = np.unique(sources)
    if len(names) > 1:
        alone = len(names) <= MOST_FOLDS
        splitter = LeaveOneGroupOut() if alone else GroupKFold(min(folds, len(names)))
        for number, (train, test) in enumerate(splitter.split(rows, groups=sources), 1):
            fresh = train[~np.isin(keys[train], keys[test])]
            name = str(sources[test[0]]) if alone else f"group {number}"
            found.append(BenchFold("other sources", name, fresh, test))
    folds = min(folds, len(np.unique(keys)))
    classes_N = np.nan_to_num(targets_NR, nan=-1.0).argmax(1)
    mixed = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    if np.bincount(classes_N).max() < folds:  # every class is too rare to be spread
        mixed = GroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(mixed.split(rows, classes_N, groups=keys))
    for number, (train, test) in enumerate(parts, 1):
        found.append(BenchFold("same sources", f"fold {number}", train, test))
    return found
