"""Format answers as OpenAI does, whole or as server-sent events, with a field ``lacy`` added."""

from __future__ import annotations

import codecs
import json
import math
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lacy.cascade import ScoredSpan, TokenScore
from lacy.serve.bodies import ResponseBody
from lacy.serve.choice import Choice, spans_as_dicts
from lacy.serve.errors import as_api_error
from lacy.serve.generation import Generation, StreamUpdate
from lacy.types import Span

PING = b": ping\n\n"
"""A comment between server-sent events. Clients ignore it; it keeps proxies from timing out."""

LOWEST_LOGPROB = -9999.0
"""OpenAI's value for -inf, which JSON does not have."""

Status = Literal["in_progress", "completed", "incomplete", "failed"]


def _event(data: dict[str, Any]) -> bytes:
    """Return data as a server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


@dataclass
class CompletionFormat:
    """The format of ``/v1/completions`` and ``/v1/chat/completions`` for one response."""

    kind: Literal["completion", "chat"]
    model: str
    policy: str
    id: str = field(default="", init=False)
    created: int = field(default_factory=lambda: int(time.time()), init=False)
    _sent: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int), init=False)
    """Number of characters of each answer that have been sent in chunks."""
    _usage: bool = field(default=False, init=False)
    """True if the last chunk has token counts."""

    def __post_init__(self) -> None:
        prefix = "cmpl" if self.kind == "completion" else "chatcmpl"
        self.id = f"{prefix}-{uuid.uuid4().hex}"

    def whole(self, generation: Generation) -> dict[str, Any]:
        """Return the complete response with all answers."""
        choices = []
        for index, choice in enumerate(generation.choices):
            content: dict[str, Any] = {"text": choice.text}
            if self.kind == "chat":
                message = {"role": "assistant", "content": choice.text, "refusal": None}
                content = {"message": message}
            lacy = {"policy": self.policy, **choice.summary(), **generation.hint(index)}
            logprobs = self._logprobs(generation, choice.scored, 0)
            choices.append(_choice(index, content, lacy, choice.finish, logprobs))
        return self._envelope(choices, chunk=False) | {"usage": _usage(generation)}

    async def chunks(
        self, generation: Generation, usage_wanted: bool, timeout: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yield server-sent events; a failure during generation is an event too.

        After every ``timeout`` seconds without an event, yield a comment.
        """
        self._usage = usage_wanted
        try:
            if self.kind == "chat":
                for index in range(len(generation.choices)):
                    delta = {"role": "assistant", "content": ""}
                    yield self._chunk([_choice(index, {"delta": delta}, {"spans": []})])
            async for update in generation.updates(timeout):
                yield PING if update is None else self._chunk([self._update(generation, update)])
            if usage_wanted:  # null in all other chunks, as in OpenAI's reference
                yield _event(self._envelope([], chunk=True) | {"usage": _usage(generation)})
        except Exception as error:
            yield _event(as_api_error(error).body)
        finally:
            generation.cancel()
        yield b"data: [DONE]\n\n"

    def _update(self, generation: Generation, update: StreamUpdate) -> dict[str, Any]:
        text = "".join(span.text for span in update.spans)
        content: dict[str, Any] = {"text": text}
        if self.kind == "chat":
            content = {"delta": {"content": text} if text or not update.ended else {}}
        lacy: dict[str, Any] = {"spans": spans_as_dicts(update.spans)}
        finish = None
        if update.ended:
            choice = generation.choices[update.index]
            lacy = {"policy": self.policy, **choice.summary(), **lacy}
            lacy |= generation.hint(update.index)
            finish = choice.finish
        logprobs = self._logprobs(generation, update.spans, self._sent[update.index])
        self._sent[update.index] += len(text)
        return _choice(update.index, content, lacy, finish, logprobs)

    def _logprobs(
        self, generation: Generation, spans: Sequence[Span], offset: int
    ) -> dict[str, Any] | None:
        """Return the log-probabilities of spans that start at character ``offset`` of an answer."""
        top = generation.request.logprobs
        if top is None:
            return None
        return chat_logprobs(spans) if self.kind == "chat" else text_logprobs(spans, offset, top)

    def _chunk(self, choices: list[dict[str, Any]]) -> bytes:
        return _event(self._envelope(choices, chunk=True))

    def _envelope(self, choices: list[dict[str, Any]], *, chunk: bool) -> dict[str, Any]:
        kind = "text_completion"
        if self.kind == "chat":
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"choices": choices} | ({"usage": None} if self._usage else {})


