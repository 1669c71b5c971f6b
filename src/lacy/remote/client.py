"""A client of OpenAI-compatible servers: vLLM, llama.cpp, a provider's API.

client = OpenAIClient("http://localhost:8000/v1", "my-model", timeout=60)
answer = await client.chat([{"role": "user", "content": "Where was Ada born?"}], max_tokens=50)
print(answer.text, answer.usage)
await client.close()
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from lacy.remote.errors import BASE_URL_HINT, OutOfTokens, RemoteError
from lacy.remote.http import HttpClient, json_object
from lacy.remote.sse import Chunk, read_chunks
from lacy.remote.wire import AcceptedParameters, without_reasoning

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class OpenAIClient(HttpClient):
    """A client of one model on one OpenAI-compatible server.

    Parameters that the server rejects are left out of later requests (``AcceptedParameters``).

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        max_bytes: maximum size of an answer in bytes.
        settings: as of ``HttpClient``: ``key_variable``, ``timeout``, ``attempt_timeout``,
            ``retries`` and ``concurrency``.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    def __init__(
        self, url: str, model: str, *, max_bytes: int = 1_000_000, **settings: Any
    ) -> None:
        super().__init__(url, **settings)
        self.model, self.max_bytes = model, max_bytes
        self.parameters = AcceptedParameters()

    async def complete(self, prompt: str | Sequence[int], **fields: Any) -> Chunk:
        """Continue a text, given as a string or as token ids, with ``/completions``.

        Args:
            prompt: the text to continue.
            fields: of the request, such as ``max_tokens=20``. ``temperature`` is 0 by default.

        Returns:
            The whole answer.

        Raises:
            RemoteError: as ``stream``.
        """
        return await self.stream("completions", {"prompt": prompt, **fields}, _whole_answer)

    async def chat(self, messages: Sequence[Mapping[str, Any]], **fields: Any) -> Chunk:
        """Return the whole answer to a conversation from ``/chat/completions``.

        If a reasoning model reaches ``max_tokens`` before it answers, it is asked once more with a
        higher limit, which also applies to later requests.

        Args:
            messages: the conversation, such as ``[{"role": "user", "content": "..."}]``.
            fields: of the request, such as ``max_tokens=20``. ``temperature`` is 0 by default.

        Raises:
            OutOfTokens: the higher limit was not enough either.
            RemoteError: as ``stream``.
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
        """Send a request and return what ``read`` makes of the answer's chunks.

        Args:
            path: ``"completions"`` or ``"chat/completions"``.
            body: fields of the request. With ``{"stream": True}``, chunks come as they are
                generated; otherwise, the whole answer is one chunk.
            read: consumes the chunks. If it stops early, the connection is closed, which ends the
                server's work. It is called again from the beginning if an attempt failed.
            deadline: time of ``time.monotonic()``; ``timeout`` seconds from now by default.

        Raises:
            RemoteError: the server gave no usable answer in time, or ``read`` raised it.
        """

        async def read_response(response: httpx.Response, key: str) -> T:
            async with aclosing(read_chunks(response, self.max_bytes, key)) as arriving:
                return await read(arriving)

        fields = {"model": self.model, "temperature": 0, **body}
        return await self.request("POST", path, fields, read=read_response, deadline=deadline)

    async def models(self) -> list[dict[str, Any]]:
        """Return the server's models, each with its ``id``.

        Raises:
            RemoteError: the server gave no list of models.
        """

        async def read(response: httpx.Response, _: str) -> list[dict[str, Any]]:
            found = (await json_object(response, self.max_bytes)).get("data")
            if not isinstance(found, list):
                raise RemoteError("the answer is no list of models", hint=BASE_URL_HINT)
            return [model for model in found if isinstance(model, dict)]

        return await self.request("GET", "models", read=read)

    def adapt(self, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the body without the parameters that the server rejected before."""
        return None if body is None else self.parameters.adapt(body)

    def learn(self, sent: dict[str, Any] | None, status: int, text: str) -> bool:
        """Learn which parameters the server rejects; True if it named some."""
        return sent is not None and self.parameters.learn(sent, status, text)

    def hint(self, status: int) -> str:
        """Return what the user can do about an error status, or ""."""
        if status == 404:
            return f"check the address and the model's name ({self.model})"
        return super().hint(status)


async def _whole_answer(arriving: AsyncGenerator[Chunk, None]) -> Chunk:
    """Join the chunks of an answer; most servers send one here."""
    text, finish, usage, reasoning, choice = "", None, None, False, dict[str, Any]()
    async for chunk in arriving:
        text += chunk.text
        finish, usage = chunk.finish or finish, chunk.usage or usage
        reasoning, choice = reasoning or chunk.reasoning, chunk.choice or choice
    return Chunk(text, finish or "stop", usage, reasoning, whole=True, choice=choice)
