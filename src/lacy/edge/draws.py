"""Random numbers that are functions of a seed and a device's number, and what is drawn from them.

A device is not stored: any of its properties can be computed again from its number. So memory does
not grow with the number of devices, the fast and the slow simulation see the same devices, and a
changed assumption is compared on the same devices (common random numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1

P90 = float(ndtri(0.9))
"""Standard deviations between the median and the 90th percentile of a normal distribution."""


@lru_cache(maxsize=4096)
def _start(key: tuple[int, ...]) -> int:
    """Return a state for a key: SplitMix64 (Steele, Lea & Flood 2014), one output per part."""
    state = 0
    for part in key:
        state = (state + (part + 1) * _STEP) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def uniforms(key: tuple[int, ...], numbers_N: Ints) -> Floats:
    """Return one uniform number in (0, 1) per device number: output N of SplitMix64.

    Args:
        key: the seed and what is drawn, such as ``(seed, purpose, round)``.
        numbers_N: numbers of devices.
    """
    state = (numbers_N.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP)
    state += np.uint64(_start(key))
    state ^= state >> np.uint64(30)
    state *= np.uint64(_FIRST)
    state ^= state >> np.uint64(27)
    state *= np.uint64(_SECOND)
    state ^= state >> np.uint64(31)
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def exponentials(key: tuple[int, ...], numbers_N: Ints) -> Floats:
    """Return one exponential number with mean 1 per device number."""
    return -np.log(uniforms(key, numbers_N))


@dataclass(frozen=True)
class Spread:
    """How a property differs between devices: give one of the three forms.

    ``{median: 4, p90: 8}`` is log-normal: half of the devices have less than 4, a tenth more than
    8. ``{low: 2, high: 6}`` is uniform. ``{values: [4, 8], weights: [3, 1]}`` are fixed values. A
    plain number instead means that all devices are equal.
    """

    median: float | None = None
    p90: float | None = None
    """90th percentile; equal to the median if it is missing."""
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    """Shares of the values; equal if they are missing."""

    def problem(self) -> str:
        """Say what is wrong with the form, or return ""."""
        numbers = [v for v in (self.median, self.p90, self.low, self.high) if v is not None]
        if not all(map(math.isfinite, [*numbers, *self.values, *self.weights])):
            return "its numbers must be finite"
        forms = [self.median is not None, self.low is not None, bool(self.values)]
        if sum(forms) != 1:
            return "give one of: median (with p90), low and high, values (with weights)"
        if self.median is not None and not 0 < self.median <= (self.p90 or self.median):
            return "median must be above 0, and p90 not below it"
        if self.low is not None and not (self.high is not None and self.low <= self.high):
            return "low needs a high that is not below it"
        if self.weights and (len(self.weights) != len(self.values) or min(self.weights) < 0):
            return "there must be as many weights as values, none below 0"
        if self.weights and not sum(self.weights) > 0:
            return "one of the weights must be above 0"
        return ""

    @property
    def least(self) -> float:
        """The smallest possible value; 0 for a log-normal one."""
        if self.median is not None:
            return 0.0 if self.p90 else self.median
        return float(self.low) if self.low is not None else min(self.values)

    @property
    def most(self) -> float:
        """The largest possible value; infinite for a log-normal one."""
        if self.median is not None:
            return math.inf if self.p90 else self.median
        return float(self.high) if self.high is not None else max(self.values)

    def at(self, uniform_N: Floats) -> Floats:
        """Return the values at quantiles between 0 and 1."""
        if self.median is not None:
            sigma = math.log((self.p90 or self.median) / self.median) / P90
            return self.median * np.exp(sigma * ndtri(uniform_N))
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) * uniform_N
        weights = np.array(self.weights or [1.0] * len(self.values))
        limits = np.cumsum(weights) / weights.sum()
        chosen = np.searchsorted(limits, uniform_N, side="right")
        return np.array(self.values, dtype=np.float64)[np.minimum(chosen, len(self.values) - 1)]

    def scaled(self, factor: float) -> Spread:
        """Return the same spread of values that are ``factor`` times as large."""

        def times(value: float | None) -> float | None:
            return None if value is None else value * factor

        return Spread(
            times(self.median), times(self.p90), times(self.low), times(self.high),
            tuple(v * factor for v in self.values), self.weights,
        )  # fmt: skip


def scale(spread: float | Spread, factor: float) -> float | Spread:
    """Return a property that is ``factor`` times as large."""
    return spread.scaled(factor) if isinstance(spread, Spread) else spread * factor
