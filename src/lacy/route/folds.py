"""Split cases into folds, by source where that is possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import CaseKind, Floats

Places = NDArray[np.int64]

MAX_LEFT_OUT = 12
"""Up to this number of sources, each one is a fold."""


def folds_of(
    kind: CaseKind, targets_NR: Floats, sources: Sequence[str], keys: Sequence[str], folds: int,
    seed: int,
) -> tuple[list[tuple[Places, Places]], str]:  # fmt: skip
    """Return places to train on and held-out places of each fold, and how they were split.

    A fold holds out whole sources if there are at least three, and (for classes) each route has
    cases of at least two. Otherwise, it holds out texts; equal texts stay together, and routes are
    spread evenly.

    Args:
        kind: classes or outcomes.
        targets_NR: targets.
        sources: source of each case.
        keys: equal for equal texts.
        folds: number of folds.
        seed: seed of the split.
    """
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

    names = sorted(set(sources))
    route_N = np.nan_to_num(targets_NR, nan=-1.0).argmax(1)
    rows = np.zeros((len(sources), 1))
    by_source = len(names) >= 3
    if kind == "classes":
        seen: dict[int, set[str]] = {}
        for route, source in zip(route_N.tolist(), sources, strict=True):
            seen.setdefault(route, set()).add(source)
        by_source = by_source and min(map(len, seen.values())) >= 2
    if by_source and len(names) <= MAX_LEFT_OUT:
        return list(LeaveOneGroupOut().split(rows, groups=np.array(sources))), "one source"
    groups = np.array(sources if by_source else keys)
    folds = min(folds, len(set(groups.tolist())))
    if kind == "classes":
        folds = max(2, min(folds, int(np.bincount(route_N)[np.unique(route_N)].min())))
        even = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = list(even.split(rows, route_N, groups))
    else:
        parts = list(GroupKFold(folds, shuffle=True, random_state=seed).split(rows, groups=groups))
    return parts, "sources" if by_source else "texts"
