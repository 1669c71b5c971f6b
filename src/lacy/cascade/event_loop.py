"""Run coroutines in a new event loop, even if one is already running (as in a notebook)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def outside_loops(work: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    """Call ``work`` with a new event loop, in another thread if this one already runs a loop."""

    def run() -> None:
        with asyncio.Runner() as runner:
            work(runner.get_loop())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run()
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def submit_to(
    loop: asyncio.AbstractEventLoop,
) -> Callable[[Coroutine[Any, Any, T]], Future[T]]:
    """Return a function like ``LoopThread.submit`` that waits for the result in this thread."""

    def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(loop.run_until_complete(work))
        except Exception as error:
            future.set_exception(error)
        return future

    return submit
