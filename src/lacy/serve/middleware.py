"""ASGI middleware: check every request, add headers to responses, write log and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from lacy.serve.errors import ApiError
from lacy.serve.keys import Key, KeyClient, Keys, KeysUnreadable
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics

LOG = logging.getLogger("lacy.serve")

METERED_PATHS = (
    "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/systemone", "/v1/feedback",
    "/v1/models", "/v1/routes", "/health", "/metrics",
)  # fmt: skip
"""Paths that have their own metrics; all other paths are counted together."""

CORS_METHODS = "GET, HEAD, POST"
CORS_HEADERS = "Authorization, Content-Type, X-Request-Id"
CORS_EXPOSED = "X-Request-Id, Retry-After, X-Lacy-Route, X-Lacy-Route-Why"
CORS_SECONDS = "600"
"""How long a browser may cache a preflight response."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class EnvelopeMiddleware:
    """Adds request ids and CORS headers, and handles HEAD and trailing slashes.

    It is the outermost layer, so it also applies to error responses, even after a bug.

    Args:
        app: the application with all other middleware.
        origins: origins whose pages may send requests (``https://chat.example``); ``*`` for any.
    """

    def __init__(self, app: Any, origins: Sequence[str] = ()) -> None:
        self.app, self.origins = app, {_normalize_origin(origin) for origin in origins}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = given.get(b"x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        cors = self._cors_headers(given.get(b"origin"))
        headers = [(b"x-request-id", request_id.encode()), *cors]
        head = scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            elif message["type"] == "http.response.body" and head:
                message = {**message, "body": b""}
            await send(message)

        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in given
        if preflight and len(cors) > 1:
            headers += _preflight_headers(given)
            start = {"type": "http.response.start", "status": 204, "headers": []}
            await send_with_headers(start)
            await send_with_headers({"type": "http.response.body", "body": b""})
            return
        path = scope["path"]
        if path.startswith("/v1/") and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/")}
        if head:
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send_with_headers)

    def _cors_headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """Return the headers that let a page of this origin read the response."""
        if not self.origins:
            return []
        vary = [(b"vary", b"Origin")]
        if origin is None or not ({"*", _normalize_origin(origin)} & self.origins):
            return vary
        allowed = b"*" if "*" in self.origins else origin.encode("latin-1")
        exposed = (b"access-control-expose-headers", CORS_EXPOSED.encode())
        return [*vary, (b"access-control-allow-origin", allowed), exposed]


def _normalize_origin(origin: str) -> str:
    """Return an origin in the form that browsers send."""
    return origin.strip().rstrip("/").lower()


def _preflight_headers(given: MutableMapping[bytes, str]) -> list[tuple[bytes, bytes]]:
    """Return the headers of the response to a browser's preflight request."""
    wanted = given.get(b"access-control-request-headers", "")
    names = f"{CORS_HEADERS}, {wanted}" if _HEADER_NAMES.fullmatch(wanted) else CORS_HEADERS
    headers = [
        (b"access-control-allow-methods", CORS_METHODS.encode()),
        (b"access-control-allow-headers", names.encode()),
        (b"access-control-max-age", CORS_SECONDS.encode()),
    ]
    if given.get(b"access-control-request-private-network") == "true":
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers


class ClientStalled(Exception):
    """Raised when a client has stopped reading its response."""


class GuardMiddleware:
    """Checks host name, key, rate limit and body size; writes metrics and a log line per request.

    Args:
        app: the application.
        limits: limits on the body and on clients that stop reading.
        keys: accepted keys; None if no key is needed.
        metrics: counters of requests; None to count none.
        hosts: host names that requests may use; None for any. The check prevents DNS rebinding: a
            web page whose host name resolves to this computer must not reach a local server.
        open_paths: paths that need no key.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        keys: Keys | None,
        metrics: Metrics | None,
        hosts: Sequence[str] | None,
        open_paths: Collection[str],
    ) -> None:
        self.app, self.limits, self.keys, self.metrics = app, limits, keys, metrics
        self.hosts, self.open_paths = hosts, open_paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 499  # 499: the client left before an answer
        log: dict[str, Any] = {}
        scope.setdefault("state", {})["log"] = log

        async def send_in_time(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            try:
                async with asyncio.timeout(self.limits.stall_seconds):
                    await send(message)
            except TimeoutError:
                raise ClientStalled from None

        try:
            scope["state"]["client"] = self._admit(scope, log)
            await self.app(scope, self._bounded(scope, receive), send_in_time)
        except ApiError as error:
            await error.response()(scope, receive, send_in_time)
        except ClientStalled:  # otherwise its response would pile up in memory
            log["stalled"] = True
        except Exception:
            status = 500  # a bug; an outer layer sends the answer
            raise
        finally:
            path = scope["path"] if scope["path"] in METERED_PATHS else "other"
            seconds = time.perf_counter() - begin
            if self.metrics is not None:
                self.metrics.requests.labels(path, str(status)).inc()
                self.metrics.seconds.labels(path).observe(seconds)
            if path not in ("/health", "/metrics"):
                line = {"path": path, "status": status, "seconds": round(seconds, 4), **log}
                LOG.info(json.dumps(line, ensure_ascii=False))

    def _admit(self, scope: Message, log: dict[str, Any]) -> KeyClient:
        """Check host name, key and rate limit, before the body is read.

        Raises:
            ApiError: the request is refused.
        """
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = _host_of(headers.get(b"host", b"").decode("latin-1"))
        if self.hosts is not None and host not in self.hosts:
            why = f"the host name {host!r} is not allowed" if host else "the request has no Host"
            why += f"; to allow it, start the server with --allow-host {host}" if host else ""
            raise ApiError(421, why, "wrong_host")
        if self.keys is None or scope["path"] in self.open_paths:
            return KeyClient()
        key = self._key(self.keys, headers.get(b"authorization", b"").decode("latin-1"))
        log["key"] = key.name
        client = KeyClient(self.keys, key)
        # Only POST requests generate text. GET is not counted: the page polls its sources.
        if scope["method"] == "POST":
            client.charge(1)
        return client

    def _key(self, keys: Keys, authorization: str) -> Key:
        """Return the key of a request.

        Raises:
            ApiError: 401, missing or unknown key; 503, the file of keys cannot be read.
        """
        scheme, _, text = authorization.partition(" ")
        try:
            key = keys.find(text.strip()) if scheme.lower() == "bearer" else None
        except KeysUnreadable:
            why = "the server cannot read its file of keys; its log says why"
            raise ApiError(503, why, "keys_unreadable", retry=60) from None
        if key is None:
            message = "no valid API key; send it as: Authorization: Bearer KEY"
            raise ApiError(401, message, "invalid_api_key")
        return key

    def _bounded(self, scope: Message, receive: Receive) -> Receive:
        """Wrap ``receive`` to refuse a body that is too large or too slow."""
        why = f"the body is larger than {self.limits.body_bytes:,} bytes"
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.limits.body_bytes:
            raise ApiError(413, why, "body_too_large")
        too_late = f"the body took longer than {self.limits.body_deadline:g} s"
        deadline = asyncio.get_running_loop().time() + self.limits.body_deadline
        total, complete = 0, False

        # While FastAPI reads a body, it passes on HTTPException but no other exception.
        async def bounded() -> Message:
            nonlocal total, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, too_late) from None
            if message["type"] == "http.disconnect":
                raise HTTPException(499, "the client closed the connection")
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > self.limits.body_bytes:
                raise HTTPException(413, why)
            return message

        return bounded


def _host_of(header: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
