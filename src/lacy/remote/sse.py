"""Read answers of servers: server-sent events (the WHATWG standard and variants of it) or JSON.

The first bytes of the body decide between the two, because servers send wrong content types. A
stream that ends early or contains invalid data raises ``RemoteError``; the caller's deadline ends
slow and endless streams. Generated text is never interpreted as an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lacy.remote.errors import BASE_URL_HINT, RemoteError, redact
from lacy.remote.http import read_bytes
from lacy.remote.wire import content_text, error_message, finish_reason

if TYPE_CHECKING:
    import httpx

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\r\n|\r|\n")
_KEEP_ALIVE = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
_SURROGATE_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")
_INCOMPLETE_END = re.compile("[\ud800-\udbff\udc80-\udcff]+$")
_PREFIX_BYTES = len(b"retry:")
"""Number of bytes that suffice to recognise the format."""
_MAX_INCOMPLETE = 3
"""Maximum number of bytes of an incomplete UTF-8 character."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of an answer in one event, or the whole answer if the server does not stream."""

    text: str = ""
    finish: str | None = None
    """Why the answer ended: "stop" if the model ended it, "length" at the token limit, another word
    if it was aborted; None if the answer continues."""
    usage: dict[str, Any] | None = None
    """Token counts; most servers send them with the last event."""
    reasoning: bool = False
    """True if this is reasoning, which is not part of the text."""
    whole: bool = False
    """True if this is the whole answer."""
    choice: dict[str, Any] = field(default_factory=dict)
    """The choice as the server sent it; it may contain log-probabilities, for example."""


async def read_chunks(
    response: httpx.Response, max_bytes: int, key: str = ""
) -> AsyncGenerator[Chunk, None]:
    """Yield the chunks of a streamed or whole answer.

    Args:
        response: a response whose body has not been read.
        max_bytes: maximum total bytes of all events.
        key: the API key, so that it can be removed from error messages.

    Raises:
        RemoteError: the answer contains no events, is not UTF-8 or JSON, is an error, is too long,
            or ends early (the last one is retryable).
    """
    characters = _Characters()
    finished = answered = False
    async with aclosing(_messages(response, max_bytes)) as arriving:
        async for kind, data in arriving:
            if _is_done(data):
                finished = True
                break
            for event in _events(kind, data, key):
                chunk = _chunk_of(event)
                if event["choices"]:
                    answered = True
                    finished = finished or chunk.finish is not None
                elif answered and chunk.usage is not None:
                    finished = True  # do not stop yet: token counts come last
                text = characters.add(chunk.text, end=bool(chunk.finish))
                yield chunk if text == chunk.text else replace(chunk, text=text)
    if not finished:
        raise RemoteError("the stream ended before the answer did", retryable=True)
    if not answered:
        raise RemoteError("the answer has no choices", hint=BASE_URL_HINT)
    if rest := characters.add("", end=True):
        yield Chunk(rest)


# ------------------------------------------------------------------------------ bytes to messages


