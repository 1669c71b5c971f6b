"""Outermost middleware: request ids, CORS headers, HEAD, and paths with a trailing slash.

It is the outermost layer so that it also applies to errors, including those from bugs.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")

METHODS = "GET, HEAD, POST"
HEADERS = "Authorization, Content-Type, X-Request-Id"
EXPOSED = "X-Request-Id, Retry-After"
REMEMBER = "600"
"""Seconds for which a browser may cache a preflight response."""


class Envelope:
    """ASGI middleware around everything.

    Args:
        app: the application with all other middleware.
        origins: origins whose pages may send requests (``https://chat.example``); ``*`` is any.
    """

    def __init__(self, app: Any, origins: Sequence[str] = ()) -> None:
        self.app, self.origins = app, {tidy(origin) for origin in origins}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        number = asked.get(b"x-request-id", "")
        number = number if _ID.fullmatch(number) else f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = number
        headers = [(b"x-request-id", number.encode())]
        shared = self._shared(asked.get(b"origin"))
        headers += shared
        head = scope["method"] == "HEAD"

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            elif message["type"] == "http.response.body" and head:
                message = {**message, "body": b""}
            await send(message)

        first = scope["method"] == "OPTIONS" and b"access-control-request-method" in asked
        if first and len(shared) > 1:
            headers += _told_before(asked)
            await dressed({"type": "http.response.start", "status": 204, "headers": []})
            await dressed({"type": "http.response.body", "body": b""})
            return
        path = scope["path"]
        if path.startswith("/v1/") and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/")}
        if head:
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, dressed)

    def _shared(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The headers that let a page of this origin read the response."""
        if not self.origins:
            return []
        vary = [(b"vary", b"Origin")]
        if origin is None or not ({"*", tidy(origin)} & self.origins):
            return vary
        told = b"*" if "*" in self.origins else origin.encode("latin-1")
        exposed = (b"access-control-expose-headers", EXPOSED.encode())
        return [*vary, (b"access-control-allow-origin", told), exposed]


def tidy(origin: str) -> str:
    """An origin as browsers write it."""
    return origin.strip().rstrip("/").lower()


def _told_before(asked: MutableMapping[bytes, str]) -> list[tuple[bytes, bytes]]:
    """The response to a browser's preflight request."""
    wanted = asked.get(b"access-control-request-headers", "")
    names = f"{HEADERS}, {wanted}" if _NAMES.fullmatch(wanted) else HEADERS
    told = [
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", names.encode()),
        (b"access-control-max-age", REMEMBER.encode()),
    ]
    if asked.get(b"access-control-request-private-network") == "true":
        told.append((b"access-control-allow-private-network", b"true"))
    return told
