"""One JSON request to a server that may fail in every way, and a sentence for each of them.

Tries again where that may help (busy or failing servers, lost connections), never beyond the
caller's deadline. No message holds the key, not even where a server repeats it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from lacy.errors import LacyError
from lacy.remote.wire import Accepted, plain, told_error

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_SHOWN_BYTES = 4096
_READ_OF_REFUSAL = 1 << 20


class Failure(Exception):
    """Why a server gave no answer, in words for the user.

    ``status`` is 0 where it said none; ``again`` says that another try may help.
    """

    def __init__(self, why: str, status: int = 0, *, again: bool = False) -> None:
        super().__init__(why)
        self.status, self.again = status, again


def checked_url(url: str) -> str:
    """The base of an API, without a slash at its end.

    Raises:
        LacyError: E72 if it is no web address, or holds a password or a query (where keys would
            end up in messages and files); the message does not repeat these.
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
        why = "keys and passwords have no place in an address, nor has a query"
    if why:
        raise LacyError("E72", url=shown, why=why)
    return shown.rstrip("/")


def read_key(variable: str | None) -> str:
    """The key from the environment; empty where none is set.

    Raises:
        Failure: it holds what no header may. The key itself is not repeated.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not all("!" <= letter <= "~" for letter in key):
        raise Failure(f"the key in {variable} holds spaces or letters that no key has")
    return key


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: dict[str, Any],
    *,
    read: Callable[[httpx.Response], Awaitable[T]],
    key: str = "",
    retries: int,
    first_wait: float,
    deadline: float,
    accepted: Accepted | None = None,
) -> T:
    """Sends a request and returns what ``read`` makes of the answer, with retries.

    If ``read`` does not consume the whole answer, the connection is closed.

    Args:
        client: an open ``httpx`` client.
        url: the address.
        body: the JSON body.
        read: called with each answer of status 200; it may raise ``Failure``.
        key: sent as a bearer token unless empty.
        retries: further tries after 429, 5xx and lost connections, each after a longer wait (twice
            the last one, half of it random) or after ``Retry-After``.
        first_wait: seconds before the first retry.
        deadline: of ``time.monotonic``; a wait that would end after it is not started.
        accepted: adapts the body to the model and learns from rejections, after which the request
            is sent again at once.

    Raises:
        Failure: no usable answer. The caller must enforce ``deadline`` for everything else.
    """
    import httpx

    headers = {"Accept-Encoding": "identity"}  # compression costs time and delays streams
    accepted = accepted or Accepted()
    if key:
        headers["Authorization"] = f"Bearer {key}"
    tries, wait = 0, first_wait
    while True:
        asked_for = 0.0
        tries += 1
        sent = accepted.shaped(body)
        try:
            async with client.stream("POST", url, json=sent, headers=headers) as response:
                status = response.status_code
                if status == 200:
                    return await read(response)
                told = await _beginning(response)
                refused = accepted.learn(sent, status, told.decode("utf-8", errors="replace"))
                if refused and accepted.shaped(body) != sent:
                    tries -= 1
                    continue
                why = _said(status, told, key)
                again = status == 429 or status >= 500
                asked_for = seconds_of(response.headers.get("retry-after")) if again else 0.0
        except Failure as failure:
            if not failure.again:
                raise
            status, again, why = failure.status, True, str(failure)
        except httpx.TransportError as error:
            status, again, why = 0, True, plain(f"{type(error).__name__} {error}", key)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Failure(plain(f"{type(error).__name__} {error}", key)) from None
        if not again or tries > retries:
            raise Failure(why + (f", after {tries} tries" if tries > 1 else ""), status)
        pause = max(asked_for, wait * (0.5 + random.random() / 2))
        wait *= 2
        if time.monotonic() + pause >= deadline:
            raise Failure(f"{why}, and no time for another try in {pause:.1f} s", status)
        await asyncio.sleep(pause)


def seconds_of(header: str | None) -> float:
    """How long ``Retry-After`` asks to wait, given in seconds or as a date; 0 for nonsense."""
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if seconds == seconds else 0.0


async def whole(response: httpx.Response, max_bytes: int) -> dict[str, Any]:
    """The JSON object that an answer is.

    Raises:
        Failure: it is none, packed, or longer than ``max_bytes``.
    """
    async with aclosing(readable(response, max_bytes)) as pieces:
        return _object(b"".join([piece async for piece in pieces]))


async def readable(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The bytes of an answer as they arrive, decompressed if a proxy compressed them.

    Raises:
        Failure: the compression is damaged or neither gzip nor deflate, or the answer has more than
            ``max_bytes``, compressed or not.
    """
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    unpack = None
    if packed in ("gzip", "x-gzip", "deflate"):
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects gzip or zlib
    elif packed not in ("", "identity"):
        raise Failure(f"the answer is packed ({plain(packed)}), which was not asked for")
    size = 0
    async with aclosing(_raw(response)) as pieces:
        async for piece in pieces:
            if unpack is not None:
                try:
                    piece = unpack.decompress(piece, max_bytes - size + 1)
                except zlib.error:
                    raise Failure(f"the answer is not {packed}, as it says") from None
            size += len(piece)
            if size > max_bytes:
                raise Failure(f"the answer is longer than {max_bytes:,} bytes")
            yield piece


def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """What arrives; closed by whoever leaves it early, before the loop ends and cannot."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


async def _beginning(response: httpx.Response) -> bytes:
    """As much of a refusal as a message can show."""
    raw = b""
    try:
        async with aclosing(readable(response, _READ_OF_REFUSAL)) as pieces:
            async for piece in pieces:
                raw += piece
                if len(raw) >= _SHOWN_BYTES:
                    break
    except Failure:  # damaged or very long: the status is enough
        pass
    return raw[:_SHOWN_BYTES]


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Failure("the answer is not UTF-8") from None
    except (ValueError, RecursionError):
        raise Failure("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise Failure("the answer is not a JSON object")
    return answer


def _said(status: int, raw: bytes, key: str) -> str:
    """A status and, where the server says more, that in one line."""
    text = raw.decode("utf-8", errors="replace")
    try:
        text = told_error(json.loads(text), key)
    except (ValueError, RecursionError):
        text = "" if "<" in text[:100] else text  # a page for people
    return f"HTTP {status} {plain(text, key)}".strip()
