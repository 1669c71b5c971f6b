"""HTTP requests with retries, a deadline and size limits, and errors that a user can act on.

Requests are repeated only where that may help (busy or failing servers, lost connections) and never
beyond the deadline. No message contains the API key, not even one that a server repeats.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from lacy.errors import LacyError
from lacy.remote.errors import BASE_URL_HINT, RemoteError, redact
from lacy.remote.wire import error_message

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_EXCERPT_BYTES = 4096
"""Bytes of an error response that are read into a message."""

_MAX_ERROR_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed request is sent again.

    It is repeated after status 429, after 5xx and after a lost connection.
    """

    count: int = 3
    """Number of repetitions."""
    first_wait: float = 0.25
    """Seconds before the first repetition. Each wait is twice as long as the last, half of it
    random, and at least ``Retry-After``."""
    max_wait: float = math.inf
    """Seconds that a wait may take, even if ``Retry-After`` asks for more."""
    statuses: frozenset[int] = frozenset()
    """Further status codes after which a request is repeated."""

    def covers(self, status: int) -> bool:
        """True if a request is repeated after this status code."""
        return status == 429 or status >= 500 or status in self.statuses

    def wait(self, attempt: int, retry_after: float) -> float:
        """Return the seconds to wait after a failed attempt (the first is number 0)."""
        # Randomness keeps clients that failed together from returning together.
        backoff = self.first_wait * 2.0**attempt * (0.5 + random.random() / 2)
        return min(max(retry_after, backoff), self.max_wait)


class HttpClient:
    """A client of one JSON API. It keeps one connection pool per event loop.

    Args:
        url: base of the API, without a slash at the end.
        key_variable: environment variable with the key, which is sent as a bearer token. It is read
            at each request and never stored. If None or not set, no key is sent.
        timeout: seconds for one request with all its attempts and waits.
        attempt_timeout: seconds for one attempt, after which the next one begins.
        retries: when a failed request is sent again.
        concurrency: requests at the same time (per event loop), including those that wait before a
            repetition: a busy server gets no further ones meanwhile.

    Attributes:
        sent: number of requests sent, including repeated ones.
        retried: number of requests that were repeated after a failure.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        key_variable: str | None = None,
        timeout: float = math.inf,
        attempt_timeout: float = math.inf,
        retries: Retries = Retries(),
        concurrency: int = 8,
    ) -> None:
        try:
            import httpx  # noqa: F401
        except ImportError:
            what = "a request to a model server"
            raise LacyError("E11", extra_for=what, package="httpx", extra="endpoint") from None
        self.url = check_url(url)
        self.key_variable = key_variable
        self.timeout, self.attempt_timeout = timeout, attempt_timeout
        self.retries, self.concurrency = retries, concurrency
        self.sent = self.retried = 0
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pools"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # connections are not pickled: a process opens its own
        self._pools = WeakKeyDictionary()

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        read: Callable[[httpx.Response, str], Awaitable[T]],
        deadline: float | None = None,
    ) -> T:
        """Send a request and return what ``read`` makes of the response.

        Args:
            method: such as ``"POST"``.
            path: added to the base address, without a slash at the beginning.
            body: sent as JSON.
            read: called with each response of status 200, and with the key, which its errors must
                not contain. It may raise ``RemoteError``. If it does not consume the whole
                response, the connection is closed.
            deadline: time of ``time.monotonic()``; ``timeout`` seconds from now by default.

        Raises:
            RemoteError: there was no usable response before the deadline.
        """
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        try:
            async with _limit(deadline - time.monotonic()), self._pool().places:
                return await self._attempts(method, path, body, read, deadline)
        except TimeoutError:
            raise RemoteError(f"no whole answer within {self.timeout:g} s") from None

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        if pool := self._pools.pop(asyncio.get_running_loop(), None):
            await pool.client.aclose()

    def adapt(self, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the body to send; for subclasses that adapt requests to a server."""
        return None if body is None else dict(body)

    def learn(self, sent: dict[str, Any] | None, status: int, text: str) -> bool:
        """Learn from an error response; True if the request should be adapted and sent again."""
        return False

    def hint(self, status: int) -> str:
        """Return what the user can do about an error status, or ""."""
        if status in (401, 403) and self.key_variable:
            return f"set the key: export {self.key_variable}=..."
        return ""

    async def _attempts(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[httpx.Response, str], Awaitable[T]],
        deadline: float,
    ) -> T:
        attempt = 0
        while True:
            try:
                return await self._attempt(method, path, body, read)
            except RemoteError as raised:
                error = raised
            if not error.retryable or attempt == self.retries.count:
                error.why += f", after {attempt + 1} tries" if attempt else ""
                raise error
            wait = self.retries.wait(attempt, error.retry_after)
            if time.monotonic() + wait >= deadline:
                error.why += f", and no time for another try in {wait:.1f} s"
                raise error
            attempt += 1
            self.retried += 1
            await asyncio.sleep(wait)

    async def _attempt(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[httpx.Response, str], Awaitable[T]],
    ) -> T:
        """Send a request; again, at once, if the server's error shows how to adapt it."""
        import httpx

        key, url = read_key(self.key_variable), f"{self.url}/{path}"
        headers = {"Accept-Encoding": "identity"}  # compression costs time and delays streams
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            while True:
                sent = self.adapt(body)
                self.sent += 1
                request = self._pool().client.stream(method, url, json=sent, headers=headers)
                async with _limit(self.attempt_timeout), request as response:
                    status = response.status_code
                    if status == 200:
                        return await read(response, key)
                    text = await _error_text(response)
                if self.learn(sent, status, text) and self.adapt(body) != sent:
                    continue
                raise RemoteError(
                    _status_message(status, text, key), status, hint=self.hint(status),
                    retryable=self.retries.covers(status),
                    retry_after=retry_after_seconds(response.headers.get("retry-after")),
                )  # fmt: skip
        except TimeoutError:
            why = f"no answer within {self.attempt_timeout:g} s"
            raise RemoteError(why, retryable=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _transport_error(error, key) from None

    def _pool(self) -> _Pool:
        """Return the running loop's connections: httpx cannot use those of another loop."""
        import httpx

        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            count = self.concurrency
            limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
            # Without a timeout of its own: request() limits the time as a whole.
            client = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)
            self._pools[loop] = _Pool(client, asyncio.Semaphore(count))
        return self._pools[loop]


