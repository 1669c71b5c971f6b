"""Encoded windows, kept in a bounded amount of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SizedCache(Generic[T]):
    """The most recently used values whose sizes add up to a limit. Threads may share it.

    Args:
        limit: the limit, in whatever unit ``size`` uses. A larger value is not kept.
        size: returns the size of a value.
    """

    def __init__(self, limit: float, size: Callable[[T], float]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._used = 0.0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def used(self) -> float:
        """The sizes of all values together."""
        return self._used

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; make it if it is not kept.

        Two threads that miss the same key both make it; no lock is held meanwhile.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        size = self._size(value)
        with self._lock:
            if key not in self._values and size <= self._limit:
                self._values[key] = value
                self._used += size
                while self._used > self._limit:
                    _, dropped = self._values.popitem(last=False)
                    self._used -= self._size(dropped)
        return value

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()
            self._used = 0.0
