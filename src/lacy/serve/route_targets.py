"""What answers a request of a route: a local model, another server, or a source."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from lacy._require import require_package
from lacy.remote import RemoteError, check_url, read_key, redact
from lacy.sources import Source, guarded
from lacy.types import Request as SourceRequest

JSON_TYPE, EVENT_STREAM = "application/json", "text/event-stream"

MAX_ANSWER = 16 << 20
"""Bytes of an answer of another server that are read at most."""


class RouteFailed(Exception):
    """Raised when a route gives no answer.

    Args:
        why: what happened, for the client.
    """


@dataclass
class RouteReply:
    """The beginning of a route's answer.

    Attributes:
        status: HTTP status.
        media: media type.
        chunks: the body.
        headers: other headers that go to the client.
        rest: what ``chunks`` reads from, if it wraps another body.
    """

    status: int
    media: str
    chunks: AsyncGenerator[bytes, None]
    headers: dict[str, str] = field(default_factory=dict)
    rest: AsyncGenerator[bytes, None] | None = None

    async def whole(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self.chunks])

    async def close(self) -> None:
        """End the body, so that no more of it is generated, whether or not it was read."""
        await self.chunks.aclose()
        if self.rest is not None:  # a generator that has not begun does not end what it wraps
            await self.rest.aclose()


class RouteTarget(Protocol):
    """Answers requests."""

    async def send(self, path: str, body: Mapping[str, Any], request_id: str) -> RouteReply:
        """Send a request, and return when its answer begins.

        Raises:
            RouteFailed: there is no answer.
        """
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...


class LocalTarget:
    """A model of this process, behind an application of its own.

    Args:
        app: the application, from ``make_app``, with the route's name as the model's.
        name: the route's name.
        stack: holds the application's lifespan.
    """

    def __init__(self, app: Any, name: str, stack: AsyncExitStack) -> None:
        self.app, self.name, self._stack = app, name, stack

    async def send(self, path: str, body: Mapping[str, Any], request_id: str) -> RouteReply:
        """Call the application; see ``RouteTarget``."""
        content = json.dumps(body).encode()
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        gone = asyncio.Event()
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": content, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            events.put_nowait(message)

        async def run() -> None:
            try:
                await self.app(_scope(path, content, request_id), receive, send)
            finally:
                events.put_nowait(None)

        async def stop() -> None:
            gone.set()
            with suppress(asyncio.CancelledError, Exception):  # the application has logged it
                await task

        task = asyncio.create_task(run())
        try:
            start = await events.get()
        except BaseException:
            task.cancel()
            await stop()
            raise
        if start is None:
            await stop()
            raise RouteFailed(f"{self.name} ended without an answer")

        async def chunks() -> AsyncGenerator[bytes, None]:
            ended = False
            try:
                while (message := await events.get()) is not None:
                    if part := message.get("body", b""):
                        yield part
                    if ended := not message.get("more_body", False):
                        break
            finally:
                if not ended:
                    task.cancel()
                await stop()

        headers = {name.decode().lower(): value.decode("latin-1")
                   for name, value in start.get("headers", [])}  # fmt: skip
        media = headers.get("content-type", JSON_TYPE)
        return RouteReply(int(start["status"]), media, chunks(), _passed_on(headers))

    async def close(self) -> None:
        """End the application's lifespan, which closes its scheduler."""
        await self._stack.aclose()