class _Pool(NamedTuple):
    """The connections of one event loop."""

    client: httpx.AsyncClient
    places: asyncio.Semaphore


def check_url(url: str) -> str:
    """Return the base address of an API without a slash at the end.

    Raises:
        LacyError: E72, it is not a web address, or contains a password or a query. These could be
            keys, which would end up in messages and files; the error does not repeat them.
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
    """Return the key in an environment variable, "" if it is not set.

    Raises:
        RemoteError: it contains characters that no header may have. The key is not repeated.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not all("!" <= letter <= "~" for letter in key):
        raise RemoteError(f"the key in {variable} contains spaces or characters that no key has")
    return key


def retry_after_seconds(header: str | None) -> float:
    """Return the seconds that ``Retry-After`` asks to wait, given as a number or a date.

    Invalid values count as 0.
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
    # Closed here because the garbage collector might do it after the loop has ended.
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
    """Return a response that is a JSON object.

    Raises:
        RemoteError: it is not a JSON object, or as ``read_bytes``.
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
    """Yield the bytes as they arrive, with ``RemoteError`` for a lost connection."""
    import httpx

    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as arriving:
        try:
            async for raw in arriving:
                yield raw
        except httpx.HTTPError as error:
            raise _transport_error(error) from None


def _transport_error(error: Exception, key: str = "") -> RemoteError:
    import httpx

    why = redact(f"{type(error).__name__} {error}", key)
    return RemoteError(why, retryable=isinstance(error, httpx.TransportError))


def _limit(seconds: float) -> asyncio.Timeout:
    return asyncio.timeout(seconds if seconds < math.inf else None)


async def _error_text(response: httpx.Response) -> str:
    """Read the beginning of an error response."""
    body = b""
    # If it is damaged or very long, the status is enough.
    with suppress(RemoteError):
        async with aclosing(read_bytes(response, _MAX_ERROR_BYTES)) as arriving:
            async for raw in arriving:
                body += raw
                if len(body) >= _EXCERPT_BYTES:
                    break
    return body[:_EXCERPT_BYTES].decode("utf-8", errors="replace")


def _status_message(status: int, text: str, key: str) -> str:
    """Return the status and the server's message in one line."""
    try:
        text = error_message(json.loads(text), key)
    except (ValueError, RecursionError):
        text = "" if "<" in text[:100] else text  # an HTML page
    return f"HTTP {status} {redact(text, key)}".strip()
