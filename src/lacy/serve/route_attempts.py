"""Ask one route, and say whether the next one should be tried."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lacy.serve.route_answers import MAX_EVENT, event_end, event_json
from lacy.serve.route_targets import EVENT_STREAM, RouteFailed, RouteReply, RouteTarget

LOG = logging.getLogger("lacy.serve")

BUSY = (429, 503)
"""Statuses of a server that may answer later."""

MISCONFIGURED = (401, 403, 404, 405)
"""Statuses that are mistakes in the routes, not in the request: key, model or path are wrong."""

NOT_HERE = frozenset(
    ("context_length_exceeded", "unsupported", "unsupported_parameter", "unsupported_value")
)
"""Codes of requests that another route may be able to answer."""

Outcome = Literal["answered", "refused", "busy", "failed"]


@dataclass
class RouteAttempt:
    """What came of asking a route.

    Attributes:
        outcome: ``answered``, also with the client's own mistake; ``refused``, this route cannot do
            what the request wants; ``busy``, it may answer later; or ``failed``.
        why: what happened, for the client; empty if it answered.
        reply: the beginning of its answer, if there is one that a client can read.
        content: the whole answer; None if it is a stream.
    """

    outcome: Outcome
    why: str = ""
    reply: RouteReply | None = None
    content: bytes | None = None

    @property
    def retry(self) -> float:
        """Seconds after which a busy route may answer."""
        given = self.reply.headers.get("retry-after", "") if self.reply is not None else ""
        return float(given) if given.isdigit() else 1.0


async def attempt(
    target: RouteTarget, path: str, body: Mapping[str, Any], request_id: str, timeout: float,
    *, comments: bool,
) -> RouteAttempt:  # fmt: skip
    """Ask a route until its answer is complete, or its stream has begun.

    Args:
        target: what answers.
        path: path of the request.
        body: its body.
        request_id: its id.
        timeout: seconds for the answer, or until the first event of a stream.
        comments: a comment begins a stream, too, so that the client sees it at once; False waits
            for an event with data, so that a stream that dies before it can be replaced.
    """
    try:
        async with asyncio.timeout(timeout):
            reply = await target.send(path, body, request_id)
            if reply.status == 200 and reply.media.startswith(EVENT_STREAM):
                return await _begun(reply, comments)
            return _whole(reply, await reply.whole())
    except TimeoutError:
        return RouteAttempt("failed", f"no answer within {timeout:g} s")
    except RouteFailed as error:
        return RouteAttempt("failed", str(error))


async def _begun(reply: RouteReply, comments: bool) -> RouteAttempt:
    """Return a stream that has begun, with everything that was read of it.

    Raises:
        RouteFailed: it ends or breaks before.
    """
    read, begun = b"", False
    try:
        async for part in reply.chunks:
            read += part
            start = 0
            while end := event_end(read[start:]):
                data = event_json(read[start : start + end])
                if data is not None and (error := _error_of(data)) is not None:
                    raise RouteFailed(f"its stream began with an error: {error[0]}")
                begun = begun or comments or data is not None
                start += end
            if begun or len(read) > MAX_EVENT:
                return RouteAttempt("answered", "", _continued(reply, read))
    except BaseException:
        await reply.close()
        raise
    raise RouteFailed("its stream ended without an answer")


def _continued(reply: RouteReply, read: bytes) -> RouteReply:
    """Return a reply whose first part has been read already."""
    rest = reply.chunks

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield read
        async for part in rest:
            yield part

    return RouteReply(reply.status, reply.media, chunks(), reply.headers, rest)


def _whole(reply: RouteReply, content: bytes) -> RouteAttempt:
    """Judge a whole answer."""
    data = None
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(content)
    if 300 <= reply.status < 400:
        return RouteAttempt("failed", f"HTTP {reply.status}: redirects are not followed")
    if not isinstance(data, dict):
        kind = reply.media.partition(";")[0] or "no type"
        why = f"HTTP {reply.status}, and its answer is no JSON object ({kind})"
        return RouteAttempt("busy" if reply.status in BUSY else "failed", why,
                            reply if reply.status == 429 else None)  # fmt: skip
    error = _error_of(data)
    if reply.status < 400 and error is None:
        return RouteAttempt("answered", "", reply, content)
    message, code = error or ("", "")
    why = f"HTTP {reply.status} {message}".strip()
    if reply.status < 300:
        return RouteAttempt("failed", f"HTTP {reply.status} with an error: {message}")
    if reply.status in MISCONFIGURED:
        return RouteAttempt("failed", why)
    if reply.status in BUSY:
        return RouteAttempt("busy", why, reply, content)
    if reply.status >= 500 or reply.status == 408:
        return RouteAttempt("failed", why, reply, content)
    refused = code in NOT_HERE or reply.status == 413
    return RouteAttempt(
        "refused" if refused else "answered", why if refused else "", reply, content
    )


def _error_of(data: Any) -> tuple[str, str] | None:
    """Return message and code of an error in OpenAI's format; None for anything else."""
    if not isinstance(data, Mapping) or not data.get("error"):
        return None
    error = data["error"]
    if not isinstance(error, Mapping):
        return str(error)[:200], ""
    return str(error.get("message", ""))[:200], str(error.get("code"))


async def mended(
    chunks: AsyncGenerator[bytes, None], route: str, broken: Callable[[], object]
) -> AsyncGenerator[bytes, None]:
    """Yield a stream; if it breaks, end it with an error that clients understand.

    Args:
        chunks: the stream.
        route: the route's name.
        broken: called if it breaks.
    """
    try:
        async for part in chunks:
            yield part
    except RouteFailed as failed:
        broken()
        LOG.warning("the stream of the route %s broke: %s", route, failed)
        why = f"the stream of the route {route} broke: {failed}"
        error = {"message": why, "type": "api_error", "param": None, "code": "route_failed"}
        yield f"\n\ndata: {json.dumps({'error': error}, ensure_ascii=False)}\n\n".encode()
