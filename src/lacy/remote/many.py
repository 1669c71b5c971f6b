"""Send many questions to one model, a bounded number at a time, and take answers as they come."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lacy.remote.client import OpenAIClient
from lacy.remote.errors import RemoteError
from lacy.remote.loop import LoopThread
from lacy.remote.sse import Chunk

GIVE_UP_AFTER = 12
"""After this many failures in a row, without an answer between them, nothing more is sent."""


def ask_many(
    client: OpenAIClient,
    conversations: Iterable[str | Sequence[Mapping[str, Any]]],
    *,
    give_up_after: int = GIVE_UP_AFTER,
    **fields: Any,
) -> Iterator[tuple[int, Chunk | RemoteError]]:
    """Yield the place and answer of each conversation as answers arrive, in any order.

    ``client.concurrency`` requests run at a time, so the only time lost is what a request itself
    takes. A failure is yielded like an answer. If the server is gone (``give_up_after`` failures in
    a row), the remaining conversations fail without being sent.

    Args:
        client: the model.
        conversations: messages of each question, or a text to continue (with ``/completions``);
            taken one by one, while others are answered.
        give_up_after: number of failures in a row after which the rest is not sent.
        fields: of all requests, such as ``max_tokens=5``.
    """
    waiting = enumerate(conversations)
    arrived: queue.SimpleQueue[tuple[int, Chunk | RemoteError]] = queue.SimpleQueue()
    failures = 0

    async def work() -> None:
        nonlocal failures
        for place, messages in waiting:
            answer: Chunk | RemoteError
            if failures >= give_up_after:
                answer = RemoteError(f"not asked, because {give_up_after} requests in a row failed")
            else:
                try:
                    ask = client.complete if isinstance(messages, str) else client.chat
                    answer = await ask(messages, **fields)  # type: ignore[arg-type]
                    failures = 0
                except RemoteError as error:
                    answer = error
                    failures += 1
            arrived.put((place, answer))

    async def work_all() -> None:
        try:
            await asyncio.gather(*(work() for _ in range(client.concurrency)))
        finally:
            await client.close()
            arrived.put((-1, RemoteError("stopped")))

    with LoopThread(name="lacy-ask-many") as loop:
        running = loop.submit(work_all())
        while (item := arrived.get())[0] >= 0:
            yield item
        running.result()
