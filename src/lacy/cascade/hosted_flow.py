"""The tokens of a model at a server one by one, as its stream brings them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from lacy.cascade.hosted_server import IDS, Server, silent
from lacy.cascade.hosted_steps import Ask, Step
from lacy.remote import Chunk, RemoteError


async def flow(
    server: Server, ask: Ask, temperature: float, top_p: float, told: Callable[[Step], object]
) -> None:
    """As ``Server.go_on`` for one text, told step by step, by a server that tells ids.

    A stream that breaks off after some steps ends as one that has said enough: they are as good as
    any other stretch, and whoever asks goes on from there.

    Raises:
        LacyError: E93, the server gave no answer.
    """
    said: list[int] = []
    finish: str | None = None

    def tell(step: Step) -> None:
        if len(said) < ask.most:
            said.append(step.token)
            told(step)

    async def read(arriving: AsyncGenerator[Chunk, None]) -> None:
        nonlocal finish
        choice: dict[str, Any] = {}
        try:
            async for chunk in arriving:
                choice = chunk.choice or choice
                finish = chunk.finish or finish
                for step in server.steps_of(chunk.choice, ""):
                    tell(step)
        except RemoteError:
            if not said:
                raise
            return
        last = said[-1] if said else None
        if finish == "stop" and last not in {server.call_id, *server.ends}:
            stopped = server.call_id
            called = stopped is not None and choice.get("stop_reason") == stopped
            tell(Step(stopped if called and stopped is not None else server.end_id))

    body = {**server.body_of(ask, temperature, top_p), **IDS, "stream": True}
    try:
        await server.client.stream("completions", body, read)
        if not said:
            raise silent(finish)
    except RemoteError as error:
        if not said:
            raise server.lost(error) from None
