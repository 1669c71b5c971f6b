"""What sources that are asked over a background thread have in common: a model elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from lacy.remote import LoopThread
from lacy.sources.protocol import TokenPrice
from lacy.types import Reply, Request


class Remote:
    """A source whose work runs in a ``LoopThread``; what closes it ends in replies, not in errors.

    Those that inherit set ``name``, ``price`` and ``_loop_thread`` and answer in ``_all``.
    """

    name: str
    price: TokenPrice
    _loop_thread: LoopThread

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Continue each text by one unit, several at the same time; never raises for a failure."""
        if not requests:
            return []
        try:
            return await self._loop_thread.run(self._all(list(requests)))
        except RuntimeError as error:
            why = str(error)
        except asyncio.CancelledError:
            if not self._loop_thread.closed:  # whoever asked does not wait any more
                raise
            why = "it was closed"
        return [Reply(error=f"{self.name}: {why}", fault=True)] * len(requests)

    async def _all(self, requests: list[Request]) -> list[Reply]:
        """One reply per request, in the background's loop."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections; asking afterwards gives replies with an error."""
        self._loop_thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