class RemoteTarget:
    """A model on another server; its answer is passed on as it comes.

    Args:
        address: ``http://host:port/v1#model``.
        key_variable: environment variable with an API key; None sends none.
        timeout: seconds to connect, and between two parts of an answer.
    """

    def __init__(
        self, address: str, key_variable: str | None = None, timeout: float = 60.0
    ) -> None:
        httpx = require_package("httpx", "endpoint", "a model behind a server")
        url, _, self.model = address.partition("#")
        self.url, self.key_variable = check_url(url), key_variable
        self._client = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, verify=not self.url.startswith("http://")
        )

    async def send(self, path: str, body: Mapping[str, Any], request_id: str) -> RouteReply:
        """Send the request; see ``RouteTarget``."""
        import httpx

        key = ""
        try:
            key = read_key(self.key_variable)
            headers = {"Accept-Encoding": "identity", "X-Request-Id": request_id}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            sent = {name: value for name, value in body.items() if name != "lacy"}
            request = self._client.build_request(
                "POST", self.url + path.removeprefix("/v1"), json={**sent, "model": self.model},
                headers=headers,
            )  # fmt: skip
            response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, RemoteError, ValueError) as error:
            raise RouteFailed(redact(f"{type(error).__name__} {error}".strip(), key)) from None

        async def chunks() -> AsyncGenerator[bytes, None]:
            size = 0
            try:
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise RouteFailed(f"its answer is longer than {MAX_ANSWER:,} bytes")
                    yield part
            except httpx.HTTPError as error:
                raise RouteFailed(redact(f"{type(error).__name__} {error}", key)) from None
            finally:
                await response.aclose()

        media = response.headers.get("content-type", JSON_TYPE)
        return RouteReply(response.status_code, media, chunks(), _passed_on(response.headers))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class SourceTarget:
    """A source that answers the request itself, without a model.

    Args:
        source: the source.
        name: the route's name.
        text_of: returns the text of a request's body.
        timeout: seconds for the source.
    """

    def __init__(
        self, source: Source, name: str, text_of: Callable[[Mapping[str, Any]], str],
        timeout: float,
    ) -> None:  # fmt: skip
        self.source, self.name, self._text_of, self._timeout = source, name, text_of, timeout

    async def send(self, path: str, body: Mapping[str, Any], request_id: str) -> RouteReply:
        """Ask the source; see ``RouteTarget``."""
        prompt, count = body.get("prompt"), body.get("n")
        if path == "/v1/responses":
            raise RouteFailed(f"{self.name} is a source, which has no answers of this path")
        if count not in (None, 1) or (isinstance(prompt, list) and len(prompt) > 1):
            raise RouteFailed(f"{self.name} is a source, which gives one answer to one prompt")
        [reply] = await guarded(
            self.source, [SourceRequest(self._text_of(body))], timeout=self._timeout
        )
        if not reply.candidates:
            raise RouteFailed(reply.error or f"{self.name} has no answer")
        found = reply.candidates[0]
        chat, stream = path.endswith("/chat/completions"), bool(body.get("stream"))
        message = {"role": "assistant", "content": found.text}
        content = {"delta" if stream else "message": message} if chat else {"text": found.text}
        kind = "chat.completion" + ".chunk" * stream if chat else "text_completion"
        answer = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", "object": kind,
            "created": int(time.time()), "model": self.name,
            "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": "stop",
                         "lacy": {"evidence": found.evidence, "speaker": reply.speaker}}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }  # fmt: skip

        async def chunks() -> AsyncGenerator[bytes, None]:
            data = json.dumps(answer)
            yield (f"data: {data}\n\ndata: [DONE]\n\n" if stream else data).encode()

        return RouteReply(200, EVENT_STREAM if stream else JSON_TYPE, chunks())

    async def close(self) -> None:
        """Close the source."""
        getattr(self.source, "close", lambda: None)()


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an answer that go to the client."""
    return {name: headers[name] for name in ("retry-after",) if name in headers}


def _scope(path: str, content: bytes, request_id: str) -> dict[str, Any]:
    """Return the scope of a request to an application of this process."""
    headers = [
        (b"host", b"localhost"), (b"content-type", JSON_TYPE.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"x-request-id", request_id.encode("latin-1", "replace")),
    ]  # fmt: skip
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": headers, "client": None, "server": ("localhost", 80),
        "state": {},
    }  # fmt: skip
