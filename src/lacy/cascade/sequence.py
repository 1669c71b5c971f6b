"""One text while it is generated: its tokens, its exact characters, and who wrote them.

``ids`` has the tokens that the model has read and those that it has to read next, such as the rest
of a prompt or a source's answer. When the model has read all of them, the sequence is ready for its
next step: the model's own token, or a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from lacy.cascade.endings import EndOf
from lacy.cascade.policy import Controller, Decision
from lacy.cascade.questions import Question
from lacy.cascade.scores import Scorer
from lacy.cascade.settings import EngineSettings
from lacy.corpus import TextStream
from lacy.types import Answer, Candidate, Span


@dataclass(frozen=True, slots=True)
class TokenizedCandidate:
    """A candidate with its tokens as the continuation of a text."""

    candidate: Candidate
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How a call ended: with a candidate to append, or with a reason why there is none."""

    option: TokenizedCandidate | None
    """The candidate to append, if any."""
    span: Span
    """The span to append; it has the reason, evidence and cost."""
    stop: bool = False
    """True if the text must end here, because the answer does not fit any more."""
    offered: tuple[TokenizedCandidate, ...] = ()
    """All candidates that could have been appended."""
    opening: TokenizedCandidate | None = None
    """The model's words before the candidate: the beginning of a sentence that the candidate
    completes."""
    closing: TokenizedCandidate | None = None
    """The model's words after the candidate, which end the text."""
    scores: tuple[float | None, ...] | None = None
    """The score of each candidate in ``offered``, if they were ranked; None for a candidate that
    certainly was not the best one (``pruning``)."""
    limit: float | None = None
    """The minimum score for the best candidate."""
    sentences: str = ""
    """The source's sentences that the model has read, if any."""


