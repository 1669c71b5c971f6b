"""Helpers for HTTP requests: addresses, keys, retry rules, bounded responses, error messages.

Messages never contain the API key, even if the server's own message repeats it.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from lacy.errors import LacyError
from lacy.remote.errors import BASE_URL_HINT, RemoteError, redact
from lacy.remote.wire import error_message

if TYPE_CHECKING:
    import httpx

_EXCERPT_BYTES = 4096
"""Number of characters of an error response that a message may quote."""

_MAX_ERROR_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Retries:
    """Rules for retries; status 429, 5xx and lost connections are always retried."""

    count: int = 3
    """Maximum number of retries."""
    first_wait: float = 0.25
    """Seconds before the first retry. Each wait is twice as long as the previous one, half of it is
    random, and it is at least ``Retry-After``."""
    max_wait: float = math.inf
    """Maximum seconds of one wait, even if ``Retry-After`` asks for more."""
    statuses: frozenset[int] = frozenset()
    """Additional status codes after which a request is retried."""

    def covers(self, status: int) -> bool:
        """True if a request is retried after this status code."""
        return status == 429 or status >= 500 or status in self.statuses

    def wait(self, attempt: int, retry_after: float) -> float:
        """Return the seconds to wait after failed attempt number ``attempt``, counted from 0."""
        # Random jitter prevents clients that failed together from retrying together.
        backoff = self.first_wait * 2.0**attempt * (0.5 + random.random() / 2)
        return min(max(retry_after, backoff), self.max_wait)


def check_url(url: str) -> str:
    """Return the base address of an API without trailing slash.

    Raises:
        LacyError: E72, it is not a web address, or it contains a password or a query. These could
            be keys, which would end up in messages and files; the error does not repeat them.
    """
    why = ""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        parts, host, why = urlsplit(""), None, str(error)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if host else "..."
    if not why and (parts.scheme not in ("http", "https") or not host):
        why = "it does not begin with http:// or https:// and a host"
    elif not why and ("@" in parts.netloc or parts.query or parts.fragment):
        why = "an address must not contain a key, a password or a query"
    if why:
        raise LacyError("E72", url=shown, why=why)
    return shown.rstrip("/")


def read_key(variable: str | None) -> str:
    """Return the API key in an environment variable, or "" if it is not set.

    Raises:
        RemoteError: the key contains characters that are invalid in a header. The message does not
            repeat the key.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not all("!" <= letter <= "~" for letter in key):
        raise RemoteError(f"the key in {variable} contains spaces or characters that no key has")
    return key


def retry_after_seconds(header: str | None) -> float:
    """Return the seconds to wait in a ``Retry-After`` header, which is a number or a date.

    Returns 0 for invalid values.
    """
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if seconds == seconds else 0.0


async def read_bytes(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield a response's bytes as they arrive, decompressed if a proxy compressed them.

    Raises:
        RemoteError: the compression is damaged or neither gzip nor deflate, or the response has
            more than ``max_bytes``, compressed or not.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    decompressor = None
    if encoding in ("gzip", "x-gzip", "deflate"):
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects gzip or zlib
    elif encoding not in ("", "identity"):
        raise RemoteError(f"the answer is compressed ({redact(encoding)}) against our request")
    size = 0
    # aclosing: otherwise the garbage collector might close it after the loop has ended.
    async with aclosing(_raw_bytes(response)) as arriving:
        async for raw in arriving:
            if decompressor is not None:
                try:
                    raw = decompressor.decompress(raw, max_bytes - size + 1)
                except zlib.error:
                    raise RemoteError(f"the answer is not {encoding}", retryable=True) from None
            size += len(raw)
            if size > max_bytes:
                raise RemoteError(f"the answer is longer than {max_bytes:,} bytes")
            yield raw


async def json_object(response: httpx.Response, max_bytes: int) -> dict[str, Any]:
    """Return the response as a JSON object.

    Raises:
        RemoteError: it is not a JSON object, or ``read_bytes`` failed.
    """
    async with aclosing(read_bytes(response, max_bytes)) as arriving:
        body = b"".join([raw async for raw in arriving])
    try:
        found = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise RemoteError("the answer is not JSON", hint=BASE_URL_HINT) from None
    if not isinstance(found, dict):
        raise RemoteError("the answer is not a JSON object", hint=BASE_URL_HINT)
    return found


async def _raw_bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the bytes as they arrive; raise ``RemoteError`` for a lost connection."""
    import httpx

    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as arriving:
        try:
            async for raw in arriving:
                yield raw
        except httpx.HTTPError as error:
            raise transport_error(error) from None


def transport_error(error: Exception, key: str = "") -> RemoteError:
    """Return the error for a request that failed without a response."""
    import httpx

    why = redact(f"{type(error).__name__} {error}", key)
    return RemoteError(why, retryable=isinstance(error, httpx.TransportError))


async def error_text(response: httpx.Response) -> str:
    """Read the beginning of an error response."""
    body = b""
    # If the response is damaged or too long, the status alone must do.
    with suppress(RemoteError):
        async with aclosing(read_bytes(response, _MAX_ERROR_BYTES)) as arriving:
            async for raw in arriving:
                body += raw
                if len(body) >= _EXCERPT_BYTES:
                    break
    return body[:_EXCERPT_BYTES].decode("utf-8", errors="replace")


def status_message(status: int, text: str, key: str) -> str:
    """Return the status and the server's message in one line, without the key."""
    try:
        text = error_message(json.loads(text), key)
    except (ValueError, RecursionError):
        text = "" if "<" in text[:100] else text  # an HTML page
    return f"HTTP {status} {redact(text, key)}".strip()