async def _messages(
    response: httpx.Response, max_bytes: int
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield ``(kind, data)`` of each message; kind is the event's name, "line" or "json"."""
    is_stream = "event-stream" in response.headers.get("content-type", "").lower()
    reader: _EventReader | _JsonReader | None = None
    prefix = b""
    async with aclosing(read_bytes(response, max_bytes)) as arriving:
        async for raw in arriving:
            if reader is None:
                prefix += raw
                if len(prefix.removeprefix(_BOM).lstrip()) < _PREFIX_BYTES:
                    continue  # not enough bytes yet to recognise the format
                raw = prefix.removeprefix(_BOM)
                reader = _reader(raw, is_stream)
            for message in reader.add(raw):
                yield message
    if reader is None:
        reader = _reader(prefix.removeprefix(_BOM), is_stream)
        for message in reader.add(prefix.removeprefix(_BOM)):
            yield message
    for message in reader.end():
        yield message


def _reader(raw: bytes, is_stream: bool) -> _EventReader | _JsonReader:
    first = raw.lstrip()[:1]
    if first in (b"{", b"["):
        return _JsonReader(is_stream)
    has_field = re.match(rb"\s*(?:data|event|id|retry|error|):", raw)
    return _EventReader() if has_field or (is_stream and first != b"<") else _JsonReader(is_stream)


class _EventReader:
    """Parses server-sent events: lines end in CR, LF or CR LF, and a blank line ends an event."""

    def __init__(self) -> None:
        self._rest, self._after_cr = b"", False
        self._kind, self._data = "", list[bytes]()

    def add(self, raw: bytes) -> Iterator[tuple[str, bytes]]:
        if self._after_cr and raw[:1] == b"\n":  # the second half of a CR LF
            raw = raw[1:]
        self._after_cr = raw[-1:] == b"\r"
        *lines, self._rest = _LINE.split(self._rest + raw)
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Yield the last event, because some servers omit the blank line after it."""
        yield from self._line(self._rest)
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[tuple[str, bytes]]:
        name, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if any(self._data):
                yield self._kind, b"\n".join(self._data)
            self._kind, self._data = "", []
        elif name == b"data" and (colon or not value):
            while value.startswith(b"data:"):  # some proxies wrap events twice
                value = value[5:].removeprefix(b" ")
            self._data.append(value)
        elif name == b"event":
            self._kind = value.decode("utf-8", errors="replace").strip()
        elif name == b"error" and value.strip():  # llama.cpp sends errors in this field
            yield "error", value
        elif line[:1] in (b"{", b"<"):
            raise RemoteError("the answer is not a stream of events")


class _JsonReader:
    """Parses a whole answer as JSON, or one JSON value per line."""

    def __init__(self, is_stream: bool) -> None:
        self._body, self._is_stream = list[bytes](), is_stream

    def add(self, raw: bytes) -> Iterator[tuple[str, bytes]]:
        self._body.append(raw)
        return iter(())

    def end(self) -> Iterator[tuple[str, bytes]]:
        body = b"".join(self._body).strip()
        lines = [line for line in _LINE.split(body) if line.strip()]
        if len(lines) < 2 or _loads(body) is not None:
            yield "json", body
        elif all(_loads(line) is not None or line.strip() == b"[DONE]" for line in lines):
            for line in lines:
                yield "line", line
        elif self._is_stream:
            raise RemoteError("the answer is not a stream of events")
        else:
            yield "json", body


# ----------------------------------------------------------------------------- messages to events


def _is_done(data: bytes) -> bool:
    return data.strip().strip(b'"').removeprefix(b"data:").strip().upper() in (b"[DONE]", b"DONE")


def _loads(data: bytes) -> Any:
    """Return the parsed JSON, or None if it is invalid."""
    try:
        return json.loads(data.decode("utf-8", errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _events(kind: str, data: bytes, key: str) -> Iterator[dict[str, Any]]:
    """Yield the validated events in one message; without blank lines, there is one per line."""
    name = "the answer" if kind == "json" else "an event of the answer"
    hint = BASE_URL_HINT if kind == "json" else ""
    found = [_loads(data)]
    if found == [None] and kind != "json":
        found = [_loads(line) for line in data.split(b"\n") if line.strip() and not _is_done(line)]
    for event in found:
        if kind in _KEEP_ALIVE or data.strip() == b"null":
            continue
        if event is None:
            if kind == "error":
                raise RemoteError(redact(data.decode("utf-8", errors="replace"), key))
            if kind == "json" and not _is_utf8(data):
                raise RemoteError("the answer is not UTF-8")
            raise RemoteError(f"{name} is not JSON", hint=hint)
        if not isinstance(event, dict):
            raise RemoteError(f"{name} is not a JSON object", hint=hint)
        if kind == "error" and not event.get("error"):
            event = {"error": event}
        yield _validated(event, key, whole=kind == "json")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _validated(event: dict[str, Any], key: str, *, whole: bool) -> dict[str, Any]:
    """Convert an event to OpenAI's format with a list of at most one choice."""
    choices = event.get("choices")
    if choices is None:
        choices = _foreign_choices(event)
    if isinstance(choices, list):  # if there are several answers, use the first
        choices = [one for one in choices if not isinstance(one, dict) or not one.get("index")][:1]
    for one in (event, *(choices if isinstance(choices, list) else ())):
        if isinstance(one, dict) and (one.get("error") or one.get("object") == "error"):
            raise RemoteError(error_message(one, key) or "the server aborted with an error")
    valid = isinstance(choices, list) and all(isinstance(one, dict) for one in choices)
    if not valid or (whole and not choices):
        raise RemoteError("the answer has no choices", hint=BASE_URL_HINT)
    return {**event, "choices": choices, "whole": whole}


def _foreign_choices(event: dict[str, Any]) -> list[Any]:
    """Convert events of Ollama, llama.cpp, Anthropic and the Responses API to OpenAI's choices."""
    delta, kind = event.get("delta"), event.get("type")
    if isinstance(event.get("done"), bool):
        finish = (event.get("done_reason") or "stop") if event["done"] else None
        message = event.get("message")
        delta = message if isinstance(message, dict) else {"content": event.get("response") or ""}
        return [{"delta": delta, "finish_reason": finish}]
    if isinstance(event.get("content"), str) and isinstance(event.get("stop"), bool):
        finish = "length" if event.get("stopped_limit") else "stop"
        return [{"text": event["content"], "finish_reason": finish if event["stop"] else None}]
    if kind == "response.output_text.delta" and isinstance(delta, str):
        return [{"delta": {"content": delta}}]
    if kind == "response.completed" or kind == "message_stop":
        return [{"delta": {}, "finish_reason": "stop"}]
    if isinstance(delta, dict) and kind in ("content_block_delta", "message_delta"):
        content = {"content": delta.get("text"), "reasoning": delta.get("thinking")}
        return [{"delta": content, "finish_reason": delta.get("stop_reason")}]
    return []


def _chunk_of(event: dict[str, Any]) -> Chunk:
    """Return the chunk in a validated event.

    Raises:
        RemoteError: the text is missing or invalid.
    """
    choice = event["choices"][0] if event["choices"] else {}
    finish, whole = finish_reason(choice.get("finish_reason")), event["whole"]
    inner = next((choice[k] for k in ("delta", "message") if isinstance(choice.get(k), dict)), None)
    message: dict[str, Any] = inner or {}
    content = choice.get("text") if inner is None else message.get("content")
    if inner is not None and content is None:
        content = message.get("text", choice.get("text"))
    text = content_text(content)
    missing = inner == {} or (inner is None and "text" not in choice)
    if (content is not None and text is None) or (whole and missing):
        raise RemoteError("the answer has no text")
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str) and refusal.strip():
        finish = f"refusal: {redact(refusal)}"
    elif not text and finish == "stop" and any(map(message.get, ("tool_calls", "function_call"))):
        finish = "tool_calls"
    reasoning = any(map(message.get, ("reasoning_content", "reasoning", "thinking")))
    reasoning = reasoning or (isinstance(content, list) and bool(content) and not text)
    usage = event.get("usage") if isinstance(event.get("usage"), dict) else None
    finish = finish or ("stop" if whole else None)
    return Chunk(text or "", finish, usage, reasoning, whole, choice)


class _Characters:
    """Joins characters that a server split into UTF-8 bytes or halves of surrogate pairs."""

    def __init__(self) -> None:
        self._incomplete = ""

    def add(self, text: str, *, end: bool) -> str:
        """Return the complete characters so far; keep an incomplete one for the next call."""
        text, self._incomplete = self._incomplete + text, ""
        if text.isascii():  # fast path
            return text
        tail = None if end else _INCOMPLETE_END.search(text)
        if tail and len(tail.group()) <= _MAX_INCOMPLETE:
            text, self._incomplete = text[: tail.start()], tail.group()
        text = _SURROGATE_PAIRS.sub(_join_pair, text)
        return _ESCAPED_BYTES.sub(_decode_bytes, text)


def _join_pair(pair: re.Match[str]) -> str:
    return pair.group().encode("utf-16", "surrogatepass").decode("utf-16")


def _decode_bytes(match: re.Match[str]) -> str:
    try:
        return match.group().encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteError("an event of the answer is not UTF-8") from None
