"""How much each case of a class counts, so that a large source does not drown a small one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lacy.route.cases import CaseKind, Floats

MOST = 10.0
"""How often a case of a small source counts at most, so that a single one decides nothing."""


def source_weights(kind: CaseKind, targets_NR: Floats, sources: Sequence[str]) -> Floats | None:
    """Return the weight of each case, or None if all count alike.

    Within a route, each source counts equally: twenty texts of new traffic weigh as much as three
    hundred of an old collection, up to ``MOST``. The total of a route stays its number of cases, so
    that its share of the cases still says how frequent it is. Outcomes count alike.

    Args:
        kind: classes or outcomes.
        targets_NR: targets.
        sources: the source of each case.
    """
    if kind != "classes" or len(set(sources)) < 2:
        return None
    route_N = targets_NR.argmax(1)
    source_N = np.unique(np.array(sources), return_inverse=True)[1]
    found_N = np.ones(len(route_N))
    for route in np.unique(route_N):
        mine_N = route_N == route
        place_M, counts = np.unique(source_N[mine_N], return_inverse=True, return_counts=True)[1:]
        raw_M = np.minimum(counts.mean() / counts, MOST)[place_M]
        found_N[mine_N] = raw_M * len(raw_M) / raw_M.sum()
    return found_N
