"""Devices as functions of their numbers: properties, presence, and the order of sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lacy.edge.assumptions import LIMITS, EdgeAssumptions, device_classes
from lacy.edge.draws import Floats, Ints, Spread, exponentials, uniforms
from lacy.edge.windows import DAY, is_open

HOUR = 3600.0
CHUNK = 1_000_000
"""Devices whose properties are computed at once."""

SHUFFLED = 10_000
"""Fleets up to this size are sampled in the order of a shuffle."""

REMEMBERED = 200_000
"""Fleets up to this size compute their properties once."""

# What a random number is for; the second part of its key.
_KIND, _PROPERTY, _STAY, _VACANT, _ORDER, _INTERRUPT = range(6)


@dataclass(frozen=True)
class Profile:
    """Properties of some devices, one value per device, in seconds, bytes, watts and FLOP/s."""

    flops: Floats
    memory: Floats
    """Bytes that training may use."""
    down: Floats
    """Received bytes per second."""
    up: Floats
    start: Floats
    """Second of the server's day at which the daily window begins."""
    length: Floats
    """Seconds of the daily window."""
    compute_watts: Floats
    send_watts: Floats
    interrupted: Floats
    """Mean seconds of work until an interruption; infinite for never."""

    def at(self, chosen: np.ndarray) -> Profile:
        """Return the properties of some of the devices."""
        return Profile(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))


