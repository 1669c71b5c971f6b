"""Admission and scheduling: which orders are accepted, which runs next, and when there is room.

If several keys share a server, none can use all of it: each key's share leaves room for one more
key, a free stream goes to the key with the fewest running texts, and a few streams are always kept
free of any single key.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lacy.serve.scheduler import Order

SECONDS_PER_TOKEN = 0.05
"""Assumed until a text has been measured."""

WEIGHT = 0.2
"""Weight of the latest text in the moving average."""


class Busy(Exception):
    """The server is full, or the key has used its share.

    Args:
        seconds: time until there is room, if no other client takes it and no text ends earlier.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Places:
    """Orders in order of arrival; not thread-safe: callers must hold a lock.

    Args:
        streams: texts that run at the same time.
        queue: further texts that wait.
    """

    def __init__(self, streams: int, queue: int) -> None:
        self.streams, self.queue = streams, queue
        self.pace = SECONDS_PER_TOKEN
        """Seconds per token of a text, including time spent waiting for sources."""
        self._waiting: dict[Order, None] = {}
        self._begun: dict[Order, None] = {}
        self._leaving: deque[Order] = deque()

    def __iter__(self) -> Iterator[Order]:
        return iter([*self._begun, *self._waiting])

    def __len__(self) -> int:
        return len(self._begun) + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Number of texts that have not started."""
        return sum(order.count for order in self._waiting)

    def add(self, orders: Sequence[Order]) -> None:
        """Accept all of the orders.

        Raises:
            Busy: there is no room for all of them.
        """
        wanted, owner = sum(order.count for order in orders), orders[0].owner
        excess = self._held() + wanted - (self.streams + self.queue)
        own = self._held(owner) if owner else 0
        beyond = own + wanted - self._share(owner) if own else 0
        if excess > 0 or beyond > 0:
            raise Busy(max(self._until(excess), self._until(beyond, owner)))
        self._waiting.update(dict.fromkeys(orders))

    def next(self, room: int) -> Order | None:
        """The order to start now, which counts as running from then on; None if there is none.

        Args:
            room: number of texts for which there is room.
        """
        order: Order | None = None
        while self._leaving:  # cancelled orders go first: they end at once
            order = self._leaving.popleft()
            if order in self._waiting:
                break
        else:
            order = self._next(room) if room > 0 and self._waiting else None
        if order is not None:
            del self._waiting[order]
            self._begun[order] = None
            order.begun = time.monotonic()
        return order

    def cancel(self, order: Order) -> None:
        """Mark an order as cancelled and schedule it next, so that it can end."""
        order.cancelled = True
        self._leaving.append(order)

    def ended(self, order: Order, tokens: int = 0) -> None:
        """Record that a text of an order has ended after this many tokens."""
        if tokens and order.begun:
            pace = (time.monotonic() - order.begun) / tokens
            self.pace += WEIGHT * (pace - self.pace)
        order.left -= 1
        if not order.left:
            self._begun.pop(order, None)

    def _next(self, room: int) -> Order | None:
        """The first order of the key with the fewest running texts."""
        running = Counter[str | None]()
        for order in self._begun:
            running[order.owner] += order.left
        firsts: dict[str | None, Order] = {}
        for order in self._waiting:
            firsts.setdefault(order.owner, order)
        may = [first for first in firsts.values() if self._may_run(first, running[first.owner])]
        first = min(may, key=lambda order: running[order.owner], default=None)
        # If it needs more room than there is, no other order overtakes it.
        return first if first is not None and first.count <= room else None

    def _may_run(self, order: Order, running: int) -> bool:
        """Whether a key may run this order in addition to its running texts."""
        kept = 0 if order.owner is None else min(self.streams - 1, max(1, self.streams // 8))
        return not running or running + order.count <= self.streams - kept

    def _held(self, owner: str | None = None) -> int:
        """Number of running and waiting texts, of all keys or of one."""
        return sum(order.left for order in self if owner in (None, order.owner))

    def _share(self, owner: str | None) -> int:
        """Most texts of a key: the capacity divided by the number of active keys plus one."""
        others = {order.owner for order in self} - {owner}
        return -(-(self.streams + self.queue) // (len(others) + 2))

    def _until(self, texts: int, owner: str | None = None) -> float:
        """Seconds until this many texts (of one key) end, if all use their token limit."""
        if texts <= 0:
            return 0.0
        ends = [
            (left * self._pace_of(order), number, owner in (None, order.owner))
            for order in self._begun
            for number, left in enumerate(order.tokens_left)
        ]
        heapq.heapify(ends)
        later = deque(
            (order.limit * self.pace, owner in (None, order.owner))
            for order in self._waiting
            for _ in range(order.count)
        )
        return _after(texts, ends, later)

    def _pace_of(self, order: Order) -> float:
        """Seconds per token of a running order."""
        spoken = order.limit - min(order.tokens_left, default=order.limit)
        if spoken <= 0 or order.begun is None:
            return self.pace
        return (time.monotonic() - order.begun) / spoken


def _after(
    texts: int, ends: list[tuple[float, int, bool]], later: deque[tuple[float, bool]]
) -> float:
    """Seconds until this many texts have ended, each making room for the next of ``later``."""
    now = 0.0
    while texts > 0 and (ends or later):
        if ends:
            now, _, counts = heapq.heappop(ends)
            texts -= counts
        if later:
            seconds, counts = later.popleft()
            heapq.heappush(ends, (now + seconds, 0, counts))
    return now
