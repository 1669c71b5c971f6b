"""Sources asked without waiting: a thread with an event loop in which all asking happens.

A source may keep what belongs to one event loop (an HTTP client), and may block its thread (a model
in this process): here it keeps the first and holds up nobody but other calls with the second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from lacy.sources import Source, guarded
from lacy.types import Reply, Request

T = TypeVar("T")


class Asker:
    """Asks sources in a thread of its own; to be closed, or used in a ``with``.

    Args:
        told: called (in that thread) after every answer.
    """

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self._told = told
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lacy-sources", daemon=True)
        self._thread.start()

    def __call__(
        self, source: Source, requests: Sequence[Request], timeout: float | None
    ) -> Future[list[Reply]]:
        """The replies to come; failures of the source are in them, as of ``guarded``."""
        replies = self.run(guarded(source, requests, timeout=timeout))
        replies.add_done_callback(lambda _: self._told())
        return replies

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """What comes of any other work in this thread; to be cancelled from anywhere."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Stop asking; calls under way are cancelled."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


async def _cancel_others() -> None:
    """Cancel what else runs in this loop, and see it out."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
