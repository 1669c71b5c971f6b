"""Parses servers' answers: server-sent events (the WHATWG standard and its dialects) or JSON.

The beginning of a body decides which it is, whatever its header says. A stream that breaks off or
contains invalid data raises ``Failure`` with a message; a slow or endless one is left to the
caller's deadline. The content of a text is never interpreted as an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lacy.remote.http import Failure, readable
from lacy.remote.wire import finish_of, plain, text_of, told_error

if TYPE_CHECKING:
    import httpx

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\r\n|\r|\n")
_QUIET = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]+")
_OPEN_END = re.compile("[\ud800-\udbff\udc80-\udcff]+$")
_LOOKED_AT = len(b"retry:")
_MOST_OPEN = 3
"""Bytes of a character that others may follow."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event adds to an answer."""

    text: str = ""
    finish: str | None = None
    """The finish reason, if the answer ends: ``"stop"`` by itself, ``"length"`` at the limit; any
    other word means that it was aborted."""
    usage: dict[str, Any] | None = None
    """Tokens that it took, where a server says so (with the last event)."""
    thought: bool = False
    """Whether it is reasoning, which is not part of the text."""
    whole: bool = False
    """Whether it is the whole answer."""


async def pieces(
    response: httpx.Response, max_bytes: int, key: str = ""
) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer, streamed or whole.

    Args:
        response: a response whose body has not been read.
        max_bytes: most bytes of all events together.
        key: the API key, which is removed from messages.

    Raises:
        Failure: no events, not UTF-8, not JSON, an error of the server, too long, or a stream that
            ends before the answer does (``again``: a retry may help).
    """
    joined = _Characters()
    async with aclosing(events(response, max_bytes, key)) as arriving:
        async for event in arriving:
            piece = piece_of(event)
            text = joined.add(piece.text, end=bool(piece.finish))
            yield piece if text == piece.text else replace(piece, text=text)
    if rest := joined.add("", end=True):
        yield Piece(rest)


async def events(
    response: httpx.Response, max_bytes: int, key: str = ""
) -> AsyncGenerator[dict[str, Any], None]:
    """The events themselves, each with a list of choices; arguments and errors of ``pieces``."""
    finished = chosen = False
    async with aclosing(_messages(response, max_bytes)) as arriving:
        async for kind, data in arriving:
            if _done(data):
                finished = True
                break
            for event in _parsed(kind, data, key):
                if choices := event["choices"]:
                    chosen = True
                    finish = finish_of(choices[0].get("finish_reason"))
                    finished = finished or finish is not None or event["whole"]
                elif chosen and isinstance(event.get("usage"), dict):
                    finished = True  # the last event
                yield event
    if not finished:
        raise Failure("the stream ended before the answer did", again=True)
    if not chosen:
        raise Failure("the answer has no choices; the base address usually ends in /v1")


# ------------------------------------------------------------------------------ bytes to messages


async def _messages(
    response: httpx.Response, max_bytes: int
) -> AsyncGenerator[tuple[str, bytes], None]:
    """The messages of a body, each with its kind: that of the event, or ``"json"``."""
    streams = "event-stream" in response.headers.get("content-type", "").lower()
    reader: _Events | _Json | None = None
    begun = b""
    async with aclosing(readable(response, max_bytes)) as arriving:
        async for raw in arriving:
            if reader is None:
                begun += raw
                if len(begun.removeprefix(_BOM).lstrip()) < _LOOKED_AT:
                    continue  # too little to recognise the format
                raw = begun.removeprefix(_BOM)
                reader = _reader(raw, streams)
            for message in reader.add(raw):
                yield message
    if reader is None:
        reader = _reader(begun.removeprefix(_BOM), streams)
        for message in reader.add(begun.removeprefix(_BOM)):
            yield message
    for message in reader.end():
        yield message


def _reader(raw: bytes, streams: bool) -> _Events | _Json:
    first = raw.lstrip()[:1]
    if first in (b"{", b"["):
        return _Json(streams)
    named = re.match(rb"\s*(?:data|event|id|retry|error|):", raw)
    return _Events() if named or (streams and first != b"<") else _Json(streams)


class _Events:
    """Server-sent events: lines end in CR, LF or CR LF, and a blank line ends an event."""

    def __init__(self) -> None:
        self._rest, self._skip = b"", False
        self._kind, self._data = "", list[bytes]()

    def add(self, raw: bytes) -> Iterator[tuple[str, bytes]]:
        if self._skip and raw[:1] == b"\n":  # the second half of a CR LF
            raw = raw[1:]
        self._skip = raw[-1:] == b"\r"
        *lines, self._rest = _LINE.split(self._rest + raw)
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[tuple[str, bytes]]:
        """The last event, for servers that omit the blank line after it."""
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
        elif name == b"error" and value.strip():  # llama.cpp's
            yield "error", value
        elif line[:1] in (b"{", b"<"):
            raise Failure("the answer is no stream of events")


class _Json:
    """A whole answer as JSON, or one JSON value per line."""

    def __init__(self, streams: bool) -> None:
        self._held, self._streams = list[bytes](), streams

    def add(self, raw: bytes) -> Iterator[tuple[str, bytes]]:
        self._held.append(raw)
        return iter(())

    def end(self) -> Iterator[tuple[str, bytes]]:
        body = b"".join(self._held).strip()
        lines = [line for line in _LINE.split(body) if line.strip()]
        if len(lines) < 2 or _loads(body) is not None:
            yield "json", body
        elif all(_loads(line) is not None or line.strip() == b"[DONE]" for line in lines):
            for line in lines:
                yield "line", line
        elif self._streams:
            raise Failure("the answer is no stream of events")
        else:
            yield "json", body


# ----------------------------------------------------------------------------- messages to events


def _done(data: bytes) -> bool:
    return data.strip().strip(b'"').removeprefix(b"data:").strip().upper() in (b"[DONE]", b"DONE")


def _loads(data: bytes) -> Any:
    """The parsed JSON; None if it is invalid."""
    try:
        return json.loads(data.decode("utf-8", errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _parsed(kind: str, data: bytes, key: str) -> Iterator[dict[str, Any]]:
    """The validated events of one message: one, or one per line if blank lines were omitted."""
    what = "the answer" if kind == "json" else "an event of the answer"
    found = [_loads(data)]
    if found == [None] and kind != "json":
        found = [_loads(line) for line in data.split(b"\n") if line.strip() and not _done(line)]
    for event in found:
        if kind in _QUIET or data.strip() == b"null":
            continue
        if event is None:
            if kind == "error":
                raise Failure(plain(data.decode("utf-8", errors="replace"), key))
            if kind == "json":
                _text_in(data)
            raise Failure(f"{what} is not JSON")
        if not isinstance(event, dict):
            raise Failure(f"{what} is not a JSON object")
        if kind == "error" and not event.get("error"):
            event = {"error": event}
        yield _event(event, key, whole=kind == "json")


def _text_in(data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure("the answer is not UTF-8") from None


def _event(event: dict[str, Any], key: str, *, whole: bool) -> dict[str, Any]:
    """One event in OpenAI's format, with a list of choices."""
    if event.get("error") or event.get("object") == "error":
        raise Failure(told_error(event, key) or "the server broke off with an error")
    choices = event.get("choices")
    if choices is None:
        choices = _others(event)
    if isinstance(choices, list):  # of several answers, the first
        choices = [one for one in choices if not isinstance(one, dict) or not one.get("index")]
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices[:1]):
        raise Failure("the answer has no choices; the base address usually ends in /v1")
    if choices and choices[0].get("error"):
        raise Failure(told_error(choices[0], key) or "the server broke off with an error")
    if whole and not choices:
        raise Failure("the answer has no choices; the base address usually ends in /v1")
    return {**event, "choices": choices[:1], "whole": whole}


