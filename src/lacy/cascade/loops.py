"""Runs coroutines in a new event loop, even inside a running one (a notebook)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def outside_loops(work: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    """Run ``work`` in a new event loop, even inside a running one (a notebook)."""

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
