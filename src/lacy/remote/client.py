"""A client of OpenAI-compatible servers: vLLM, llama.cpp, a provider's API.

    client = OpenAIClient("http://localhost:8000/v1", "my-model", timeout=60)
    answer = await client.chat([{"role": "user", "content": "Where was Ada born?"}], max_tokens=50)
    print(answer.text, answer.usage)
    await client.close()

A request is retried only if that may help (busy or failing servers, lost connections) and never
beyond its deadline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from lacy._require import require_package
from lacy.remote.errors import BASE_URL_HINT, OutOfTokens, RemoteError
from lacy.remote.http import (
    Retries,
    check_url,
    error_text,
    json_object,
    read_key,
    retry_after_seconds,
    status_message,
    transport_error,
)
from lacy.remote.sse import Chunk, read_chunks
from lacy.remote.wire import AcceptedParameters, without_reasoning

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_DEFAULT_RETRIES = Retries()


class OpenAIClient:
    """A client of one model on one OpenAI-compatible server.

    It keeps one connection pool per event loop. If the server rejects a parameter, later requests
    omit it (``AcceptedParameters``).

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        key_variable: environment variable that contains the API key, which is sent as a bearer
            token. It is read at each request and never stored. If None or unset, no key is sent.
        timeout: seconds for one request including all attempts and waits.
        attempt_timeout: seconds for one attempt; after them, the next attempt begins.
        retries: when and how often a failed request is sent again.
        concurrency: maximum number of simultaneous requests per event loop. Requests that wait for
            a retry count, so a busy server gets no new ones in the meantime.
        max_bytes: maximum size of an answer in bytes.

    Attributes:
        sent: number of requests sent, including retries.
        retried: number of retries after a failure.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout: float = math.inf,
        attempt_timeout: float = math.inf,
        retries: Retries = _DEFAULT_RETRIES,
        concurrency: int = 8,
        max_bytes: int = 1_000_000,
    ) -> None:
        require_package("httpx", "endpoint", "a model behind a server")
        self.url, self.model = check_url(url), model
        self.key_variable = key_variable
        self.timeout, self.attempt_timeout = timeout, attempt_timeout
        self.retries, self.concurrency = retries, concurrency
        self.max_bytes = max_bytes
        self.sent = self.retried = 0
        self.parameters = AcceptedParameters()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pools"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # connections are not pickled; every process opens its own
        self._pools = WeakKeyDictionary()

    async def complete(self, prompt: str | Sequence[int], **fields: Any) -> Chunk:
        """Continue a text (a string or token ids) with ``/completions``.

        Args:
            prompt: the text to continue.
            fields: of the request, such as ``max_tokens=20``. ``temperature`` is 0 by default.

        Returns:
            The whole answer.

        Raises:
            RemoteError: see ``stream``.
        """
        return await self.stream("completions", {"prompt": prompt, **fields}, _whole_answer)

    async def chat(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> Chunk:
        """Return the answer to a conversation from ``/chat/completions``.

        If a reasoning model reaches ``max_tokens`` before it answers, the request is sent once more
        with a higher limit, which also applies to later requests.

        Args:
            messages: the conversation, such as ``[{"role": "user", "content": "..."}]``.
            fields: of the request, such as ``max_tokens=20``. ``temperature`` is 0 by default.

        Raises:
            OutOfTokens: the higher limit was not enough either.
            RemoteError: see ``stream``.
        """
        body = {"messages": list(messages), **fields}

        async def ask() -> Chunk:
            answer = await self.stream("chat/completions", body, _whole_answer)
            if answer.finish == "length" and not without_reasoning(answer.text).strip():
                raise OutOfTokens
            return answer

        return await self.parameters.with_reasoning(ask)

    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[AsyncGenerator[Chunk, None]], Awaitable[T]],
        *,
        deadline: float | None = None,
    ) -> T:
        """Send a request, pass the answer's chunks to ``read``, and return its result.

        Args:
            path: ``"completions"`` or ``"chat/completions"``.
            body: fields of the request. With ``{"stream": True}``, chunks arrive as they are
                generated; otherwise, the whole answer is one chunk.
            read: consumes the chunks. If it stops early, the connection is closed, so the server
                stops generating. After a failed attempt, it is called again from the beginning.
            deadline: a value of ``time.monotonic()``; by default ``timeout`` seconds from now.

        Raises:
            RemoteError: the server gave no usable answer in time, or ``read`` raised this error.
        """

        async def read_response(response: httpx.Response, key: str) -> T:
            async with aclosing(read_chunks(response, self.max_bytes, key)) as arriving:
                return await read(arriving)

        fields = {"model": self.model, "temperature": 0, **body}
        return await self._request("POST", path, fields, read_response, deadline)

    async def models(self) -> list[dict[str, Any]]:
        """Return the server's models; each has an ``id``.

        Raises:
            RemoteError: the server did not return a list of models.
        """

        async def read(response: httpx.Response, _: str) -> list[dict[str, Any]]:
            found = (await json_object(response, self.max_bytes)).get("data")
            if not isinstance(found, list):
                raise RemoteError("the answer is no list of models", hint=BASE_URL_HINT)
            return [model for model in found if isinstance(model, dict)]

        return await self._request("GET", "models", None, read)

    async def close(self) -> None:
        """Close the running event loop's connections; call it in each loop that sent requests."""
        if pool := self._pools.pop(asyncio.get_running_loop(), None):
            await pool.client.aclose()

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[httpx.Response, str], Awaitable[T]],
        deadline: float | None = None,
    ) -> T:
        """Send a request with retries; pass the response to ``read`` and return its result.

        ``read`` gets each response with status 200, and the key so that it can redact messages.
        """
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        attempt = partial(self._attempt, method, path, body, read)
        try:
            async with _time_limit(deadline - time.monotonic()), self._pool().places:
                return await self._repeat(attempt, deadline)
        except TimeoutError:
            raise RemoteError(f"no whole answer within {self.timeout:g} s") from None

    async def _repeat(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Await ``attempt()`` until it succeeds, the retries are used up or the deadline passes."""
        failed = 0
        while True:
            try:
                return await attempt()
            except RemoteError as raised:
                error = raised
            if not error.retryable or failed == self.retries.count:
                error.why += f", after {failed + 1} tries" if failed else ""
                raise error
            wait = self.retries.wait(failed, error.retry_after)
            if time.monotonic() + wait >= deadline:
                error.why += f", and no time for another try in {wait:.1f} s"
                raise error
            failed += 1
            self.retried += 1
            await asyncio.sleep(wait)

    async def _attempt(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[httpx.Response, str], Awaitable[T]],
    ) -> T:
        """Send a request; if the server's error shows how to adapt it, send it again at once."""
        import httpx

        key, url = read_key(self.key_variable), f"{self.url}/{path}"
        headers = {"Accept-Encoding": "identity"}  # compression costs time and delays streams
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            while True:
                sent = self.parameters.adapt(body) if body else None
                self.sent += 1
                request = self._pool().client.stream(method, url, json=sent, headers=headers)
                async with _time_limit(self.attempt_timeout), request as response:
                    status = response.status_code
                    if status == 200:
                        return await read(response, key)
                    text = await error_text(response)
                learned = sent and self.parameters.learn(sent, status, text)
                if learned and body and self.parameters.adapt(body) != sent:
                    continue
                raise RemoteError(
                    status_message(status, text, key), status, hint=self._hint(status),
                    retryable=self.retries.covers(status),
                    retry_after=retry_after_seconds(response.headers.get("retry-after")),
                )  # fmt: skip
        except TimeoutError:
            why = f"no answer within {self.attempt_timeout:g} s"
            raise RemoteError(why, retryable=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise transport_error(error, key) from None

    def _pool(self) -> _Pool:
        """Return the running loop's connections, because httpx cannot share them between loops."""
        import httpx

        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            count = self.concurrency
            limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
            # Certificates take a third of a second to load; without TLS there is none to check.
            verify = not self.url.startswith("http://")
            # No timeout here, because _request() limits the total time.
            client = httpx.AsyncClient(
                timeout=None, limits=limits, follow_redirects=False, verify=verify
            )
            self._pools[loop] = _Pool(client, asyncio.Semaphore(count))
        return self._pools[loop]

    def _hint(self, status: int) -> str:
        """Return advice for an error status, or ""."""
        if status in (401, 403) and self.key_variable:
            return f"set the key: export {self.key_variable}=..."
        return f"check the address and the model's name ({self.model})" if status == 404 else ""


class _Pool(NamedTuple):
    """The connections of one event loop."""

    client: httpx.AsyncClient
    places: asyncio.Semaphore


def _time_limit(seconds: float) -> asyncio.Timeout:
    return asyncio.timeout(seconds if seconds < math.inf else None)


async def _whole_answer(arriving: AsyncGenerator[Chunk, None]) -> Chunk:
    """Join the chunks of an answer; most servers send only one if it is not streamed."""
    text, finish, usage, reasoning, choice = "", None, None, False, dict[str, Any]()
    async for chunk in arriving:
        text += chunk.text
        finish, usage = chunk.finish or finish, chunk.usage or usage
        reasoning, choice = reasoning or chunk.reasoning, chunk.choice or choice
    return Chunk(text, finish or "stop", usage, reasoning, whole=True, choice=choice)
