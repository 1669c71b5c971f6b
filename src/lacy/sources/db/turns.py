"""One connection, asked from threads in turn; who stops waiting ends no query but their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from lacy.types import Reply, Request


class Turns:
    """Answers requests in threads, one at a time.

    A query that runs cannot be left, only interrupted, and an interrupt ends whatever the
    connection does. So it is sent only while the query belongs to whoever was cancelled.

    Args:
        interrupt: ends the query that runs; called from any thread.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._now: threading.Event | None = None

    async def ask(
        self, answer: Callable[[Request], Reply], requests: Sequence[Request]
    ) -> list[Reply]:
        """``answer`` of each request; a caller's timeout or cancellation ends it."""
        stopped = threading.Event()

        def work() -> list[Reply]:
            return [reply for r in requests if (reply := self._one(answer, r, stopped))]

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            stopped.set()
            # A server may take a while to hear of it.
            threading.Thread(target=self._end, args=(stopped,), daemon=True).start()
            raise

    def _one(
        self, answer: Callable[[Request], Reply], request: Request, stopped: threading.Event
    ) -> Reply | None:
        """One reply, or None where nobody waits for it."""
        with self._turn:
            with self._guard:
                if stopped.is_set():
                    return None
                self._now = stopped
            try:
                return answer(request)
            finally:
                with self._guard:
                    self._now = None

    def _end(self, stopped: threading.Event) -> None:
        with self._guard:
            if self._now is stopped:
                self._interrupt()
