"""Run the queries of one connection in threads, one at a time, so that callers can cancel them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from lacy.types import Reply, Request


class QueryWorker:
    """Answers requests in threads, one query at a time.

    An interrupt ends whatever the connection is doing, so it is sent only while the running query
    belongs to the caller that was cancelled.

    Args:
        interrupt: cancels the running query; must work from any thread.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._query_lock, self._state_lock = threading.Lock(), threading.Lock()
        self._running: threading.Event | None = None
        """Cancellation event of the caller that owns the running query."""

    async def ask(
        self, answer: Callable[[Request], Reply], requests: Sequence[Request]
    ) -> list[Reply]:
        """Return ``answer(request)`` of each request; cancelling the call interrupts its query."""
        cancelled = threading.Event()

        def work() -> list[Reply]:
            return [reply for r in requests if (reply := self._run(answer, r, cancelled))]

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            cancelled.set()
            # In a thread, because sending the interrupt to a server may take a while.
            threading.Thread(target=self._cancel, args=(cancelled,), daemon=True).start()
            raise

    def _run(
        self, answer: Callable[[Request], Reply], request: Request, cancelled: threading.Event
    ) -> Reply | None:
        """Return one reply, or None if the caller was cancelled."""
        with self._query_lock:
            with self._state_lock:
                if cancelled.is_set():
                    return None
                self._running = cancelled
            try:
                return answer(request)
            finally:
                with self._state_lock:
                    self._running = None

    def _cancel(self, cancelled: threading.Event) -> None:
        with self._state_lock:
            if self._running is cancelled:
                self._interrupt()
