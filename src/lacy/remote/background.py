"""A thread with an event loop of its own, for sources that keep connections open.

Whoever asks may have a new event loop for every text (``Engine.generate``), several, or one that
stands still while a model computes. Connections belong to a loop; here they get one that goes on.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLOSING_SECONDS = 5.0
"""How long ``close`` waits for the thread; what hangs longer is left behind."""


class Background:
    """Runs coroutines in a thread that begins with the first of them.

    Args:
        cleanup: awaited in the thread before it ends; must not refer to the owner.
    """

    def __init__(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        self.closed = False
        self._cleanup = cleanup
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0
        self._end: weakref.finalize[Any, Background] | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which runs in the thread; cancelled with whoever waits for it.

        Raises:
            RuntimeError: it is closed.
        """
        with self._lock:  # what is handed over before it is closed is ended by closing it
            if self.closed:
                work.close()
                raise RuntimeError("it is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._running())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End what still runs, and the thread; a second time does nothing."""
        with self._lock:
            self.closed = True
            thread, end = self._thread, self._end
        if end is not None:
            end()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSING_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._process != os.getpid():  # a fork has no threads
            loop = self._loop = asyncio.new_event_loop()
            self._process = os.getpid()
            self._thread = threading.Thread(
                target=_work, args=(loop, self._cleanup), name="lacy-source", daemon=True
            )
            self._end = weakref.finalize(self, _stop, loop)
            self._thread.start()
        return self._loop


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)


def _work(loop: asyncio.AbstractEventLoop, cleanup: Callable[[], Awaitable[None]]) -> None:
    """The thread: until it is stopped."""
    try:
        loop.run_forever()
        loop.run_until_complete(_finish(cleanup))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _finish(cleanup: Callable[[], Awaitable[None]]) -> None:
    """Cancel what still waits, and clean up."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await cleanup()
    for _ in range(2):  # a closed connection lets go of its socket in the loop's next round
        await asyncio.sleep(0)