class Observer(Protocol):
    """Is notified of every step of an engine (``Engine.observer``); it must not change anything.

    For a sequence that calls, ``decided`` is called when it asks its source, and ``applied`` when
    the outcome is appended; in between, other sequences may continue.
    """

    def decided(
        self, sequences: Sequence[TextSequence], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Handle the decisions of sequences; ``logits_RV`` (with ``<CALL>``) led to them."""
        ...

    def applied(self, sequence: TextSequence, own_token: int, outcome: CallOutcome | None) -> None:
        """Handle that a sequence has grown by its own token or by the outcome of a call."""
        ...


@dataclass(eq=False)
class TextSequence:
    """The state of one text; created by ``Engine.sequence``.

    ``DecodeLoop.step`` calls ``on_text`` with each new part of the text: one token of the model, a
    whole answer of a source, or the reason of a call without an answer. It may return True to end
    the text. ``on_end`` is called with the whole answer, or with the exception that ended it.
    """

    engine: EngineSettings
    """The settings of this text."""
    number: int
    """Determines the random numbers of sampling, together with the engine's seed."""
    stream: int
    """Identifies this text to sources."""
    subject: str | None
    ids: list[int]
    text: str
    """The prompt and everything generated so far, character by character."""
    limit: int
    """Maximum number of generated tokens."""
    output: TextStream
    generator: torch.Generator | None = None
    implied: int = 0
    """Number of tokens at the beginning of ``ids`` that the engine added (the begin token)."""
    stated_from: int = 0
    """Values that the text states from this character index on are not borrowed again."""
    forced: deque[int] | None = None
    """Tokens of a given text; they are appended instead of own tokens and answers."""
    on_text: Callable[[Span], object] | None = None
    on_end: Callable[[Answer | Exception], object] = lambda answer: None
    cancelled: bool = False
    """True to end the text at the next step; may be set by any thread."""
    scorer: Scorer | None = None
    """Scores the tokens, if set; ``on_text`` then receives parts as ``ScoredSpan``."""
    question: Question | None = None
    """The user's message that the text answers, if the text is an answer in a chat."""
    prompt_length: int = field(default=0, init=False)
    """Number of characters of the prompt."""
    generated: int = field(default=0, init=False)
    """Number of tokens generated so far, by the model and by sources."""
    answers_in_row: int = field(default=0, init=False)
    """Number of sources' answers directly after one another at the end of the text."""
    complete: bool = field(default=False, init=False)
    """True if no more tokens will be generated."""
    finished: bool = field(default=False, init=False)
    """True if the model itself ended the text."""
    ended: bool = field(default=False, init=False)
    """True once ``on_end`` has been called."""
    failure: Exception | None = field(default=None, init=False)
    controller: Controller = field(init=False)
    spans: list[Span] = field(init=False)
    next_token: int = field(default=0, init=False)
    """The model's own next token."""
    sentences: str = field(default="", init=False)
    """The source's sentences that the model has before the text while it writes its next token."""
    own_reason: str = field(default="", init=False)
    """Why the last own token may differ from what the model would write alone."""
    whole: bool = field(default=True, init=False)
    """True if the text does not end in the middle of a character."""
    _sentence_end: EndOf | None = field(default=None, init=False)
    _own: list[str] = field(default_factory=list, init=False)
    _own_tokens: int = field(default=0, init=False)
    _question_unanswered: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.complete = self.limit < 1  # a prompt that is only scored
        self.prompt_length = len(self.text)
        self.controller = self.engine.policy.start()
        self.spans = [Span(self.text, "prompt", len(self.ids))]

    @property
    def done(self) -> bool:
        """True if nothing is left to do: no token must be generated or scored."""
        return self.cancelled or (self.complete and not (self.scorer and self.scorer.pending))

    @property
    def asks(self) -> bool:
        """True if the text is still empty and a source should answer the user's question."""
        if self.question is None or not self.question.asks or self.generated:
            return False
        engine = self.engine
        return engine.source is not None and engine.unit == "value" and not engine.never_calls

    @property
    def may_call(self) -> bool:
        """True unless the text ends inside a character or has had too many answers in a row.

        If no source could answer the user's question, other facts about its subject would only
        take the place of the answer, so the text calls no more.
        """
        most = self.engine.calls_in_row
        if self._question_unanswered or not self.whole:
            return False
        return most is None or self.answers_in_row < most

    @property
    def own_since_answer(self) -> str | None:
        """The model's own text since the last answer of a source; None if there was none."""
        last = self.spans[-1]
        return "".join(self._own) if last.asked and last.speaker != "slm" else None

    def read(self, sentences: str) -> None:
        """Set a source's sentences before the text for the model's next words.

        They stay until the sentence ends or the next call, unless ``Engine(read_until="value")``.
        """
        if self.engine.read_until != "value" and self.forced is None:
            self.sentences, self._sentence_end = sentences, EndOf("sentence")

    def apply(self, outcome: CallOutcome | None, context: int) -> None:
        """Append the result of a step: an answer, or the model's own token.

        Args:
            outcome: how the call ended; None if there was no call.
            context: maximum length of the sequence.
        """
        engine, before = self.engine, self.generated
        length, spans = len(self.text), len(self.spans)
        ends = self.next_token in engine.end_ids
        if self.forced is not None:
            self._append_own(self.forced.popleft())
        elif outcome is None:
            self._append_own_or_end(ends)
        elif outcome.option is None:
            self._question_unanswered = self._question_unanswered or self.asks
            self._append_after_call(outcome, ends)
        else:
            self._append_answer(outcome)
        if outcome is None or outcome.option is None:
            self._end_reading(self.text[length:])
        if self.forced is None and len(self.ids) >= context:
            self.complete = True
        if engine.observer is not None:
            engine.observer.applied(self, self.next_token, outcome)
        tokens, calls = self.generated - before, int(outcome is not None)
        self.controller.account(calls=calls, asked=tokens * calls, tokens=tokens)
        if self.on_text is not None or self.scorer is not None:
            self._report(length, spans, tokens)
        if self.scorer is not None and self.finished and ends:
            self.ids.append(self.next_token)  # the end token has no text, but it is scored too
            self.scorer.enqueue(Span("", "slm"))

    def _end_reading(self, own: str) -> None:
        """Remove the source's sentences if the model's own new text has ended the sentence."""
        if self._sentence_end is not None and self._sentence_end.find(own) is not None:
            self.sentences, self._sentence_end = "", None

    def release(self, *, all: bool = False) -> None:
        """Report parts of the text that were held back and are scored now."""
        for span in self.scorer.pop(all=all) if self.scorer else ():
            self._emit(span)

    def fail(self, failure: Exception) -> None:
        """End this text with an error."""
        self.failure, self.cancelled = failure, True

    def end_if_done(self) -> bool:
        """Return True if the text is done; the first time, call ``on_end``."""
        done = self.done  # read only once, as another thread may cancel meanwhile
        if done and not self.ended:
            self.ended = True
            if self.failure is not None:
                self.on_end(self.failure)
                return done
            self.release(all=True)
            length = len(self.text)
            answer = self.answer()
            if len(self.text) > length:  # an unfinished character
                self._emit(Span(self.text[length:], "slm"))
            self.on_end(answer)
        return done

    def answer(self) -> Answer:
        """Return the text as spans; an unfinished character at its end becomes U+FFFD."""
        if rest := self.output.finish():
            self.text += rest
            self._own.append(rest)
        self._close_own_span()
        return Answer(tuple(self.spans), self.finished)

    def _append_own_or_end(self, ends: bool) -> None:
        if ends:
            self.complete = self.finished = True
        else:
            self._append_own(self.next_token)

    def _append_own(self, token: int) -> None:
        """Append the model's own token."""
        reason = self._reading_reason
        if reason != self.own_reason:
            self._close_own_span()
            self.own_reason = reason
        self.ids.append(token)
        new = self.output.add(token)
        self.whole = self.output.whole
        self.text += new
        self._own.append(new)
        self._own_tokens += 1
        self.generated += 1
        self.answers_in_row = 0
        self.complete = self.complete or self.generated >= self.limit

    def _append_after_call(self, outcome: CallOutcome, ends: bool) -> None:
        """Append the model's own token after a call without an answer, or end the text."""
        self._close_own_span()
        stop = outcome.stop and self.generated >= self.engine.min_new_tokens
        span = outcome.span
        if outcome.closing is not None:  # the answer says that it is not known
            self.ids.extend(outcome.closing.tokens)
            self.text += outcome.closing.candidate.text
            self.generated += len(outcome.closing.tokens)
            self.complete = self.finished = True
            text, tokens = outcome.closing.candidate.text, len(outcome.closing.tokens)
            span = replace(span, text=text, tokens=tokens)
        elif ends or stop:
            self.complete, self.finished = True, ends and not stop
        else:
            self._append_own(self.next_token)
            text, self._own, self._own_tokens = self._own[-1], [], 0
            span = replace(span, text=text, tokens=1)
        self.spans.append(replace(span, asked=True, speaker="slm"))

    def _append_answer(self, outcome: CallOutcome) -> None:
        """Append the answer of a source, with the words before and after it."""
        assert outcome.option is not None
        self._close_own_span()
        for part in (outcome.opening, outcome.option, outcome.closing):
            if part is None:
                continue
            self.ids.extend(part.tokens)
            span = Span(part.candidate.text, "slm", len(part.tokens))
            if part is outcome.option:
                span = replace(outcome.span, tokens=len(part.tokens), asked=True)
            self.text += span.text
            self.generated += len(part.tokens)
            self.spans.append(span)
        self.answers_in_row += 1
        self.whole = True
        self.finished = outcome.closing is not None
        self.complete = self.finished or self.generated >= self.limit

    def _close_own_span(self) -> None:
        if self._own_tokens or any(self._own):
            text = "".join(self._own)
            self.spans.append(Span(text, "slm", self._own_tokens, self.own_reason))
        self._own, self._own_tokens = [], 0

    @property
    def _reading_reason(self) -> str:
        """Why the next own token may differ from what the model would write by itself."""
        source = self.engine.source
        return f"written after reading {source.name}" if self.sentences and source else ""

    def _report(self, length: int, spans: int, tokens: int) -> None:
        """Report the text that a step has added, or hold it back until it is scored."""
        new = [Span(self.text[length:], "slm", tokens, self.own_reason)]
        if len(self.spans) > spans and length == self.prompt_length:
            new = self.spans[spans:]  # with the words before and after a value
        elif len(self.spans) > spans and self.spans[-1].asked:
            new = [self.spans[-1]]
        for span in new:
            if not (span.text or span.asked or span.tokens):
                continue
            if self.scorer is not None:
                self.scorer.enqueue(span)
            else:
                self._emit(span)

    def _emit(self, span: Span) -> None:
        if self.on_text is not None and self.on_text(span):
            self.cancelled = True
