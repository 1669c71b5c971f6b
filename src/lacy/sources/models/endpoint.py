"""Use a model behind an OpenAI-compatible server (llama.cpp, vLLM, a provider's API) as a source.

A base model continues the raw text (``/completions``); a chat model is instructed to do so
(``/chat/completions``). The answer is cut to one unit, as by ``LanguageModel``. Whatever the server
does, each request gets a reply in time, and its ``error`` says what went wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, get_args

from lacy._require import require_at_least, require_one_of
from lacy.remote import Chunk, OpenAIClient, RemoteError, Retries
from lacy.sources.models import chat
from lacy.sources.models.answers import READING_VERSION
from lacy.sources.models.base import (
    DEFAULT_TIMEOUT,
    Mode,
    RemoteModel,
    RequestRecord,
)
from lacy.sources.models.partial import CHARACTERS_PER_TOKEN, PartialCompletion, TokenUsage
from lacy.sources.units import drop_partial_word, whole_number
from lacy.types import Request, Unit

_NOT_OFFERED = (400, 404, 405, 422, 501)
"""Status codes that mean that completions are not offered, at all or for this model."""

_CHARACTER_TOKENS = 4
"""Tokens to request if one token was only part of a character; enough for a whole one."""

_NUMBER_TOKENS = 12
"""Tokens to request to complete a number after its first token; enough for nearly every number."""

_END_WAIT, _USAGE_WAIT = 0.25, 2.0
"""Seconds to wait after the finish reason: for the end of the stream, and for token counts."""


class Endpoint(RemoteModel):
    """A model behind an OpenAI-compatible server.

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        key_variable: environment variable that contains the API key; it is read at each request and
            never stored or shown. If None or unset, no key is sent.
        mode: ``"completions"`` sends the raw text, ``"chat"`` sends messages, ``"auto"`` tries
            completions first and uses chat if the server does not offer them for this model.
        name: the speaker in spans; by default the model's name.
        max_tokens: token limit of a request, by unit or one number for all units.
        timeout: seconds for one request, including its wait for a free connection and all retries.
        retries: number of retries after 429, 5xx and lost connections.
        first_wait: seconds before the first retry; each wait is twice as long as the previous one,
            and at least ``Retry-After``.
        concurrency: maximum number of simultaneous requests.
        price: US dollars per million tokens, or a pair: input tokens, output tokens.
        characters: maximum characters sent; longer texts are cut at the beginning.
        max_bytes: maximum size of an answer in bytes.
        body: additional fields of each request, such as ``{"reasoning_effort": "low"}``.
        stream: read the answer token by token and close the connection as soon as the unit is
            complete; with ``transformers serve``, a word takes half the time
            (``docs/how-to/endpoint.md``). Costs are then estimated, because servers send token
            counts last. False waits for the counts.

    The unit ``"token"`` is one token of a raw completion, or the whole number that it
    begins. A chat returns a word instead.

    Raises:
        LacyError: E11, httpx is not installed; E12, a setting is out of range; E72, the address
            cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = "OPENAI_API_KEY",
        mode: Mode = "auto",
        name: str | None = None,
        max_tokens: int | Mapping[Unit, int] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = 3,
        first_wait: float = 0.25,
        concurrency: int = 8,
        price: float | tuple[float, float] = 0.0,
        characters: int = 16_000,
        max_bytes: int = 1_000_000,
        body: Mapping[str, Any] | None = None,
        stream: bool = True,
    ) -> None:
        self.client = OpenAIClient(
            url, model, key_variable=key_variable, timeout=timeout, max_bytes=max_bytes,
            retries=Retries(retries, first_wait), concurrency=concurrency,
        )  # fmt: skip
        super().__init__(
            name or model, max_tokens=max_tokens, timeout=timeout, price=price,
            characters=characters, cleanup=self.client.close,
        )  # fmt: skip
        require_at_least("retries", retries, 0)
        require_at_least("first_wait", first_wait, 0.0)
        require_at_least("concurrency", concurrency, 1)
        require_at_least("max_bytes", max_bytes, 1)
        require_one_of("mode", mode, get_args(Mode))
        self.url, self.model = self.client.url, model
        self.mode: Mode = mode
        self.body, self.stream = dict(body or {}), stream
        self._offered: Mode = mode

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r}, mode={self.mode!r})"

    def settings(self) -> dict[str, Any]:
        """Return what the answers depend on; never the key."""
        return {
            "url": self.url, "model": self.model, "mode": self.mode, "body": self.body,
            "max_tokens": self.max_tokens, "characters": self.characters, "prompt": chat.PROMPT,
            "reading": READING_VERSION,
        }  # fmt: skip

    async def _continue(self, request: Request, deadline: float, record: RequestRecord) -> str:
        if self._offered == "chat":
            return await self._chat(request, deadline, record)
        try:
            text = await self._complete(request, deadline, record)
        except RemoteError as error:
            if self._offered == "completions" or error.status not in _NOT_OFFERED:
                raise
            try:
                text = await self._chat(request, deadline, record)
            except RemoteError as second:
                second.why = f"completions: {error.why}; chat: {second.why}"
                raise
            self._offered = "chat"
        else:
            self._offered = "completions"
        return text

    async def _complete(self, request: Request, deadline: float, record: RequestRecord) -> str:
        partial = PartialCompletion(request.text, request.unit, raw=True)
        limit, size = self.max_tokens[request.unit], len(request.text)

        async def ask(max_tokens: int) -> str:
            body = {"prompt": request.text, "max_tokens": max_tokens}
            return await self._ask("completions", body, partial, deadline, record, size)

        text = await ask(limit)
        if request.unit == "token" and not text and partial.ends_in_half_character:
            await ask(max(limit, _CHARACTER_TOKENS))
            text = partial.body
            text = drop_partial_word(text[: len(text) - len(text.lstrip()) + 1], "token")
        if request.tokens and text[-1:].isdigit():
            if request.text[-1:].isdigit() and text[0].isdigit():
                return ""  # it would continue a number begun by another model
            await ask(max(self.max_tokens["token"], _NUMBER_TOKENS))
            text = whole_number(partial.body, text, ended=partial.finish == "stop") or ""
        return text

    async def _chat(self, request: Request, deadline: float, record: RequestRecord) -> str:
        partial = PartialCompletion(request.text, request.unit, raw=False)
        body = {
            "messages": chat.messages(request.text),
            "max_tokens": self.max_tokens[partial.unit] + chat.CHAT_TOKENS,
        }
        size = len(request.text) + len(chat.PROMPT)
        return await self._ask("chat/completions", body, partial, deadline, record, size)

    async def _ask(
        self, path: str, body: dict[str, Any], partial: PartialCompletion, deadline: float,
        record: RequestRecord, size: int,
    ) -> str:  # fmt: skip
        """Send the request, return its unit, and add the cost of all attempts to ``record``."""
        priced = any(self.price)
        body = {**body, "stream": self.stream and partial.unit != "token"}
        if body["stream"] and priced:
            body["stream_options"] = {"include_usage": True}

        async def read(arriving: AsyncGenerator[Chunk, None]) -> str:
            partial.restart()  # ``read`` is called again for each attempt
            usage = TokenUsage.estimate(size)
            try:
                finish = await _read_unit(
                    partial, arriving, usage, _USAGE_WAIT if priced else _END_WAIT
                )
                return partial.result(finish)
            finally:
                record.cost += self.price.cost(usage.input, usage.output)

        text = await self.client.parameters.with_reasoning(
            lambda: self.client.stream(path, {**body, **self.body}, read, deadline=deadline)
        )
        record.note(self.client.parameters.note)
        return text