def _others(event: dict[str, Any]) -> list[Any]:
    """The choices of events in other formats: Ollama, llama.cpp, Anthropic, Responses API."""
    delta, kind = event.get("delta"), event.get("type")
    if isinstance(event.get("done"), bool):
        finish = (event.get("done_reason") or "stop") if event["done"] else None
        message = event.get("message")
        said = message if isinstance(message, dict) else {"content": event.get("response") or ""}
        return [{"delta": said, "finish_reason": finish}]
    if isinstance(event.get("content"), str) and isinstance(event.get("stop"), bool):
        finish = "length" if event.get("stopped_limit") else "stop"
        return [{"text": event["content"], "finish_reason": finish if event["stop"] else None}]
    if kind == "response.output_text.delta" and isinstance(delta, str):
        return [{"delta": {"content": delta}}]
    if kind == "response.completed" or kind == "message_stop":
        return [{"delta": {}, "finish_reason": "stop"}]
    if isinstance(delta, dict) and kind in ("content_block_delta", "message_delta"):
        told = {"content": delta.get("text"), "reasoning": delta.get("thinking")}
        return [{"delta": told, "finish_reason": delta.get("stop_reason")}]
    return []


def piece_of(event: dict[str, Any]) -> Piece:
    """The content of one event.

    Raises:
        Failure: the text is missing or invalid.
    """
    choice = event["choices"][0] if event["choices"] else {}
    usage = event.get("usage")
    usage = usage if isinstance(usage, dict) else None
    finish, whole = finish_of(choice.get("finish_reason")), bool(event.get("whole"))
    inner = next((choice[k] for k in ("delta", "message") if isinstance(choice.get(k), dict)), None)
    said: Any = inner.get("content") if inner is not None else choice.get("text")
    if inner is not None and said is None:
        said = inner.get("text", choice.get("text"))
    text = text_of(said)
    if said is not None and text is None:
        raise Failure("the answer has no text")
    told = inner or {}
    if not text and isinstance(told.get("refusal"), str) and told["refusal"].strip():
        finish = f"refusal: {plain(told['refusal'])}"
    elif not text and (told.get("tool_calls") or told.get("function_call")):
        finish = finish if finish not in (None, "stop") else "tool_calls" if finish else None
    thought = any(told.get(k) for k in ("reasoning_content", "reasoning", "thinking"))
    thought = thought or (isinstance(said, list) and bool(said) and not text)
    held = inner is not None or "text" in choice
    if whole and (not held or (inner is not None and not inner)):
        raise Failure("the answer has no text")
    return Piece(text or "", finish or ("stop" if whole else None), usage, thought, whole)


class _Characters:
    """Joins characters that a server split: bytes of UTF-8, or halves of surrogate pairs."""

    def __init__(self) -> None:
        self._open = ""

    def add(self, text: str, *, end: bool) -> str:
        """The text, preceded by the incomplete character of the previous piece."""
        text, self._open = self._open + text, ""
        if text.isascii():  # the usual case
            return text
        if not end and (left := _OPEN_END.search(text)) and len(left.group()) <= _MOST_OPEN:
            text, self._open = text[: left.start()], left.group()
        text = _HALVES.sub(_joined, text)
        return _BYTES.sub(_decoded, text)


def _joined(halves: re.Match[str]) -> str:
    return halves.group().encode("utf-16", "surrogatepass").decode("utf-16")


def _decoded(found: re.Match[str]) -> str:
    try:
        return found.group().encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        raise Failure("an event of the answer is not UTF-8") from None
