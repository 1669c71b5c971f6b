"""The decode loop: decide which sequences call, ask the source, append answers and own tokens.

Each step takes the sequences whose next-token scores are known. Policies decide which of them call;
the others append the model's own token. All calls of a step go to the source together, their
candidates are ranked together, and each sequence appends an answer or, without one, its own token.
Sequences whose source does not answer at once are set aside, so that they do not delay others. The
contents of a text never depend on other texts in the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, TypeVar

from lacy.cascade.answering import outcomes_of
from lacy.cascade.backend import Backend, NextScores
from lacy.cascade.call import NO_SOURCE, request_of
from lacy.cascade.policy import Decision, Never, SignalBatch
from lacy.cascade.sampling import begins_word
from lacy.cascade.sequence import CallOutcome, TextSequence
from lacy.errors import LacyError
from lacy.sources import guarded
from lacy.types import Reply, Span

T = TypeVar("T")

Submit = Callable[[Coroutine[Any, Any, list[Reply]]], Future[list[Reply]]]
"""Starts a coroutine that asks a source and returns the future of its replies."""

QUESTION_REASON = "the question asks for a fact"
"""Why a source is asked before the first word of an answer."""

GRACE = 0.002
"""Seconds that the loop waits for a source before it sets sequences aside, which costs more than
this. It waits only if the source's last answer came within that time."""


@dataclass(eq=False)
class _Call:
    """A call of several sequences; its coroutine ``work`` is suspended while it waits."""

    sequences: list[TextSequence]
    work: Coroutine[Any, Any, None]
    waits_for: Future[Any] | None = None
    parked: Any = field(default=None, init=False)

    @property
    def can_continue(self) -> bool:
        return self.waits_for is None or self.waits_for.done()

    def cancel(self) -> None:
        """Stop waiting, and append nothing."""
        self.work.close()
        if self.waits_for is not None:
            self.waits_for.cancel()

    def run(self) -> bool:
        """Continue the work until it has to wait; return True if it is finished."""
        while self.can_continue:
            try:
                self.waits_for = self.work.send(None)
            except StopIteration:
                return True
            except LacyError as error:  # such as a server that is gone; other texts continue
                for sequence in self.sequences:
                    sequence.fail(error)
                return True
        return False


