"""What stands before every request: size, key, rate; and behind it: figures and one log line."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from lacy.serve.failures import ApiError
from lacy.serve.front import FILES
from lacy.serve.guest import Guest
from lacy.serve.keyfile import Key
from lacy.serve.keys import Keys, Unreadable
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics

LOG = logging.getLogger("lacy.serve")

PATHS = (
    "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/models", "/health", "/metrics",
)  # fmt: skip
"""Paths that figures tell apart."""

OPEN = ("/health", *FILES)
"""Paths that need no key."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stalled(Exception):
    """A client takes nothing of what it is sent."""


class Gate:
    """ASGI middleware around the application.

    Args:
        app: the application.
        limits: most bytes of a body, and how long a client may stand still.
        keys: accepted keys; None: none is needed.
        metrics: where requests are counted.
        hosts: names by which the server may be called; None: by any. A server that is meant for
            this computer alone is not to be reached by a web page whose name leads here.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        keys: Keys | None,
        metrics: Metrics,
        hosts: Sequence[str] | None = None,
    ) -> None:
        self.app, self.limits, self.keys, self.metrics = app, limits, keys, metrics
        self.hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 499  # a client that leaves gets nothing
        note: dict[str, Any] = {}
        scope.setdefault("state", {})["note"] = note

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            try:
                async with asyncio.timeout(self.limits.patience):
                    await send(message)
            except TimeoutError:
                raise Stalled from None

        try:
            scope["state"]["guest"] = self._admit(scope, note)
            await self.app(scope, self._bounded(scope, receive), watched)
        except ApiError as error:
            await error.response()(scope, receive, watched)
        except Stalled:  # what is said meanwhile would pile up here
            note["stalled"] = True
        except Exception:
            status = 500  # a bug, which is answered further out
            raise
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            seconds = time.perf_counter() - begin
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            if path not in ("/health", "/metrics"):
                line = {"path": path, "status": status, "seconds": round(seconds, 4), **note}
                LOG.info(json.dumps(line, ensure_ascii=False))

    def _admit(self, scope: Message, note: dict[str, Any]) -> Guest:
        """Check host, key and rate."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = _host_of(headers.get(b"host", b"").decode("latin-1"))
        if self.hosts is not None and host not in self.hosts:
            why = f"the host name {host!r} is not allowed" if host else "the request has no Host"
            why += f"; to allow it, start the server with --allow-host {host}" if host else ""
            raise ApiError(421, why, "wrong_host")
        if self.keys is None or scope["path"] in OPEN:
            return Guest()
        key = self._key(headers.get(b"authorization", b"").decode("latin-1"))
        note["key"] = key.name
        guest = Guest(self.keys, key)
        # Informational requests are free: the page fetches its sources after each answer.
        if scope["method"] == "POST":
            guest.pay(1)
        return guest

    def _key(self, authorization: str) -> Key:
        """The key of a request.

        Raises:
            ApiError: 401, missing or unknown key; 503, the file of keys cannot be read.
        """
        assert self.keys is not None
        scheme, _, text = authorization.partition(" ")
        try:
            key = self.keys.find(text.strip()) if scheme.lower() == "bearer" else None
        except Unreadable:
            why = "the server cannot read its file of keys; its log says why"
            raise ApiError(503, why, "keys_unreadable", retry=60) from None
        if key is None:
            message = "no valid API key; send it as: Authorization: Bearer KEY"
            raise ApiError(401, message, "invalid_api_key")
        return key

    def _bounded(self, scope: Message, receive: Receive) -> Receive:
        """``receive`` that refuses a body beyond the limit, announced or not."""
        why = f"the body is larger than {self.limits.body_bytes:,} bytes"
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.limits.body_bytes:
            raise ApiError(413, why, "body_too_large")
        late = f"the body took longer than {self.limits.body_deadline:g} s"
        end = asyncio.get_running_loop().time() + self.limits.body_deadline
        total, whole = 0, False

        # FastAPI lets only an HTTPException through while it reads a body.
        async def bounded() -> Message:
            nonlocal total, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, late) from None
            if message["type"] == "http.disconnect":
                raise HTTPException(499, "the client closed the connection")
            total += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if total > self.limits.body_bytes:
                raise HTTPException(413, why)
            return message

        return bounded


def _host_of(header: str) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
