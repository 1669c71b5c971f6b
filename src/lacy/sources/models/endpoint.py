"""A model behind any OpenAI-compatible server as a source: llama.cpp, vLLM, a provider's API.

A base model continues the raw text (``/completions``); a model that only chats is told to
(``/chat/completions``). What comes back is cut to one unit, as ``LanguageModel`` does. Whatever the
server does, each request ends in time with a reply; what went wrong stands in its ``error``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from lacy.errors import LacyError
from lacy.remote import (
    THOUGHT_TOKENS,
    Accepted,
    Failure,
    LoopThread,
    Piece,
    checked_url,
    pieces,
    post,
    read_key,
)
from lacy.sources.models import chat
from lacy.sources.models.answers import READING
from lacy.sources.models.growing import CHARACTERS_PER_TOKEN, Growing, Spent, Thinking
from lacy.sources.models.remote import Remote
from lacy.sources.protocol import TokenPrice
from lacy.sources.units import drop_partial_word, whole_number
from lacy.types import Candidate, Reply, Request, Unit

if TYPE_CHECKING:
    import httpx

Mode = Literal["auto", "completions", "chat"]
"""How a server is asked: with the raw text, by a conversation, or the first that it offers."""

DEFAULT_MAX_TOKENS: dict[Unit, int] = {"token": 1, "word": 12, "value": 16}
"""Most tokens asked for, by unit."""

CHAT_TOKENS = 24
"""Further tokens of a chat's answer: it may begin by repeating the end of the text."""

DEFAULT_TIMEOUT = 20.0
"""Seconds for one request with all its tries; below the 30 that an engine waits by default."""

_NOT_OFFERED = (400, 404, 405, 422, 501)
"""What servers answer where there are no completions, or not for this model."""

_WHOLE_CHARACTER = 4
"""Tokens that hold at least one character, where one token held only a part of it."""

_WHOLE_NUMBER = 12
"""Tokens that suffice for nearly every number after its first token."""

_GRACE, _PATIENCE = 0.25, 2.0
"""Seconds to wait, after the finish reason, for the end of the stream or the token count."""


