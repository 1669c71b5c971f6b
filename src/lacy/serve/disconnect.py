"""Stop working on a request whose client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from lacy.serve.errors import ApiError

POLL_SECONDS = 0.5
"""How often the connection is checked."""

T = TypeVar("T")


async def while_connected(http: Request, work: Awaitable[T]) -> T:
    """Await ``work`` and return its result; cancel it if the client disconnects meanwhile.

    Raises:
        ApiError: 499, the client has disconnected; this goes only to the log.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL_SECONDS)
            if not task.done() and await http.is_disconnected():
                raise ApiError(499, "the client has left", "client_left")
        return await task
    except BaseException:
        task.cancel()
        raise
