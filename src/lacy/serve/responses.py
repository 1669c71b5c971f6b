"""Formats answers of ``/v1/responses``, as one object or as a stream of typed events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lacy.serve.choice import Choice, as_dicts
from lacy.serve.failures import as_api_error
from lacy.serve.logprobs import of_chat
from lacy.serve.response_bodies import ResponseBody
from lacy.serve.shapes import PING, event
from lacy.serve.writing import News, Writing
from lacy.types import Span

Status = Literal["in_progress", "completed", "incomplete", "failed"]


@dataclass
class ResponseShape:
    """The envelope of one response, with ``lacy`` beside its output.

    Args:
        body: the request.
        policy: when the model calls.
        temperature, top_p: the sampling parameters.
    """

    body: ResponseBody
    policy: str
    temperature: float
    top_p: float
    created: int = field(default_factory=lambda: int(time.time()), init=False)
    _number: int = field(default=0, init=False)
    """Number of events sent so far."""

    def __post_init__(self) -> None:
        self.id, self.item_id = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"

    def whole(self, writing: Writing) -> dict[str, Any]:
        """The complete answer."""
        return self._response(_status(writing.choices[0]), writing)

    async def chunks(
        self, writing: Writing, usage_wanted: bool, patience: float | None = None
    ) -> AsyncIterator[bytes]:
        """Server-sent events; a failure during generation is an event too.

        After every ``patience`` seconds of silence, a comment is sent. Clients ignore it, and
        proxies keep the connection open.
        """
        place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        try:
            for kind in ("created", "in_progress"):
                yield self._event(kind, response=self._response("in_progress"))
            item = self._item("in_progress", [])
            yield self._event("output_item.added", output_index=0, item=item)
            yield self._event("content_part.added", **place, part=_part("", []))
            async for news in writing.news(patience):
                if news is None:
                    yield PING
                elif news.pieces:
                    yield self._event("output_text.delta", **place, **self._told(news, writing))
            choice = writing.choices[0]
            status, part = _status(choice), self._said(choice, writing)
            done = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("output_text.done", **place, **done)
            yield self._event("content_part.done", **place, part=part)
            item = self._item(status, [part])
            yield self._event("output_item.done", output_index=0, item=item)
            yield self._event(status, response=self._response(status, writing))
        except Exception as error:
            told = as_api_error(error)
            said = {"code": told.code, "message": str(told), "param": told.param}
            yield self._sent("error", said)
            failure = {"code": "server_error", "message": str(told)}
            yield self._event("failed", response=self._response("failed") | {"error": failure})
        finally:
            writing.cancel()

    def _told(self, news: News, writing: Writing) -> dict[str, Any]:
        text = "".join(piece.text for piece in news.pieces)
        spans = {"spans": as_dicts(news.pieces)}
        return {"delta": text, "logprobs": _logprobs(news.pieces, writing), "lacy": spans}

    def _event(self, kind: str, **told: Any) -> bytes:
        return self._sent(f"response.{kind}", told)

    def _sent(self, kind: str, told: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        head = {"type": kind, "sequence_number": number}
        return f"event: {kind}\n".encode() + event(head | told)

    def _said(self, choice: Choice, writing: Writing) -> dict[str, Any]:
        return _part(choice.text, _logprobs(choice.scored, writing))

    def _item(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.item_id, "type": "message", "status": status, "role": "assistant"}
        return head | {"content": content}

    def _response(self, status: Status, writing: Writing | None = None) -> dict[str, Any]:
        """The response object; without ``writing``, the one before generation starts."""
        body, ended = self.body, status in ("completed", "incomplete")
        output, usage, account = [], None, None
        if writing is not None:
            choice = writing.choices[0]
            output = [self._item(status, [self._said(choice, writing)])]
            usage = _usage(writing)
            account = {"policy": self.policy, **choice.account()}
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status,
            "completed_at": int(time.time()) if ended else None, "background": False,
            "error": None, "incomplete_details": cut, "instructions": body.instructions,
            "max_output_tokens": body.limit, "max_tool_calls": None, "model": body.model,
            "output": output, "parallel_tool_calls": True, "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None}, "store": False,
            "temperature": self.temperature, "text": {"format": {"type": "text"}},
            "tool_choice": "auto", "tools": [], "top_logprobs": body.top_logprobs or 0,
            "top_p": self.top_p, "truncation": "disabled", "usage": usage, "user": None,
            "metadata": body.metadata if isinstance(body.metadata, dict) else {},
            "lacy": account,
        }  # fmt: skip


def _status(choice: Choice) -> Status:
    return "completed" if choice.finish == "stop" else "incomplete"


def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _logprobs(pieces: Sequence[Span], writing: Writing) -> list[dict[str, Any]]:
    return [] if writing.wanted.scored is None else of_chat(pieces)["content"]


def _usage(writing: Writing) -> dict[str, Any]:
    asked, said = writing.prompt_tokens, writing.completion_tokens
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + said,
    }
