"""Answers in OpenAI's shapes, whole or in chunks, with ``lacy`` beside every choice."""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lacy.serve.choice import as_dicts
from lacy.serve.failures import as_api_error
from lacy.serve.logprobs import of_chat, of_completion
from lacy.serve.writing import News, Writing
from lacy.types import Span

Kind = Literal["completion", "chat"]

PING = b": ping\n\n"
"""A comment between server-sent events."""


@dataclass
class Shape:
    """The envelope of one response."""

    kind: Kind
    model: str
    policy: str
    id: str = field(default="", init=False)
    created: int = field(default_factory=lambda: int(time.time()), init=False)
    _said: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int), init=False)
    """Characters of each answer that have been sent in chunks."""
    _counts: bool = field(default=False, init=False)
    """Whether the last chunk counts tokens."""

    def __post_init__(self) -> None:
        prefix = "cmpl" if self.kind == "completion" else "chatcmpl"
        self.id = f"{prefix}-{uuid.uuid4().hex}"

    def whole(self, writing: Writing) -> dict[str, Any]:
        """All answers at once."""
        choices = []
        for index, choice in enumerate(writing.choices):
            words: dict[str, Any] = {"text": choice.text}
            if self.kind == "chat":
                words = {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
            account = {"policy": self.policy, **choice.account(), **writing.hint(index)}
            logprobs = self._logprobs(writing, choice.scored, 0)
            end = {"logprobs": logprobs, "finish_reason": choice.finish, "lacy": account}
            choices.append({"index": index, **words, **end})
        return self._envelope(choices, chunk=False) | {"usage": usage(writing)}

    async def chunks(
        self, writing: Writing, usage_wanted: bool, patience: float | None = None
    ) -> AsyncIterator[bytes]:
        """Server-sent events; a failure under way is an event too, and the stream ends well.

        After every ``patience`` seconds of silence comes a comment, which clients pass over and
        for which proxies keep the connection open.
        """
        self._counts = usage_wanted
        try:
            if self.kind == "chat":
                for index in range(len(writing.choices)):
                    delta = {"role": "assistant", "content": ""}
                    yield self._event([self._part(index, {"delta": delta}, {"spans": []})])
            async for news in writing.news(patience):
                yield PING if news is None else self._event([self._news(writing, news)])
            if usage_wanted:  # null in every other chunk, as in OpenAI's reference
                yield event(self._envelope([], chunk=True) | {"usage": usage(writing)})
        except Exception as error:
            yield event(as_api_error(error).body)
        finally:
            writing.cancel()
        yield b"data: [DONE]\n\n"

    def _news(self, writing: Writing, news: News) -> dict[str, Any]:
        text = "".join(piece.text for piece in news.pieces)
        words: dict[str, Any] = {"text": text}
        if self.kind == "chat":
            words = {"delta": {"content": text} if text or not news.ended else {}}
        account: dict[str, Any] = {"spans": as_dicts(news.pieces)}
        if news.ended:
            whole = writing.choices[news.index].account()
            account |= {"policy": self.policy, **whole, "spans": account["spans"]}
            account |= writing.hint(news.index)
        finish = writing.choices[news.index].finish if news.ended else None
        logprobs = self._logprobs(writing, news.pieces, self._said[news.index])
        self._said[news.index] += len(text)
        return self._part(news.index, words, account, finish, logprobs)

    def _part(
        self,
        index: int,
        words: dict[str, Any],
        account: dict[str, Any],
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        end = {"logprobs": logprobs, "finish_reason": finish, "lacy": account}
        return {"index": index, **words, **end}

    def _logprobs(
        self, writing: Writing, pieces: Sequence[Span], offset: int
    ) -> dict[str, Any] | None:
        """Of pieces that stand ``offset`` characters into an answer, where they are wanted."""
        top = writing.wanted.scored
        if top is None:
            return None
        return of_chat(pieces) if self.kind == "chat" else of_completion(pieces, offset, top)

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        return event(self._envelope(choices, chunk=True))

    def _envelope(self, choices: list[dict[str, Any]], *, chunk: bool) -> dict[str, Any]:
        what = "text_completion"
        if self.kind == "chat":
            what = "chat.completion.chunk" if chunk else "chat.completion"
        head = {"id": self.id, "object": what, "created": self.created, "model": self.model}
        return head | {"choices": choices} | ({"usage": None} if self._counts else {})


def usage(writing: Writing) -> dict[str, int]:
    """Token counts as OpenAI gives them."""
    asked, said = writing.prompt_tokens, writing.completion_tokens
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def event(data: dict[str, Any]) -> bytes:
    """Formats data as a server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
