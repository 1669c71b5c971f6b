"""Threads that take turns: one computes, the others wait for a server or a source.

``HostedEngine`` waits for its requests where they stand in its code, so texts that go on
independently have a thread each. Tokenizers are not made for several: one thread at a time holds
the turn, and gives it away while it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from lacy.cascade.stream import Stream
from lacy.remote import LoopThread

T = TypeVar("T")


@dataclass(eq=False)
class Place:
    """A text that has a thread; ``pending`` is what it waits for."""

    stream: Stream
    pending: Future[Any] | None = field(default=None, init=False)
    stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Let it wait no longer. ``stream.cancelled`` is set already, so that it does not again."""
        self.stopped = True
        if (pending := self.pending) is not None:
            pending.cancel()


class Here(threading.local):
    """The place whose thread this is."""

    place: Place | None = None


class Turns:
    """An event loop for code that waits by ``run_until_complete``: work runs in another thread.

    Args:
        loop_thread: that thread.
        turn: held by whoever computes.
        here: says which text waits; without one (nobody else computes) the turn is not held.
    """

    def __init__(self, loop_thread: LoopThread, turn: threading.Lock, here: Here) -> None:
        self._loop_thread, self._turn, self._here = loop_thread, turn, here

    def run_until_complete(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``.

        Raises:
            concurrent.futures.CancelledError: the text was cancelled.
        """
        future = self._loop_thread.submit(work)
        return self._wait(future, future.result)

    def each(
        self, make: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]
    ) -> Generator[T, None, None]:
        """What work tells, as it tells it; whoever has enough closes this.

        The work of a cancelled text is ended; another's comes to its end by itself (the rest of an
        answer is read, so that the connection serves the next).

        Raises:
            concurrent.futures.CancelledError: the text was cancelled.
        """
        told: SimpleQueue[T | Future[None]] = SimpleQueue()
        future = self._loop_thread.submit(make(told.put))
        future.add_done_callback(told.put)
        try:
            while (item := self._wait(future, told.get)) is not future:
                yield item  # type: ignore[misc]  # not the future, so a T
        finally:
            if self._here.place is None or self._here.place.stream.cancelled:
                future.cancel()
        future.result()

    def _wait(self, future: Future[Any], wait: Callable[[], T]) -> T:
        place = self._here.place
        if place is None:
            return wait()
        place.pending = future
        if place.stream.cancelled:  # perhaps just now, by somebody who found nothing to cancel
            future.cancel()
        self._turn.release()
        try:
            return wait()
        finally:
            self._turn.acquire()
            place.pending = None
