"""Time in which devices may work: one window per day.

Every device works from ``start`` for ``length`` seconds of each day; a window may pass midnight.
Work that does not end within a window goes on in the next one. All times are seconds of the
server's clock.
"""

from __future__ import annotations

import numpy as np

from lacy.edge.draws import Floats

DAY = 86_400.0


def is_open(time_N: Floats | float, start_N: Floats, length_N: Floats) -> np.ndarray:
    """True where a device may work at a time."""
    return np.mod(np.asarray(time_N) - start_N, DAY) < length_N


def active_until(time_N: Floats | float, start_N: Floats, length_N: Floats) -> Floats:
    """Return the seconds within windows before a time, up to a constant of each device."""
    passed = np.asarray(time_N, dtype=np.float64) - start_N
    days = np.floor(passed / DAY)
    return days * length_N + np.minimum(passed - days * DAY, length_N)


def time_after(
    begin_N: Floats | float, work_N: Floats, start_N: Floats, length_N: Floats
) -> Floats:
    """Return the earliest time at which devices have worked ``work_N`` seconds since ``begin_N``.

    No work takes no time, even outside a window.
    """
    target = active_until(begin_N, start_N, length_N) + work_N
    # Work that fills a window ends with this window, not at the beginning of the next one.
    days = np.ceil(target / length_N) - 1.0
    finish = start_N + days * DAY + (target - days * length_N)
    return np.where(work_N > 0.0, np.maximum(finish, begin_N), begin_N)