class Fleet:
    """All devices of some assumptions.

    Args:
        assumed: checked assumptions.
        seed: everything random depends on it.
        remember: compute the properties of all devices once, which takes 72 bytes for each. Small
            fleets always do.
    """

    def __init__(self, assumed: EdgeAssumptions, seed: int = 0, *, remember: bool = False) -> None:
        self.classes = device_classes(assumed)
        self.size = assumed.population
        self.seed = seed
        self._each = list(self.classes.values())
        shares = np.array([one.share for one in self._each])
        self._limits = np.cumsum(shares) / shares.sum()
        self._counted = self.size <= SHUFFLED and shares.sum() == self.size
        self._stay = DAY * np.array([one.stays_days or math.inf for one in self._each])
        self._vacant = DAY * np.array([one.replaced_days for one in self._each])
        self._all: Profile | None = None
        if remember or self.size <= REMEMBERED:
            parts = [self._profile(numbers_N) for numbers_N in self.chunks()]
            names = [f.name for f in dataclasses.fields(Profile)]
            columns = ([getattr(part, name) for part in parts] for name in names)
            self._all = Profile(*map(np.concatenate, columns))

    def profile(self, numbers_N: Ints) -> Profile:
        """Return all properties of devices."""
        return self._profile(numbers_N) if self._all is None else self._all.at(numbers_N)

    def available(self, numbers_N: Ints, time: float, memory: float) -> Ints:
        """Return the devices with enough memory whose window is open and who are present."""
        if self._all is not None:
            numbers_N = numbers_N[self._all.memory[numbers_N] >= memory]
            window = (self._all.start[numbers_N], self._all.length[numbers_N])
            numbers_N = numbers_N[is_open(time, *window)]
        else:
            kinds_N = self.kinds(numbers_N)
            fits_N = self._memory(numbers_N, kinds_N) >= memory
            numbers_N, kinds_N = numbers_N[fits_N], kinds_N[fits_N]
            numbers_N = numbers_N[is_open(time, *self._window(numbers_N, kinds_N))]
        return numbers_N[self.leaves(numbers_N, time)[0]]

    def fits(self, numbers_N: Ints, memory: float) -> np.ndarray:
        """True for devices with enough memory, available or not."""
        return self._memory(numbers_N, self.kinds(numbers_N)) >= memory

    def kinds(self, numbers_N: Ints) -> Ints:
        """Return the class of each device, as its place in ``classes``.

        If the shares add up to the number of devices (at most 10,000), they are the numbers of
        devices of each class; otherwise the class of a device is random.
        """
        if len(self._each) == 1:
            return np.zeros(len(numbers_N), dtype=np.int64)
        if self._counted:
            return np.searchsorted(self._limits * self.size, numbers_N + 0.5)
        uniform_N = uniforms((self.seed, _KIND), numbers_N)
        last = len(self._each) - 1
        return np.minimum(np.searchsorted(self._limits, uniform_N, side="right"), last)

    def _values(self, name: str, numbers_N: Ints, kinds_N: Ints) -> Floats:
        """Return one setting of ``DeviceClass`` for each device, within its limits."""
        given = [getattr(one, name) for one in self._each]
        spreads = {place: s for place, s in enumerate(given) if isinstance(s, Spread)}
        values_N = np.array([0.0 if isinstance(s, Spread) else float(s) for s in given])[kinds_N]
        if spreads:
            uniform_N = uniforms((self.seed, _PROPERTY, *name.encode()), numbers_N)
        for place, spread in spreads.items():
            mine_N = slice(None) if len(given) == 1 else kinds_N == place
            values_N[mine_N] = spread.at(uniform_N[mine_N])
        low, high = LIMITS[name]
        return np.clip(values_N, low, high, out=values_N)

    def _memory(self, numbers_N: Ints, kinds_N: Ints) -> Floats:
        share_N = self._values("memory_share", numbers_N, kinds_N)
        return 1e9 * share_N * self._values("memory_gb", numbers_N, kinds_N)

    def _window(self, numbers_N: Ints, kinds_N: Ints) -> tuple[Floats, Floats]:
        begin_N = self._values("starts", numbers_N, kinds_N)
        begin_N += self._values("zone", numbers_N, kinds_N)
        return np.mod(begin_N * HOUR, DAY), HOUR * self._values("hours", numbers_N, kinds_N)

    def _profile(self, numbers_N: Ints) -> Profile:
        kinds_N = self.kinds(numbers_N)

        def of(name: str) -> Floats:
            return self._values(name, numbers_N, kinds_N)

        start_N, length_N = self._window(numbers_N, kinds_N)
        interrupted_N = HOUR * of("interrupted_hours")
        interrupted_N[interrupted_N == 0.0] = math.inf
        return Profile(
            of("flops"), self._memory(numbers_N, kinds_N), of("down_mbps") * 125_000.0,
            of("up_mbps") * 125_000.0, start_N, length_N, of("compute_watts"), of("send_watts"),
            interrupted_N,
        )  # fmt: skip

    def leaves(self, numbers_N: Ints, time: float) -> tuple[np.ndarray, Floats]:
        """Return which devices are present at a time, and when those will leave for good.

        A place is taken by one device after another: it stays for an exponential time, then the
        place is vacant for an exponential time. All places are taken at time 0.
        """
        ends_N, present_N = np.full(len(numbers_N), math.inf), np.ones(len(numbers_N), dtype=bool)
        if not np.isfinite(self._stay).any():
            return present_N, ends_N
        kinds_N = self.kinds(numbers_N)
        stay_N, vacant_N = self._stay[kinds_N], self._vacant[kinds_N]
        open_N = np.flatnonzero(np.isfinite(stay_N))
        begin_N, episode = np.zeros(len(open_N)), 0
        while len(open_N):
            ids = numbers_N[open_N]
            end = begin_N + stay_N[open_N] * exponentials((self.seed, _STAY, episode), ids)
            ends_N[open_N] = end
            present_N[open_N] = end > time
            open_N, end = open_N[end <= time], end[end <= time]
            gap = exponentials((self.seed, _VACANT, episode), numbers_N[open_N])
            # 0 x infinity does not occur without replacement: exponentials are above 0.
            begin_N = end + vacant_N[open_N] * gap
            more = begin_N <= time
            open_N, begin_N, episode = open_N[more], begin_N[more], episode + 1
        return present_N, ends_N

    def interruptions(self, numbers_N: Ints, turn: int) -> Floats:
        """Return, in units of the mean, the work until each device is interrupted in a round."""
        return exponentials((self.seed, _INTERRUPT, turn), numbers_N)

    def order(self, turn: int, begin: int, count: int) -> Ints:
        """Return a part of the random order in which a round looks at devices.

        The order is an arithmetic progression modulo the number of devices, with a random step that
        has no divisor in common with it. Properties do not depend on neighbouring numbers, so this
        samples as well as a shuffle, without memory for one. Small fleets are shuffled.
        """
        if self.size <= SHUFFLED:
            every = np.arange(self.size, dtype=np.int64)
            return np.argsort(uniforms((self.seed, _ORDER, turn), every))[begin : begin + count]
        first, second = uniforms((self.seed, _ORDER, turn), np.arange(2, dtype=np.int64))
        step = 1 + int(first * self.size)
        while math.gcd(step, self.size) != 1:
            step += 1
        place_N = np.arange(begin, min(begin + count, self.size), dtype=np.int64)
        return (place_N * (step % self.size) + int(second * self.size)) % self.size

    def chunks(self, most: int | None = None) -> Iterator[Ints]:
        """Yield the numbers of all devices, or of the first ``most``, in chunks."""
        end = self.size if most is None else min(most, self.size)
        for begin in range(0, end, CHUNK):
            yield np.arange(begin, min(begin + CHUNK, end), dtype=np.int64)