@dataclass
class _Held:
    """What lives in the background thread; apart from the endpoint, which must not be kept."""

    concurrency: int
    client: httpx.AsyncClient | None = None
    free: asyncio.Semaphore | None = None
    process: int = 0

    def open(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        import httpx

        if self.process != os.getpid():  # connections and turns belong to the parent of a fork
            self.client, self.free, self.process = None, None, os.getpid()
        if self.client is None or self.free is None:
            most = httpx.Limits(
                max_connections=self.concurrency, max_keepalive_connections=self.concurrency
            )
            # No limit of its own: the deadline of each request holds for all that it waits for.
            self.client = httpx.AsyncClient(timeout=None, limits=most, follow_redirects=False)
            self.free = asyncio.Semaphore(self.concurrency)
        return self.client, self.free

    async def close(self) -> None:
        if self.client is not None:
            await self.client.aclose()


@dataclass
class _Taken:
    """What one request took, over all its tries."""

    cost: float = 0.0
    notes: list[str] = field(default_factory=list)


class Endpoint(Remote):
    """A model behind an OpenAI-compatible server.

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name there.
        key_variable: environment variable with the key; read at each request, never kept or shown.
            None, or a variable that is not set: no key is sent.
        mode: ``"completions"`` sends the raw text, ``"chat"`` sends messages, ``"auto"`` uses the
            first of them that the server offers for this model.
        name: the speaker's name; the model's name by default.
        max_tokens: most tokens per request, by unit or one number for all.
        timeout: seconds for one request, including its wait for a free slot and all retries.
        retries: further tries after 429, 5xx and lost connections.
        first_wait: seconds before the second try; each further wait is twice as long, and at least
            ``Retry-After``.
        concurrency: requests at the same time.
        price: US dollars per million tokens, or a pair: input tokens, output tokens.
        characters: most characters sent; longer texts are cut at the beginning.
        max_bytes: most bytes of an answer.
        body: further fields of each request, such as ``{"reasoning_effort": "low"}``.
        stream: read the answer token by token and close the connection as soon as the unit is
            complete: with ``transformers serve``, a word takes half the time
            (``docs/how-to/endpoint.md``). Costs are then estimated, because the server's count
            comes last; False waits for it.

    A unit ``"token"`` is one token of a raw completion, or the whole number that it begins. A chat
    gives a word instead.

    Raises:
        LacyError: E11, httpx is not installed; E12, a setting out of range; E72, an address that
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
        try:
            import httpx  # noqa: F401
        except ImportError:
            raise LacyError(
                "E11", extra_for="a model behind a server", package="httpx", extra="endpoint"
            ) from None
        self.url = checked_url(url)
        self.model = model
        self.name = name or model
        self.key_variable = key_variable
        self.mode: Mode = mode
        self.max_tokens = limits(max_tokens)
        self.timeout, self.retries, self.first_wait = timeout, retries, first_wait
        self.price = TokenPrice.of(price)
        self.characters, self.max_bytes = characters, max_bytes
        self.body, self.stream = dict(body or {}), stream
        self._check(concurrency)
        self._way: Mode = mode
        self._accepted = Accepted()
        self._held = _Held(concurrency)
        self._loop_thread = LoopThread(self._held.close)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r}, mode={self.mode!r})"

    def settings(self) -> dict[str, Any]:
        """What the answers depend on; never the key."""
        return {
            "url": self.url, "model": self.model, "mode": self.mode, "body": self.body,
            "max_tokens": self.max_tokens, "characters": self.characters, "prompt": chat.PROMPT,
            "reading": READING,
        }  # fmt: skip

    async def _all(self, requests: list[Request]) -> list[Reply]:
        deadline = time.monotonic() + self.timeout
        return list(await asyncio.gather(*(self._one(request, deadline) for request in requests)))

    async def _one(self, request: Request, deadline: float) -> Reply:
        """One reply, before the deadline, whatever happens."""
        begin = time.perf_counter()
        taken = _Taken()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                _, free = self._held.open()
                async with free:
                    text = await self._continue(request, deadline, taken)
        except TimeoutError:
            return self._nothing(f"no whole answer within {self.timeout:g} s", begin, taken)
        except Failure as failure:
            return self._nothing(f"{failure}{self._hint(failure.status)}", begin, taken)
        except Exception as error:  # a fault of ours must not end the text either
            return self._nothing(type(error).__name__, begin, taken)
        evidence = "; ".join([f"continued by {self.name}", *taken.notes])
        found = (Candidate(text, evidence),) if text else ()
        return Reply(found, cost=taken.cost, seconds=time.perf_counter() - begin)

    def _nothing(self, why: str, begin: float, taken: _Taken | None = None) -> Reply:
        seconds, cost = time.perf_counter() - begin, taken.cost if taken else 0.0
        return Reply(error=f"{self.name}: {why}", fault=True, cost=cost, seconds=seconds)

    async def _continue(self, request: Request, deadline: float, taken: _Taken) -> str:
        """The continuation, by the way that the server offers."""
        if len(request.text) > self.characters:
            request = replace(request, text=request.text[-self.characters :])
            taken.notes.append(f"which saw the last {self.characters} characters only")
        if self._way == "chat":
            return await self._by_chat(request, deadline, taken)
        try:
            text = await self._by_completion(request, deadline, taken)
        except Failure as failure:
            if self._way == "completions" or failure.status not in _NOT_OFFERED:
                raise
            try:
                text = await self._by_chat(request, deadline, taken)
            except Failure as second:
                both = f"completions: {failure}; chat: {second}"
                raise Failure(both, second.status) from None
            self._way = "chat"
        else:
            self._way = "completions"
        return text

    async def _by_completion(self, request: Request, deadline: float, taken: _Taken) -> str:
        answer = Growing(request.text, request.unit, raw=True)
        body = {"prompt": request.text, "max_tokens": self.max_tokens[request.unit]}
        size = len(request.text)
        text = await self._post("completions", body, answer, deadline, taken, size)
        if request.unit == "token" and not text and answer.half:
            body["max_tokens"] = max(self.max_tokens["token"], _WHOLE_CHARACTER)
            await self._post("completions", body, answer, deadline, taken, size)
            text = answer.body
            text = drop_partial_word(text[: len(text) - len(text.lstrip()) + 1], "token")
        if request.tokens and text[-1:].isdigit():
            if request.text[-1:].isdigit() and text[0].isdigit():
                return ""  # it would continue a number of another model
            body["max_tokens"] = max(self.max_tokens["token"], _WHOLE_NUMBER)
            await self._post("completions", body, answer, deadline, taken, size)
            text = whole_number(answer.body, text, ended=answer.finish == "stop") or ""
        return text

    async def _by_chat(self, request: Request, deadline: float, taken: _Taken) -> str:
        answer = Growing(request.text, request.unit, raw=False)
        body = {
            "messages": chat.messages(request.text),
            "max_tokens": self.max_tokens[answer.unit] + CHAT_TOKENS,
        }
        size = len(request.text) + len(chat.PROMPT)
        return await self._post("chat/completions", body, answer, deadline, taken, size)

    async def _post(
        self, path: str, body: dict[str, Any], answer: Growing, deadline: float, taken: _Taken,
        size: int,
    ) -> str:  # fmt: skip
        """Fills ``answer`` and returns its unit; usage is added to ``taken``.

        If a model's reasoning reached the token limit, it is asked once more with a higher limit,
        which also applies to later requests.
        """
        client, _ = self._held.open()
        key = read_key(self.key_variable)
        body = {"model": self.model, **body, "temperature": 0}
        body["stream"] = self.stream and answer.unit != "token"
        if body["stream"] and any(self.price):
            body["stream_options"] = {"include_usage": True}

        async def read(response: httpx.Response) -> str:
            answer.restart()  # another try starts from the beginning
            spent = Spent.guessed(size)
            try:
                arriving = pieces(response, self.max_bytes, key)
                finish = await _grow(answer, arriving, spent, patient=any(self.price))
                return answer.outcome(finish)
            finally:
                taken.cost += self.price.cost(spent.read, spent.spoken)

        while True:
            room = self._accepted.room
            try:
                text = await post(
                    client, f"{self.url}/{path}", {**body, **self.body}, read=read, key=key,
                    retries=self.retries, first_wait=self.first_wait, deadline=deadline,
                    accepted=self._accepted,
                )  # fmt: skip
            except Thinking:
                if room:
                    raise
                self._accepted.room = THOUGHT_TOKENS
                continue
            if (note := self._accepted.note) and note not in taken.notes:
                taken.notes.append(note)
            return text

    def _hint(self, status: int) -> str:
        if status in (401, 403) and self.key_variable:
            return f"; set the key: export {self.key_variable}=..."
        return f"; is {self.model} its name there?" if status == 404 else ""

    def _check(self, concurrency: int) -> None:
        ranges = {
            "timeout": (self.timeout, 0.001), "retries": (self.retries, 0),
            "first_wait": (self.first_wait, 0.0), "concurrency": (concurrency, 1),
            "characters": (self.characters, 1), "max_bytes": (self.max_bytes, 1),
            "max_tokens": (min(self.max_tokens.values()), 1),
        }  # fmt: skip
        for key, (value, least) in ranges.items():
            if not value >= least:
                do = f"give at least {least}"
                raise LacyError("E12", key=key, value=value, why="too little", do=do)
        if self.mode not in get_args(Mode):
            do = f"choose one of: {', '.join(get_args(Mode))}"
            raise LacyError("E12", key="mode", value=self.mode, why="there is no such way", do=do)


async def _grow(
    answer: Growing, stream: AsyncGenerator[Piece, None], spent: Spent, *, patient: bool
) -> str:
    """Reads an answer until the unit is complete; returns the finish reason, "" if cut off there.

    After the finish reason only the token count may follow. Errors from there on do not affect the
    answer; without patience the count is not waited for.
    """
    import httpx

    finish = None
    async with aclosing(stream) as arriving:
        while True:
            piece: Piece | None
            try:
                if finish is None:
                    piece = await anext(arriving, None)
                else:
                    async with asyncio.timeout(_PATIENCE if patient else _GRACE):
                        piece = await anext(arriving, None)
            except (Failure, httpx.HTTPError, TimeoutError):
                if finish is None:
                    raise
                break
            if piece is None:
                break
            spent.spoken += _tokens(piece)
            _told(spent, piece.usage)
            finish = _worse(finish, piece.finish)
            answer.thought = answer.thought or piece.thought
            if answer.add(piece.text):
                return ""
    return finish or "stop"


def _worse(finish: str | None, other: str | None) -> str | None:
    """The more important of two finish reasons: one that aborted the answer comes first."""
    if finish is None or (other is not None and finish == "stop"):
        return other
    return finish


def _tokens(piece: Piece) -> int:
    """Estimated tokens of a piece: most servers send one token at a time."""
    if piece.whole:
        return -(-len(piece.text) // CHARACTERS_PER_TOKEN)
    return bool(piece.text)


def _told(spent: Spent, usage: Any) -> None:
    if isinstance(usage, dict):
        spent.told(usage.get("prompt_tokens"), usage.get("completion_tokens"))


def limits(max_tokens: int | Mapping[Unit, int] | None) -> dict[Unit, int]:
    """Most tokens by unit, the defaults where nothing is said."""
    if isinstance(max_tokens, int):
        return {"token": max_tokens, "word": max_tokens, "value": max_tokens}
    return {**DEFAULT_MAX_TOKENS, **(max_tokens or {})}
