"""The values that pass between rooms: documents, marks, requests to sources, spans of an answer.

Plain dataclasses without torch, so that every room, tool and notebook can hold them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Literal

CALL_TOKEN = "<CALL>"
"""The vocabulary entry that means "someone else should say this". It never stands in a context."""

Unit = Literal["token", "word", "value"]
"""How much of the text one call may return."""


class MarkFlag(IntFlag):
    """What is known about a token, one bit each, stored as uint8 beside its id.

    ``FACT`` and ``START`` say that the token belongs to a fact and that a fact's value begins here;
    the next five say why it is one. ``CONTENT`` is the paper's third class (§5.4): a content word
    that is no fact; it is never set together with ``FACT``.
    """

    NONE = 0
    FACT = 1
    START = 2
    ENTITY = 4
    DATE = 8
    NUMBER = 16
    KEYWORD = 32
    VALUE = 64
    CONTENT = 128


Reason = Literal["ENTITY", "DATE", "NUMBER", "KEYWORD", "VALUE", "CONTENT"]
"""Why characters are marked. ``VALUE``: a judge's or the world's own label of a fact's value."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """Characters ``[start, end)`` of a text that carry a fact (or, with ``CONTENT``, do not).

    ``relation`` names the fact where that is known (the world, a judge's labels).
    """

    start: int
    end: int
    reason: Reason
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One text with where it came from; ``marks`` are sorted by start and do not overlap."""

    id: str
    text: str
    meta: dict[str, Any] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    file: str = field(default="", compare=False)
    """The file that it was read from, if any; an absolute path with links resolved."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a source is asked: to continue ``text`` (prompt included) by one ``unit``."""

    text: str
    unit: Unit = "value"
    subject: str | None = None
    """Whom or what the text is about, where the caller knows; else the source links it itself."""
    stream: int = 0
    """Which of the caller's running texts this is; a source may keep a cache per stream."""
    tokens: str = ""
    """Fingerprint of the caller's tokens, for the unit ``token``. A model with other tokens gives
    whole numbers, because digits from two models would form a number that neither meant."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible continuation.

    ``alternatives`` is the effective number of values this kind of fact can take (2^entropy in
    bits); the ranker uses it to turn the likelihood of one value into that of its kind.
    """

    text: str
    evidence: str = ""
    kind: str = ""
    alternatives: float = 1.0
    subject: str = ""
    """Whom or what it is a fact about, as the text names it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A source's answer: no candidate (it does not know), one, or several for the SLM to rank.

    A single candidate with ``ranked=False`` is taken as it is. ``error`` is a sentence for the
    user; a reply with an error has no candidates and the SLM goes on in its own words.
    ``cost`` is in the unit that ``currency`` names, ``seconds`` is wall time.
    """

    candidates: tuple[Candidate, ...] = ()
    ranked: bool = False
    cost: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    fault: bool = False
    """Whether ``error`` says that the source itself failed (down, late, nonsense), not that it does
    not know."""
    speaker: str = ""
    """Who answered, where that is not the source that was asked but one behind it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of output with its provenance.

    ``speaker`` is ``"prompt"``, ``"slm"`` or the name of a source. ``reason`` says why the SLM
    called and what came of it, a sentence before its numbers (``"the model asked for a fact here
    (margin 3.10 > 0.40); of 7 values this one fits best (score 0.1)"``). ``tokens`` counts
    SLM tokens, so that the spans of an answer add up to its length.
    """

    text: str
    speaker: str
    tokens: int = 0
    reason: str = ""
    evidence: str = ""
    margin: float | None = None
    cost: float = 0.0
    seconds: float = 0.0
    asked: bool = False
    """Whether a source was asked here (also true where it had no answer and the SLM spoke)."""
    fault: bool = False
    """Whether the source that was asked failed (down, late, nonsense), not just does not know."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated text as spans, prompt first."""

    spans: tuple[Span, ...]
    finished: bool = False
    """Whether the model ended the text itself (end-of-text) rather than by the length limit."""

    @property
    def prompt(self) -> str:
        """The text that was given."""
        return "".join(span.text for span in self.spans if span.speaker == "prompt")

    @property
    def continuation(self) -> str:
        """The text that was generated, whoever spoke it."""
        return "".join(span.text for span in self.spans if span.speaker != "prompt")

    @property
    def text(self) -> str:
        """Prompt and continuation."""
        return "".join(span.text for span in self.spans)

    @property
    def tokens(self) -> int:
        """Generated tokens, counted with the SLM's tokenizer."""
        return sum(span.tokens for span in self.spans if span.speaker != "prompt")

    @property
    def calls(self) -> int:
        """How many times a source was asked."""
        return sum(span.asked for span in self.spans)

    @property
    def called_tokens(self) -> int:
        """Tokens that were asked for.

        Those a source spoke, and the SLM's own token after each call that stayed without an answer
        (it was paid for all the same).
        """
        return sum(span.tokens for span in self.spans if span.asked)


def call_rate(answers: Iterable[Answer]) -> float:
    """Share of generated tokens that were asked for, over all answers; 0.0 for no tokens."""
    called = total = 0
    for answer in answers:
        called += answer.called_tokens
        total += answer.tokens
    return called / total if total else 0.0