class Wait(Generic[T]):
    """An awaitable that suspends the work of a call until another thread's future is done."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self._future.done():
            yield self._future
        return self._future.result()


class DecodeLoop:
    """Generates many texts together. Not thread-safe, except for ``TextSequence.cancelled``.

    Args:
        backend: computes with the model.
        submit: starts a coroutine that asks a source (``LoopThread.submit``).
        wake: called in another thread when a source has answered.
    """

    def __init__(
        self,
        backend: Backend,
        submit: Submit,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.backend = backend
        self._submit, self._wake = submit, wake
        self._calls: list[_Call] = []
        self._quick = True

    def __len__(self) -> int:
        """Number of texts that have not ended."""
        waiting = sum(not s.ended for call in self._calls for s in call.sequences)
        return len(self.backend) + waiting

    @property
    def stuck(self) -> bool:
        """True if a step could do nothing, because there are no texts or all of them wait."""
        if not self.backend.idle:
            return False
        return not any(
            call.can_continue or any(s.cancelled and not s.ended for s in call.sequences)
            for call in self._calls
        )

    def check(self, sequences: Sequence[TextSequence]) -> None:
        """Check that each prompt leaves room for at least one token.

        Raises:
            LacyError: E60, a prompt does not.
        """
        for sequence in sequences:
            # A prompt that is only scored needs no room.
            needed = len(sequence.ids) + (not sequence.complete)
            if needed > self.backend.context:
                raise LacyError("E60", tokens=needed, context=self.backend.context)

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Start texts. Equal prompts are computed only once.

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context.
        """
        self.check(sequences)
        self.backend.add(sequences)

    def step(self) -> None:
        """Advance every active sequence by one token, after admitting new and resumed ones."""
        self._resume()
        sequences, scores = self.backend.ready()
        if sequences:
            self._decide(sequences, scores)
        self.backend.advance()

    def drain(self, sequences: Sequence[TextSequence]) -> None:
        """Generate until all texts have ended.

        Every step waits for all pending requests, so that results do not depend on timing.

        Raises:
            Exception: the error that ended one of ``sequences``.
        """
        while len(self):
            self.backend.wait()
            for call in self._calls:
                if call.waits_for is not None:
                    call.waits_for.exception()
            self.step()
            for sequence in sequences:
                if sequence.failure is not None:
                    raise sequence.failure

    def fail(self, failure: Exception) -> None:
        """End all texts with an error."""
        for sequence in self._clear():
            sequence.fail(failure)
            sequence.end_if_done()

    def close(self) -> None:
        """End all texts where they are and close the backend."""
        for sequence in self._clear():
            sequence.cancelled = True
            sequence.end_if_done()
        self.backend.close()

    def _clear(self) -> list[TextSequence]:
        """Remove and return all texts."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.cancel()
        return [*self.backend.clear(), *(s for call in calls for s in call.sequences)]

    # ------------------------------------------------------------------------------ decisions

    def _decide(self, sequences: list[TextSequence], scores: NextScores) -> None:
        """Start the calls of ready sequences; append the own token of those that do not call."""
        calling, spans = [], []
        for n, (decision, margin) in enumerate(self._decisions(sequences, scores)):
            sequence = sequences[n]
            if sequence.done:  # its policy failed, or another thread has cancelled it
                continue
            if sequence.asks:
                decision = replace(decision, call=True, reason=QUESTION_REASON)
            if (observer := sequence.engine.observer) is not None and scores.logits_RV is not None:
                observer.decided([sequence], scores.logits_RV[n : n + 1], [decision])
            if decision.call:
                calling.append(sequence)
                spans.append(Span("", "slm", reason=decision.reason, margin=margin))
            else:
                self._apply(sequence, None)
        if calling:
            self._run(_Call(calling, self._call(calling, spans)))

    def _decisions(
        self, sequences: list[TextSequence], scores: NextScores
    ) -> list[tuple[Decision, float | None]]:
        """Return each sequence's decision, and its call margin if it may call."""
        decided: list[tuple[Decision, float | None]] = [(Decision(False), None)] * len(sequences)
        callers = [n for n, s in enumerate(sequences) if _may_call(s, scores, n)]
        if not callers:
            return decided
        signals = scores.signals(callers)
        signals.compute = cache(signals.compute)
        groups: dict[int, list[int]] = {}
        for place, n in enumerate(callers):
            groups.setdefault(id(sequences[n].controller), []).append(place)
        # The texts of one ``generate`` share a controller, which decides for all at once.
        for places in groups.values():
            members = [sequences[callers[place]] for place in places]
            try:
                decisions = members[0].controller.decide(_select_signals(signals, places, members))
            except Exception as error:  # such as an error in a user's oracle
                for sequence in members:
                    sequence.fail(error)
                continue
            has_call = members[0].engine.call_id is not None
            for place, decision in zip(places, decisions, strict=True):
                margin = float(signals.margin[place]) if has_call else None
                decided[callers[place]] = decision, margin
        return decided

    # ---------------------------------------------------------------------------------- calls

    async def _call(self, sequences: list[TextSequence], spans: list[Span]) -> None:
        """Ask the source for these sequences, rank the candidates, and append the outcomes."""
        replies = await self._ask(sequences)
        active = [n for n, sequence in enumerate(sequences) if not sequence.done]
        if not active:
            return
        sequences = [sequences[n] for n in active]
        outcomes = await outcomes_of(
            self.backend, sequences, [replies[n] for n in active], [spans[n] for n in active]
        )
        calls = list(zip(sequences, outcomes, strict=True))
        for sequence, outcome in calls:
            sequence.read(outcome.sentences)
        await self.backend.find_own_tokens(
            [s for s, outcome in calls if outcome.option is None and not s.done]
        )
        for sequence, outcome in calls:
            if not sequence.done:
                self._apply(sequence, outcome)

    async def _ask(self, sequences: Sequence[TextSequence]) -> list[Reply]:
        """Return the source's replies to all sequences, in one request."""
        engine = sequences[0].engine
        if engine.source is None:
            return [Reply(error=NO_SOURCE)] * len(sequences)
        requests = [request_of(sequence) for sequence in sequences]
        begin = time.perf_counter()
        replies = self._submit(guarded(engine.source, requests, timeout=engine.timeout))
        replies.add_done_callback(lambda _: self._replied(time.perf_counter() - begin))
        if self._quick and not _done_within(replies, GRACE):
            self._quick = False
        try:
            return await Wait(replies)
        except Exception as error:  # the loop thread has ended (`guarded` catches source errors)
            failed = Reply(error=f"{type(error).__name__}: {error}", fault=True)
            return [failed] * len(sequences)

    def _replied(self, seconds: float) -> None:
        self._quick = seconds < GRACE
        self._wake()

    def _resume(self) -> None:
        """Continue the calls whose wait is over; end those whose texts were cancelled."""
        calls, continuing = self._calls, list[_Call]()
        self._calls = []
        for call in calls:
            ended = [sequence.end_if_done() for sequence in call.sequences]
            if all(ended):
                call.cancel()
                self.backend.unpark([call.parked])  # it removes ended sequences
            else:
                (continuing if call.can_continue else self._calls).append(call)
        if continuing:
            self.backend.unpark([call.parked for call in continuing])
            for call in continuing:
                self._run(call)

    def _run(self, call: _Call) -> None:
        """Run a call until it ends or has to wait; in that case, set its sequences aside."""
        if not call.run():
            call.parked = self.backend.park([s for s in call.sequences if not s.ended])
            self._calls.append(call)

    def _apply(self, sequence: TextSequence, outcome: CallOutcome | None) -> None:
        sequence.apply(outcome, self.backend.context)
        self.backend.applied(sequence, outcome is not None and outcome.option is not None)


def _may_call(sequence: TextSequence, scores: NextScores, row: int) -> bool:
    """True if nothing but the policy could prevent a call of the sequence at this token."""
    engine = sequence.engine
    if isinstance(engine.policy, Never) or not sequence.may_call or not scores.can_call(row):
        return False
    return engine.at == "any" or begins_word(sequence.text, scores.own_bytes(row))


def _select_signals(
    signals: SignalBatch, places: list[int], sequences: Sequence[TextSequence]
) -> SignalBatch:
    """Return the signals of the sequences at ``places``."""
    all_of_them = len(places) == len(signals)
    return SignalBatch(
        margin=signals.margin if all_of_them else signals.margin[places],
        position=[sequence.generated for sequence in sequences],
        text=lambda place: sequences[place].text,
        compute=signals.compute if all_of_them else lambda by: signals.compute(by)[places],
    )


def _done_within(future: Future[Any], seconds: float) -> bool:
    try:
        future.exception(seconds)
    except TimeoutError:
        return False
    return True
