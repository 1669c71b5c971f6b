"""Read the text of a request, and say in the answer which route it took."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

FIELD = "lacy_route"
"""Field of an answer that says which route it took and why."""

MAX_EVENT = 1 << 20
"""Bytes that may come before the first event of a stream ends."""


def text_of(body: Mapping[str, Any]) -> str:
    """Return what the user wrote: the last message of the user, or the prompt.

    A prompt of token ids has no text: the result is empty.
    """
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list):
        users = [one for one in messages if isinstance(one, Mapping)
                 and one.get("role", "user") == "user"]  # fmt: skip
        return _content(users[-1].get("content", users[-1])) if users else ""
    if isinstance(messages, str):
        return messages
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        prompt = prompt[0] if prompt else ""
    return prompt if isinstance(prompt, str) else ""


def _content(content: Any) -> str:
    """Return the text of a message: a string, or parts of which some are texts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    parts = [one.get("text") for one in content or () if isinstance(one, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str))


def marked(content: bytes, about: Mapping[str, Any]) -> bytes:
    """Return a whole answer with the route; what is no JSON object stays as it is."""
    try:
        data = json.loads(content)
    except ValueError:
        return content
    if not isinstance(data, dict):
        return content
    return json.dumps(_with_route(data, about), ensure_ascii=False).encode()


async def marked_stream(
    chunks: AsyncIterator[bytes], about: Mapping[str, Any]
) -> AsyncGenerator[bytes, None]:
    """Yield a stream with the route in its first event that has data."""
    pending, done = b"", False
    async for part in chunks:
        if done:
            yield part
            continue
        pending += part
        while not done and (end := event_end(pending)):
            event, pending = pending[:end], pending[end:]
            found = _marked_event(event, about)
            done = found is not None
            yield event if found is None else found
        if done or len(pending) > MAX_EVENT:
            done = True
            if pending:
                yield pending
            pending = b""
    if pending:
        yield pending


def event_end(pending: bytes) -> int:
    """Return where the first server-sent event ends; 0 if it has not."""
    ends = [place + len(mark) for mark in (b"\n\n", b"\r\n\r\n")
            if (place := pending.find(mark)) >= 0]  # fmt: skip
    return min(ends, default=0)


def event_json(event: bytes) -> Any:
    """Return the JSON of a server-sent event; None if it has none, such as a comment."""
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(line[5:])
    return None


def _marked_event(event: bytes, about: Mapping[str, Any]) -> bytes | None:
    """Return an event with the route; None if it has no JSON object."""
    data = event_json(event)
    if not isinstance(data, dict):
        return None
    text = json.dumps(_with_route(data, about), ensure_ascii=False)
    lines = event.split(b"\n")
    place = next(n for n, line in enumerate(lines) if line.startswith(b"data:"))
    lines[place] = b"data: " + text.encode()
    return b"\n".join(lines)


def _with_route(data: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with the route; ``model`` becomes the route's name."""
    inner = data.get("response")
    if isinstance(inner, dict):  # an event of /v1/responses
        return {**data, "response": {**inner, "model": about["route"], FIELD: about}}
    model = {"model": about["route"]} if "model" in data else {}
    return {**data, **model, FIELD: about}
