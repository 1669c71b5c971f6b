"""The records of answers and verdicts, and their form as lines of JSON.

An answer without texts (the default) contains of each span: who wrote it, its length, whether a
source was asked, and which fact it returned (relation, subject and evidence, as the source names
them) or, as one of a few words, why there is none. It does not contain the span's ``reason``, which
may quote the user. With texts, it also has the prompt and the text of every span.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal

from lacy._convert import Mismatch, convert
from lacy._text import json_safe
from lacy.errors import one_line
from lacy.types import Missing, Span

VERSION = 1
"""Version of the format; lines of a later version are not read."""

MAX_EVIDENCE = 200
"""Maximum number of characters of a span's evidence in a record without texts."""

MAX_PROMPT = 20_000
"""Maximum number of characters of a prompt that are kept, from its end."""

PROMPT = "prompt"
"""Speaker of an echoed prompt."""

SLM = "slm"
"""Speaker of the model's own words."""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span of an answer (see ``lacy.types.Span``)."""

    speaker: str
    characters: int
    """Length of its text."""
    tokens: int = 0
    asked: bool = False
    fault: bool = False
    missing: Missing = ""
    relation: str = ""
    subject: str = ""
    evidence: str = ""
    score: float | None = None
    margin: float | None = None
    text: str | None = None
    """Its text; None in a record without texts."""

    @property
    def borrowed(self) -> bool:
        """True if a source wrote it."""
        return self.asked and self.speaker not in (SLM, PROMPT)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One answer of a server; an answer to several prompts or with ``n`` has several."""

    id: str
    choice: int
    time: float
    """Seconds since 1970."""
    model: str
    """Name under which the model is served."""
    fingerprint: str
    """Fingerprint of the model's weights without its ``<CALL>`` row; empty for a hosted model."""
    policy: str
    unit: str
    finish: str | None
    """``stop``, ``length``, or None if the client left."""
    spans: tuple[SpanRecord, ...]
    prompt: str | None = None
    """The text that is continued; in a chat, the messages as paragraphs. None without texts."""
    subject: str | None = None
    """The subject that the client gave; None without texts."""

    @property
    def characters(self) -> int:
        """Length of the answer."""
        return sum(span.characters for span in self.spans)

    @property
    def text(self) -> str | None:
        """The text of the answer; None in a record without texts."""
        parts = [span.text for span in self.spans]
        return None if None in parts else "".join(part or "" for part in parts)


@dataclass(frozen=True, slots=True)
class UserVerdict:
    """A user's verdict on a part of an answer, or on all of it."""

    id: str
    choice: int
    time: float
    verdict: Literal["right", "wrong"]
    start: int | None = None
    """First character of the part within the answer; None for the whole answer."""
    end: int | None = None
    correct: str | None = None
    """The right value instead, if the user gave it; None in a log without texts."""


def record_answer(
    spans: Sequence[Span],
    *,
    texts: bool,
    prompt: str,
    subject: str | None,
    **about: Any,
) -> AnswerRecord:
    """Return the record of an answer.

    Args:
        spans: its spans.
        texts: True to keep the texts of prompt and spans.
        prompt: the text that is continued.
        subject: the subject that the client gave, if any.
        about: the other fields of ``AnswerRecord``.
    """
    recorded = tuple(_record_span(span, texts) for span in spans)
    if not texts:
        return AnswerRecord(**about, spans=recorded)
    return AnswerRecord(**about, spans=recorded, prompt=prompt[-MAX_PROMPT:], subject=subject)


def _record_span(span: Span, texts: bool) -> SpanRecord:
    # A source may quote the user's spelling of a name after a semicolon ("; similar to ...").
    evidence = one_line(span.evidence if texts else span.evidence.split("; ")[0])
    return SpanRecord(
        speaker=span.speaker,
        characters=len(span.text),
        tokens=span.tokens,
        asked=span.asked,
        fault=span.fault,
        missing=span.missing,
        relation=one_line(span.relation)[:MAX_EVIDENCE],
        subject=one_line(span.subject)[:MAX_EVIDENCE],
        evidence=evidence[:MAX_EVIDENCE],
        score=span.score,
        margin=span.margin,
        text=span.text if texts else None,
    )


def to_line(record: AnswerRecord | UserVerdict) -> bytes:
    """Return a record as a line of JSON; fields of spans that have their default are left out."""
    kind = "answer" if isinstance(record, AnswerRecord) else "verdict"
    data = {"version": VERSION, "record": kind, **json_safe(asdict(record))}
    if isinstance(record, AnswerRecord):
        data["spans"] = [_without_defaults(span) for span in data["spans"]]
    return (json.dumps(data, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def from_line(line: bytes) -> AnswerRecord | UserVerdict:
    """Return the record of a line.

    Raises:
        ValueError: the line is not a record; says why.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("not valid JSON") from error
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    version, kind = data.pop("version", None), data.pop("record", None)
    if version != VERSION:
        raise ValueError(f"version {version!r} instead of {VERSION}")
    if kind == "verdict":
        return _checked(UserVerdict(**_read(UserVerdict, data)))
    if kind != "answer":
        raise ValueError(f"unknown kind of record {kind!r}")
    spans = data.pop("spans", None)
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        raise ValueError("spans is not a list of objects")
    found = tuple(_checked_span(SpanRecord(**_read(SpanRecord, span))) for span in spans)
    return AnswerRecord(**_read(AnswerRecord, data, but=("spans",)), spans=found)


def _checked(verdict: UserVerdict) -> UserVerdict:
    """Return the verdict if its part of an answer is possible."""
    start, end = verdict.start, verdict.end
    if (start is None) != (end is None) or (
        start is not None and end is not None and not 0 <= start < end
    ):
        raise ValueError(f"characters {start} to {end} are no part of an answer")
    return verdict


def _checked_span(span: SpanRecord) -> SpanRecord:
    """Return the span if its length is that of its text."""
    if span.characters < 0 or (span.text is not None and len(span.text) != span.characters):
        raise ValueError("a span's text has another length than it says")
    return span


def _read(cls: type, data: Mapping[str, Any], but: Sequence[str] = ()) -> dict[str, Any]:
    """Return checked arguments for a record's class."""
    values, hints = {}, _hints(cls)
    required = {one.name for one in fields(cls) if one.name not in _defaults(cls)} - {*but}
    for name in sorted(required - data.keys()):
        raise ValueError(f"{name} is missing")
    for name, value in data.items():
        if name not in hints or name in but:
            raise ValueError(f"unknown field {name!r}")
        try:
            values[name] = convert(value, hints[name])
        except Mismatch as mismatch:
            raise ValueError(f"{name}: expected {mismatch}") from None
    return values


def _without_defaults(span: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _defaults(SpanRecord)
    return {k: v for k, v in span.items() if k not in defaults or v != defaults[k]}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@cache
def _defaults(cls: Any) -> dict[str, Any]:
    from dataclasses import MISSING

    return {one.name: one.default for one in fields(cls) if one.default is not MISSING}
