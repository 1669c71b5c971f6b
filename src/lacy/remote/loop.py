"""Run an event loop in its own thread, for connections and sources that outlive one caller.

An HTTP connection belongs to the event loop that opened it. Callers may use a new loop for every
text, several loops, or none at all while they compute, so this loop runs beside them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
"""Seconds that ``close`` waits for the thread; work that blocks longer is abandoned."""


async def _no_cleanup() -> None:
    """Do nothing."""


class LoopThread:
    """A daemon thread that runs coroutines in one event loop; the first coroutine starts it.

    A forked process starts its own thread. The thread ends when this object is closed or garbage
    collected.

    Args:
        cleanup: awaited in the thread before it ends. It must not hold a reference to the owner of
            this object, because the owner could then never be garbage collected.
        name: the thread's name.
    """

    def __init__(
        self, cleanup: Callable[[], Awaitable[None]] = _no_cleanup, name: str = "lacy-loop"
    ) -> None:
        self.closed = False
        self._cleanup, self._name = cleanup, name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0
        self._finalizer: weakref.finalize[Any, LoopThread] | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the thread and return a future for its result.

        Can be called from any thread. Cancelling the future cancels the coroutine.

        Raises:
            RuntimeError: the thread is closed.
        """
        with self._lock:  # close() cancels all work that was submitted before it
            if self.closed:
                work.close()
                raise RuntimeError("it is closed")
            return asyncio.run_coroutine_threadsafe(work, self._running_loop())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that runs in the thread; cancelling the caller cancels it as well.

        Raises:
            RuntimeError: the thread is closed.
        """
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Cancel all work, run the cleanup and end the thread; closing twice has no effect."""
        with self._lock:
            self.closed = True
            thread, finalizer = self._thread, self._finalizer
        if finalizer is not None:
            finalizer()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._process != os.getpid():  # fork() does not copy threads
            loop = self._loop = asyncio.new_event_loop()
            self._process = os.getpid()
            self._thread = threading.Thread(
                target=_run, args=(loop, self._cleanup), name=self._name, daemon=True
            )
            self._finalizer = weakref.finalize(self, _stop, loop)
            self._thread.start()
        return self._loop


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop, cleanup: Callable[[], Awaitable[None]]) -> None:
    """Run the loop until it is stopped; then clean up and close it."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_finish(cleanup))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _finish(cleanup: Callable[[], Awaitable[None]]) -> None:
    """Cancel the remaining tasks and clean up."""
    remaining = asyncio.all_tasks() - {asyncio.current_task()}
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)
    await cleanup()
    for _ in range(2):  # a closed connection releases its socket in the loop's next iteration
        await asyncio.sleep(0)
