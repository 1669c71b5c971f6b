"""Server-sent events of an OpenAI-compatible server, read until whoever reads has enough.

A stream may break off, drip, hold nonsense or never end: each is a ``Failure`` with a sentence, or
left to the caller's deadline. What a text says is data; nothing in it is taken for an event.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lacy.sources.web import Failure, readable, told_error

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event adds to an answer."""

    text: str = ""
    finish: str | None = None
    """Why the answer ends, where it does: ``"stop"`` by itself, ``"length"`` by the limit."""
    usage: dict[str, Any] | None = None
    """Tokens that it took, where a server says so (with the last event)."""


async def pieces(
    response: httpx.Response, max_bytes: int, key: str = ""
) -> AsyncGenerator[Piece, None]:
    """The pieces of a streamed answer.

    Args:
        response: whose body has not been read.
        max_bytes: most bytes of all events together.
        key: never repeated in a message.

    Raises:
        Failure: no events, not UTF-8, no JSON, an error of the server, too long, or the end of the
            stream before that of the answer (``again``: it may help to ask once more).
    """
    async with aclosing(events(response, max_bytes, key)) as arriving:
        async for event in arriving:
            yield _piece(event)


async def events(
    response: httpx.Response, max_bytes: int, key: str = ""
) -> AsyncGenerator[dict[str, Any], None]:
    """The events themselves, each with a list of choices; arguments and errors of ``pieces``."""
    finished = False
    async with aclosing(_data(response, max_bytes)) as arriving:
        async for data in arriving:
            if data == b"[DONE]":
                return
            event = _event(data, key)
            yield event
            finished = finished or isinstance(_first(event).get("finish_reason"), str)
    if not finished:
        raise Failure("the stream ended before the answer did", again=True)


async def _data(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The data of each event; comments and other fields are left out."""
    rest, held = b"", list[bytes]()
    async with aclosing(readable(response, max_bytes)) as arriving:
        async for raw in arriving:
            *lines, rest = (rest + raw).split(b"\n")
            for line in lines:
                line = line.removesuffix(b"\r")
                if line.startswith(b"data:"):
                    held.append(line[5:].removeprefix(b" "))
                elif not line and held:
                    yield b"\n".join(held)
                    held = []
                elif line[:1] in (b"{", b"<"):
                    raise Failure("the answer is no stream of events")
    if held:  # the last one of servers that leave out the blank line behind it
        yield b"\n".join(held)


def _event(data: bytes, key: str) -> dict[str, Any]:
    """One event, checked."""
    try:
        event = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise Failure("an event of the answer is not UTF-8") from None
    except (ValueError, RecursionError):
        raise Failure("an event of the answer is not JSON") from None
    if not isinstance(event, dict):
        raise Failure("an event of the answer is not a JSON object")
    if event.get("error"):
        raise Failure(told_error(event, key) or "the server broke off with an error")
    choices = event.get("choices")
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices[:1]):
        raise Failure("the answer has no choices; the base address usually ends in /v1")
    return event


def _first(event: dict[str, Any]) -> dict[str, Any]:
    """The first choice of an event; empty where it has none (it tells of usage then)."""
    return event["choices"][0] if event["choices"] else {}


def _piece(event: dict[str, Any]) -> Piece:
    """What one event says."""
    first, usage = _first(event), event.get("usage")
    delta = first.get("delta")
    said = delta.get("content") if isinstance(delta, dict) else first.get("text")
    if said is not None and not isinstance(said, str):
        raise Failure("the answer has no text")
    finish = first.get("finish_reason")
    return Piece(
        said or "",
        finish if isinstance(finish, str) else None,
        usage if isinstance(usage, dict) else None,
    )
