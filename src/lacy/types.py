"""Define the values that packages exchange: documents, marks, requests, replies, spans, answers.

They are plain dataclasses without torch, so every package, tool and notebook can use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Literal

CALL_TOKEN = "<CALL>"
"""The token that asks a source to continue the text. It is never part of a model's input."""

Unit = Literal["token", "word", "value"]
"""The amount of text that one call returns."""

ReadUntil = Literal["value", "sentence"]
"""How long the SLM has the source's sentences before its text: until it has chosen a value, or
until the sentence ends."""

DEFAULT_READ_UNTIL: ReadUntil = "sentence"
"""The model's words after a value then follow the source (``docs/results/value.md``)."""


class MarkFlag(IntFlag):
    """Properties of a token, one bit each, stored as uint8 beside its id.

    ``FACT``: the token belongs to a fact. ``START``: it is the first token of a fact's value. The
    next five flags are the kind of fact. ``CONTENT`` is the paper's third class (§5.4): a content
    word that is not a fact; it is never set together with ``FACT``.
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


Missing = Literal["", "no source", "failed", "not found", "stated", "none fits", "no room"]
"""Why a call has no answer: there is no source; it failed; it has no value; the text already states
all of its values; none of them fits; or the answer does not fit into the text. Empty if there is an
answer."""

Reason = Literal["ENTITY", "DATE", "NUMBER", "KEYWORD", "VALUE", "CONTENT"]
"""Why characters are marked. ``VALUE`` means that a judge or the made-up world labelled them."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """Characters ``[start, end)`` of a text that state a fact (or, with ``CONTENT``, a non-fact).

    ``relation`` is the kind of fact, if the made-up world or a judge provides it. ``label`` is the
    entity type (``PERSON``, ``GPE``, ...), if an entity recogniser provides it.
    """

    start: int
    end: int
    reason: Reason
    relation: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its origin; ``marks`` are sorted by start and do not overlap."""

    id: str
    text: str
    meta: dict[str, Any] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    file: str = field(default="", compare=False)
    """The file that contains the text, if any: an absolute path with links resolved."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a source to continue ``text`` (which includes the prompt) by one ``unit``."""

    text: str
    unit: Unit = "value"
    subject: str | None = None
    """The subject of the text, if the caller knows it; otherwise the source finds it."""
    stream: int = 0
    """Index of the caller's sequence; a source may keep one cache per sequence."""
    tokens: str = ""
    """Fingerprint of the caller's tokenizer, for the unit ``token``. A model with another tokenizer
    returns whole numbers, because digits from two models could form a number that neither meant."""
    question: str = ""
    """The question that the text answers, if any; a lookup takes the subject and the search words
    from it. ``text`` then has the earlier turns of the conversation as paragraphs, the question,
    and the answer so far."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible continuation.

    ``alternatives`` is the effective number of values that this kind of fact can take (2 to the
    entropy in bits); ranking uses it to compare values of different kinds.
    """

    text: str
    evidence: str = ""
    kind: str = ""
    alternatives: float = 1.0
    subject: str = ""
    """The subject of the fact as spelled in the text."""
    context: str = ""
    """The source's text around the value, such as its passage, which a model reads to answer a
    question. Empty for a database, where ``kind`` says what the value is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A source's answer: no candidate (it does not know), one, or several for the SLM to rank.

    A single candidate with ``ranked=False`` is used unchanged. ``error`` is an explanation for the
    user; a reply with an error has no candidates, and the SLM continues without the source.
    ``cost`` is in US dollars, ``seconds`` is wall time.
    """

    candidates: tuple[Candidate, ...] = ()
    ranked: bool = False
    cost: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    fault: bool = False
    """True if the source failed (down, too late, invalid answer), not if it only knew nothing."""
    speaker: str = ""
    """Name of the wrapped source that answered, if the source that was asked is a wrapper."""
    relations: tuple[str, ...] = ()
    """All relations of a database, including those that this subject lacks. A question for such a
    relation gets no answer rather than a similar fact."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the output with its provenance.

    ``speaker`` is ``"prompt"``, ``"slm"`` or the name of a source. ``reason`` says why the SLM
    called and with what result (``"the model asked for a fact here (margin 3.10 > 0.40); of 7
    values this one fits best (score 0.1)"``). ``tokens`` counts SLM tokens, so that the spans of
    an answer add up to its length.
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
    """True if a source was asked here, even if it had no answer and the SLM generated the text."""
    fault: bool = False
    """True if that source failed (down, too late, invalid answer), not if it only knew nothing."""
    relation: str = ""
    """Kind of the fact that the source returned, such as a column of a database or ``DATE``; for a
    call without an answer, that of the value that fitted best, if any."""
    subject: str = ""
    """The subject of that fact, as the source names it."""
    score: float | None = None
    """Score of the best value, if the values were ranked."""
    missing: Missing = ""
    """Why the call has no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated text as spans; the prompt comes first."""

    spans: tuple[Span, ...]
    finished: bool = False
    """True if the model ended the text with end-of-text, before the length limit."""

    @property
    def prompt(self) -> str:
        """The prompt."""
        return "".join(span.text for span in self.spans if span.speaker == "prompt")

    @property
    def continuation(self) -> str:
        """The generated text, from the SLM and from sources."""
        return "".join(span.text for span in self.spans if span.speaker != "prompt")

    @property
    def text(self) -> str:
        """Prompt and continuation."""
        return "".join(span.text for span in self.spans)

    @property
    def tokens(self) -> int:
        """Number of generated tokens, counted with the SLM's tokenizer."""
        return sum(span.tokens for span in self.spans if span.speaker != "prompt")

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(span.asked for span in self.spans)

    @property
    def called_tokens(self) -> int:
        """Number of tokens for which a source was asked.

        Includes the SLM's own token after each call without an answer, because such a call costs as
        much as any other.
        """
        return sum(span.tokens for span in self.spans if span.asked)


@dataclass(frozen=True, slots=True)
class Update:
    """What a client of a federation sends after training on its own data: numbers, never text.

    A client is any object with ``train(state, round) -> Update``, where ``state`` has the trained
    tensors by name as the server sent them.
    """

    delta: Mapping[str, Any]
    """The trained tensors minus ``state``, by the same names: tensors of torch, in float32."""
    samples: int
    """Number of training samples (rows or preference pairs) that the delta is from: its weight."""
    round: int
    """The number of the round that ``state`` belongs to."""
    model: str = ""
    """Fingerprint of everything that is not trained; the server refuses those of other models."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Counts of samples that the server adds up and shows, such as seen, flagged, replaced."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Figures of the training, such as loss; the server shows means weighted by ``samples``."""


def call_rate(answers: Iterable[Answer]) -> float:
    """Return the share of generated tokens for which a source was asked; 0.0 for no tokens."""
    called = total = 0
    for answer in answers:
        called += answer.called_tokens
        total += answer.tokens
    return called / total if total else 0.0