async def _read_unit(
    partial: PartialCompletion,
    arriving: AsyncGenerator[Chunk, None],
    usage: TokenUsage,
    wait: float,
) -> str:
    """Read an answer until its unit is complete; return the finish reason, or "" if we stopped.

    After the finish reason, only token counts can follow. We wait at most ``wait`` seconds for
    them, and errors at that stage do not affect the answer.
    """
    finish = None
    while True:
        try:
            async with asyncio.timeout(None if finish is None else wait):
                chunk = await anext(arriving, None)
        except (RemoteError, TimeoutError):
            if finish is None:
                raise
            break
        if chunk is None:
            break
        usage.output += _estimated_tokens(chunk)
        if chunk.usage:
            usage.update(chunk.usage.get("prompt_tokens"), chunk.usage.get("completion_tokens"))
        if finish in (None, "stop"):  # do not overwrite the reason of an aborted answer
            finish = chunk.finish or finish
        partial.reasoned = partial.reasoned or chunk.reasoning
        if partial.add(chunk.text):
            return ""
    return finish or "stop"


def _estimated_tokens(chunk: Chunk) -> int:
    """Estimate the tokens of a chunk; most servers send one token per chunk."""
    return -(-len(chunk.text) // CHARACTERS_PER_TOKEN) if chunk.whole else bool(chunk.text)
