"""The tokens of a model at a server one by one, as its stream brings them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lacy.cascade.hosted_server import IDS, MAX_BYTES, Server, silent
from lacy.cascade.hosted_steps import Ask, Step
from lacy.remote import Failure, events, finish_of, read_key

if TYPE_CHECKING:
    import httpx


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

    async def read(response: httpx.Response) -> None:
        import httpx

        nonlocal finish
        choice: dict[str, Any] = {}
        key = read_key(server.key_variable)
        try:
            async with aclosing(events(response, MAX_BYTES, key)) as arriving:
                async for event in arriving:
                    for choice in event["choices"][:1]:
                        finish = finish_of(choice.get("finish_reason")) or finish
                        for step in server.steps_of(choice, ""):
                            tell(step)
        except (Failure, httpx.HTTPError):
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
        await server.asked(body, read)
        if not said:
            raise silent(finish)
    except Failure as failure:
        if not said:
            raise server.lost(failure) from None