def _choice(
    index: int,
    content: dict[str, Any],
    lacy: dict[str, Any],
    finish: str | None = None,
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    end = {"logprobs": logprobs, "finish_reason": finish, "lacy": lacy}
    return {"index": index, **content, **end}


def _usage(generation: Generation) -> dict[str, int]:
    """Return the token counts."""
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


@dataclass
class ResponseFormat:
    """The format of ``/v1/responses`` for one response.

    Args:
        body: the request.
        policy: the policy by which the model calls.
        temperature, top_p: the sampling parameters.
    """

    body: ResponseBody
    policy: str
    temperature: float
    top_p: float
    created: int = field(default_factory=lambda: int(time.time()), init=False)
    _sequence_number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.id, self.item_id = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"

    def whole(self, generation: Generation) -> dict[str, Any]:
        """Return the complete response."""
        return self._response(_status(generation.choices[0]), generation)

    async def chunks(
        self, generation: Generation, usage_wanted: bool, timeout: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yield server-sent events; a failure during generation is an event too.

        After every ``timeout`` seconds without an event, yield a comment.
        """
        place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        try:
            for kind in ("created", "in_progress"):
                yield self._event(kind, response=self._response("in_progress"))
            item = self._item("in_progress", [])
            yield self._event("output_item.added", output_index=0, item=item)
            yield self._event("content_part.added", **place, part=_part("", []))
            async for update in generation.updates(timeout):
                if update is None:
                    yield PING
                elif update.spans:
                    delta = self._delta(update.spans, generation)
                    yield self._event("output_text.delta", **place, **delta)
            choice = generation.choices[0]
            status, part = _status(choice), self._content(choice, generation)
            done = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("output_text.done", **place, **done)
            yield self._event("content_part.done", **place, part=part)
            item = self._item(status, [part])
            yield self._event("output_item.done", output_index=0, item=item)
            yield self._event(status, response=self._response(status, generation))
        except Exception as error:
            failure = as_api_error(error)
            details = {"code": failure.code, "message": str(failure), "param": failure.param}
            yield self._typed_event("error", details)
            problem = {"code": "server_error", "message": str(failure)}
            yield self._event("failed", response=self._response("failed") | {"error": problem})
        finally:
            generation.cancel()

    def _delta(self, spans: list[Span], generation: Generation) -> dict[str, Any]:
        text = "".join(span.text for span in spans)
        lacy = {"spans": spans_as_dicts(spans)}
        return {"delta": text, "logprobs": _response_logprobs(spans, generation), "lacy": lacy}

    def _event(self, kind: str, **data: Any) -> bytes:
        return self._typed_event(f"response.{kind}", data)

    def _typed_event(self, kind: str, data: dict[str, Any]) -> bytes:
        number, self._sequence_number = self._sequence_number, self._sequence_number + 1
        head = {"type": kind, "sequence_number": number}
        return f"event: {kind}\n".encode() + _event(head | data)

    def _content(self, choice: Choice, generation: Generation) -> dict[str, Any]:
        return _part(choice.text, _response_logprobs(choice.scored, generation))

    def _item(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.item_id, "type": "message", "status": status, "role": "assistant"}
        return head | {"content": content}

    def _response(self, status: Status, generation: Generation | None = None) -> dict[str, Any]:
        """Return the response object; without ``generation``, its state before the start."""
        body, ended = self.body, status in ("completed", "incomplete")
        output, usage, lacy = [], None, None
        if generation is not None:
            choice = generation.choices[0]
            output = [self._item(status, [self._content(choice, generation)])]
            usage = _response_usage(generation)
            lacy = {"policy": self.policy, **choice.summary()}
        cut_off = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status,
            "completed_at": int(time.time()) if ended else None, "background": False,
            "error": None, "incomplete_details": cut_off, "instructions": body.instructions,
            "max_output_tokens": body.limit, "max_tool_calls": None, "model": body.model,
            "output": output, "parallel_tool_calls": True, "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None}, "store": False,
            "temperature": self.temperature, "text": {"format": {"type": "text"}},
            "tool_choice": "auto", "tools": [], "top_logprobs": body.top_logprobs or 0,
            "top_p": self.top_p, "truncation": "disabled", "usage": usage, "user": None,
            "metadata": body.metadata if isinstance(body.metadata, dict) else {},
            "lacy": lacy,
        }  # fmt: skip


def _status(choice: Choice) -> Status:
    return "completed" if choice.finish == "stop" else "incomplete"


def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _response_logprobs(spans: Sequence[Span], generation: Generation) -> list[dict[str, Any]]:
    return [] if generation.request.logprobs is None else chat_logprobs(spans)["content"]


def _response_usage(generation: Generation) -> dict[str, Any]:
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def text_logprobs(spans: Sequence[Span], offset: int, top: int) -> dict[str, Any]:
    """Return the field ``logprobs`` of a completion.

    Args:
        spans: consecutive spans of an answer.
        offset: number of characters of the answer before these spans.
        top: 0 to leave out the likeliest tokens.
    """
    scores: list[TokenScore] = []
    offsets: list[int] = []
    for span in spans:
        if isinstance(span, ScoredSpan):
            offsets += [offset + place for place in _token_offsets(span)]
            scores += span.scores
        offset += len(span.text)
    return {
        "tokens": [_token_text(score.text) for score in scores],
        "token_logprobs": [_finite(score.logprob) for score in scores],
        "top_logprobs": [_likeliest(score) for score in scores] if top else None,
        "text_offset": offsets,
    }


def chat_logprobs(spans: Sequence[Span]) -> dict[str, Any]:
    """Return the field ``logprobs`` of a chat message; as at OpenAI, without the end token."""
    scores = [
        score
        for span in spans
        if isinstance(span, ScoredSpan) and (span.text or span.tokens)
        for score in span.scores
    ]
    content = [
        _token(score.text, score.logprob)
        | {"top_logprobs": [_token(text, logprob) for text, logprob in score.top]}
        for score in scores
    ]
    return {"content": content, "refusal": None}


def _token(text: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": _token_text(text), "logprob": _finite(logprob), "bytes": list(text)}


def _likeliest(score: TokenScore) -> dict[str, float] | None:
    """Return the likeliest tokens and the chosen one; if texts are equal, the likelier token."""
    if score.logprob is None:
        return None
    logprob_of: dict[str, float] = {}
    for text, logprob in (*score.top, (score.text, score.logprob)):
        logprob_of.setdefault(_token_text(text), _finite(logprob) or 0.0)
    return logprob_of


def _token_offsets(span: ScoredSpan) -> list[int]:
    """Return the positions in a span's text at which its tokens begin."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    raw = b"".join(score.text for score in span.scores)
    # Some tokenizers add a space at the beginning of a text; it is not part of the span's text.
    extra = raw.startswith(b" ") and not span.text.startswith(" ")
    offsets, end = [], -int(extra)
    for score in span.scores:
        offsets.append(min(max(end, 0), len(span.text)))
        end += len(decoder.decode(score.text))
    return offsets


def _token_text(text: bytes) -> str:
    """Return a token's text; bytes that are not valid UTF-8 are written as OpenAI does."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)


def _finite(logprob: float | None) -> float | None:
    if logprob is None or math.isnan(logprob):
        return None
    return max(logprob, LOWEST_LOGPROB)
