"""Many texts at once, each with settings of its own, that come and go while others run.

``Engine.generate`` takes a list of texts and returns when all are done. ``Running`` holds whatever
is being written just now: at every step each text grows by one token, new ones join, finished ones
leave, and a text that waits for its source steps aside, so that no other waits with it. What is
said is the same as by ``Engine.generate`` with that text alone: neighbours change nothing.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from lacy.cascade.call import NOBODY
from lacy.cascade.engine import Engine
from lacy.cascade.policy import Decision, Never, SignalBatch
from lacy.cascade.row import Row
from lacy.cascade.scores import TokenScore, token_scores
from lacy.cascade.signals import step_signals, without_call
from lacy.cascade.speaking import begins_word
from lacy.cascade.stream import Stream
from lacy.errors import LacyError
from lacy.model import RaggedDecoder
from lacy.remote import LoopThread
from lacy.sources import guarded
from lacy.types import Reply, Span

PREFILL = 256
"""Prompt tokens read per step, so that a long prompt does not keep the others waiting."""

GRACE = 0.002
"""Seconds that all wait for a source that has been as quick as that before."""


@dataclass(eq=False)
class Away:
    """Texts that wait for one answer of a source; ``decoder`` holds their cache."""

    streams: list[Stream]
    decoder: RaggedDecoder
    replies: Future[list[Reply]]


class Running:
    """Texts that are being written. Not for several threads, but for ``Stream.cancelled``.

    Args:
        engine: the model, its source and what all texts share; each stream has a ``variant``.
        loop_thread: where sources are asked.
        on_reply: called in that thread after each reply of a source.
        prefill: most prompt tokens read per step.
    """

    turn: AbstractContextManager[None] = nullcontext()  # one thread does everything here

    def __init__(
        self,
        engine: Engine,
        loop_thread: LoopThread,
        on_reply: Callable[[], None] = lambda: None,
        *,
        prefill: int = PREFILL,
    ) -> None:
        if engine.caller.heal:
            raise ValueError("healing takes back a token of every text")
        self.engine = engine
        self.decoder = self._fresh()
        self.streams: list[Stream] = []
        self.away: list[Away] = []
        self._new: deque[tuple[list[Stream], RaggedDecoder]] = deque()
        self._loop_thread, self._on_reply, self._prefill = loop_thread, on_reply, prefill
        self._quick = True
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Texts in hand, whatever they wait for."""
        new, away = (s for s, _ in self._new), (a.streams for a in self.away)
        return len(self.streams) + sum(map(len, itertools.chain(new, away)))

    @property
    def stuck(self) -> bool:
        """Whether a step could do nothing, as every text waits for a source (or there is none)."""
        if self.streams or self._new:
            return False
        return not any(a.replies.done() or any(s.cancelled for s in a.streams) for a in self.away)

    def add(self, streams: Sequence[Stream]) -> None:
        """Take up texts that begin with the same prompt (which is read once).

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context.
        """
        first = streams[0].row
        needed = len(first.ids) + (not first.done)  # a text that is only measured needs no room
        if needed > self.decoder.context:
            raise LacyError("E60", tokens=needed, context=self.decoder.context)
        for stream in streams:
            stream.row.stream = next(self._numbers)
        self._new.append((list(streams), self._fresh()))

    def step(self) -> None:
        """Let every text that can go on by one token, after those that come and return."""
        self._read_in()
        self._return()
        self._decide()
        self._measure()
        self._leave([])
        if self.streams:
            plans = zip(self.streams, self.decoder.tokens_BT, strict=True)
            self.decoder.feed([[stream.row.ids[len(read)]] for stream, read in plans])

    def fail(self, failure: Exception) -> None:
        """End all texts with an error, and begin anew."""
        waiting = [s for away in self.away for s in away.streams]
        every = [*self.streams, *waiting, *(s for streams, _ in self._new for s in streams)]
        self.streams, self.away, self.decoder = [], [], self._fresh()
        self._new.clear()
        for stream in every:
            stream.fail(failure)
            stream.finish()

    def close(self) -> None:
        """Nothing is open."""

    def _fresh(self) -> RaggedDecoder:
        return RaggedDecoder(self.engine.model, call_id=self.engine.call_id)

    def _read_in(self) -> None:
        """Read prompts, the first come first, as far as one step allows."""
        left, ready = self._prefill, []
        while self._new and left > 0:
            streams, decoder = self._new[0]
            streams = [stream for stream in streams if not _ended(stream)]
            if not streams:
                self._new.popleft()
                continue
            ids, start = streams[0].row.ids, decoder.length
            self._read(streams, decoder, ids[start : start + left])
            left -= decoder.length - start
            if decoder.length == len(ids):
                self._new.popleft()
                decoder.keep([0] * len(streams))
                ready.append(decoder)
                self.streams += streams
            else:
                self._new[0] = (streams, decoder)
        self.decoder.join(ready)

    def _read(self, streams: list[Stream], decoder: RaggedDecoder, tokens: list[int]) -> None:
        """Read a part of a prompt; measure it for those that want it."""
        scorers = [s.scorer for s in streams if s.scorer is not None and s.scorer.pending]
        if not scorers:
            decoder.feed([tokens])
            return
        ids, start = streams[0].row.ids, decoder.length
        token_text = self.engine.token_text
        bytes_of = token_text.written if scorers[0].named else token_text.bytes_of
        for scorer in scorers if start == 0 else ():
            if streams[0].row.implied:
                scorer.skip()
            else:
                scorer.add([TokenScore(bytes_of(ids[0]), None)])
        logits_TV = decoder.feed_all([tokens])[0]
        following = ids[start + 1 : start + 1 + len(tokens)]
        scores = self._scores(logits_TV[: len(following)], following, streams)
        scores = [replace(s, text=bytes_of(n)) for s, n in zip(scores, following, strict=True)]
        for scorer in scorers:
            scorer.add(scores)

    def _measure(self) -> None:
        """How likely the next token of each text's plan is, for those that want to know."""
        read = self.decoder.tokens_BT
        due = [
            n
            for n, s in enumerate(self.streams)
            if s.scorer is not None and s.scorer.at == len(read[n]) < len(s.row.ids)
        ]
        if due:
            streams = [self.streams[n] for n in due]
            tokens = [s.row.ids[len(read[n])] for n, s in zip(due, streams, strict=True)]
            scores = self._scores(self.decoder.last_BV[due], tokens, streams)
            for stream, score in zip(streams, scores, strict=True):
                assert stream.scorer is not None
                stream.scorer.add([score])
                stream.release()

    def _scores(
        self, logits_NV: Tensor, tokens: Sequence[int], streams: Sequence[Stream]
    ) -> list[TokenScore]:
        top = max(stream.scorer.top for stream in streams if stream.scorer is not None)
        return token_scores(logits_NV, tokens, top, self.engine.call_id, self.engine.token_text)

    def _return(self) -> None:
        """Let those back in whose source has answered, and say what came of it."""
        came = [away for away in self.away if away.replies.done()]
        self.away = [away for away in self.away if away not in came]
        for away in self.away:
            if any(stream.cancelled for stream in away.streams):
                kept = [n for n, stream in enumerate(away.streams) if not _ended(stream)]
                away.decoder.keep(kept)
                away.replies = _only(away.replies, kept)
                away.streams = [away.streams[n] for n in kept]
        self.away = [away for away in self.away if away.streams]
        if not came:
            return
        first = len(self.streams)
        self.streams += [stream for away in came for stream in away.streams]
        self.decoder.join([away.decoder for away in came])
        replies = [r for away in came for r in _replies(away.replies, len(away.streams))]
        self._settle(list(range(first, len(self.streams))), replies)

    def _decide(self) -> None:
        """Let every text whose plan is used up go on by its own token, or call."""
        read = self.decoder.tokens_BT
        ready = [
            n for n, s in enumerate(self.streams) if not s.done and len(s.row.ids) == len(read[n])
        ]
        if not ready:
            return
        logits_RV = self.decoder.last_BV[ready]
        own_RV = without_call(logits_RV, self.engine.call_id)
        greedy = own_RV.argmax(dim=-1).tolist()
        calling = []
        decisions = self._decisions([self.streams[n] for n in ready], logits_RV, greedy)
        for place, n in enumerate(ready):
            stream = self.streams[n]
            stream.own = greedy[place]
            if stream.engine.temperature > 0 or stream.row.spoken < stream.engine.least:
                try:
                    drawn = stream.engine.own_tokens([stream.row], own_RV[place : place + 1])
                except Exception as error:  # no probabilities are left to draw from
                    stream.fail(error)
                    continue
                stream.own = drawn[0]
            if stream.done:
                continue
            decision, margin = decisions[place]
            if stream.engine.observer is not None:
                here = logits_RV[place : place + 1]
                stream.engine.observer.decided([stream.row], here, [decision])
            if decision.call:
                stream.call = Span("", "slm", reason=decision.reason, margin=margin)
                calling.append(n)
            else:
                stream.apply(stream.own, None, self.decoder.context)
        if calling:
            self._ask(calling)

    def _decisions(
        self, streams: Sequence[Stream], logits_RV: Tensor, greedy: Sequence[int]
    ) -> list[tuple[Decision, float | None]]:
        """Each stream's decision by its own policy, from signals measured together."""
        made: list[tuple[Decision, float | None]] = [(Decision(False), None)] * len(streams)
        able = [n for n, stream in enumerate(streams) if self._able(stream, greedy[n])]
        if not able:
            return made
        logits_AV = logits_RV[able]
        call_id, gate = self.engine.call_id, self.engine.gate
        together = step_signals(logits_AV, call_id, [0] * len(able), lambda place: "", gate)
        together.compute = cache(together.compute)
        for place, n in enumerate(able):
            signals = _one_of(together, place, streams[n].row)
            try:
                decision = streams[n].controller.decide(signals)[0]
            except Exception as error:  # an oracle, say, that fails
                streams[n].fail(error)
                continue
            made[n] = decision, float(signals.margin[0]) if call_id is not None else None
        return made

    def _able(self, stream: Stream, token: int) -> bool:
        """Whether a text may call here."""
        if isinstance(stream.engine.policy, Never) or not stream.engine.may_call(stream.row):
            return False
        piece = self.engine.token_text.bytes_of(token)
        return self.engine.at == "any" or begins_word(stream.row.text, piece)

    def _ask(self, places: list[int]) -> None:
        """Ask for these texts together; whoever is not answered at once steps aside."""
        streams = [self.streams[n] for n in places]
        source = self.engine.source
        if source is None:
            self._settle(places, [Reply(error=NOBODY)] * len(places))
            return
        requests = [stream.engine.caller.requests([stream.row])[0] for stream in streams]
        begin = time.perf_counter()
        work = guarded(source, requests, timeout=self.engine.caller.timeout)
        replies = self._loop_thread.submit(work)
        replies.add_done_callback(lambda _: self._note(time.perf_counter() - begin))
        replies.add_done_callback(lambda _: self._on_reply())
        if self._quick and _done_within(replies, GRACE):
            self._settle(places, _replies(replies, len(places)))
            return
        self._quick = False
        self.away.append(Away(streams, self.decoder.part(places), replies))
        self._leave(places)

    def _note(self, seconds: float) -> None:
        self._quick = seconds < GRACE

    def _settle(self, places: Sequence[int], replies: Sequence[Reply]) -> None:
        """Write into texts what came of their calls; texts of one unit are ranked together."""
        for unit in {self.streams[n].engine.unit for n in places}:
            which = [k for k, n in enumerate(places) if self.streams[n].engine.unit == unit]
            streams = [self.streams[places[k]] for k in which]
            outcomes = streams[0].engine.caller.outcomes(
                self.decoder,
                [places[k] for k in which],
                [stream.row for stream in streams],
                [stream.call for stream in streams],
                [replies[k] for k in which],
            )
            for stream, outcome in zip(streams, outcomes, strict=True):
                stream.apply(stream.own, outcome, self.decoder.context)

    def _leave(self, aside: Sequence[int]) -> None:
        """Take out texts that step aside, and those that are done, which say so."""
        out = set(aside)
        kept = [n for n, stream in enumerate(self.streams) if n not in out and not _ended(stream)]
        if len(kept) < len(self.streams):
            self.decoder.keep(kept)
            self.streams = [self.streams[n] for n in kept]


def _ended(stream: Stream) -> bool:
    """Whether a text is done; the end is said here."""
    done = stream.done  # asked once: another thread may cancel
    if done:
        stream.finish()
    return done


def _one_of(together: SignalBatch, place: int, row: Row) -> SignalBatch:
    """What a policy may look at for one of several texts."""
    return SignalBatch(
        margin=together.margin[place : place + 1],
        position=[row.spoken],
        text=lambda _: row.text,
        compute=lambda by: together.compute(by)[place : place + 1],
    )


def _done_within(replies: Future[list[Reply]], seconds: float) -> bool:
    try:
        replies.exception(seconds)
    except TimeoutError:
        return False
    return True


def _replies(replies: Future[list[Reply]], wanted: int) -> list[Reply]:
    """Replies that are there; whoever asks for a source answers for its failures."""
    failure = replies.exception()
    if failure is not None:
        return [Reply(error=f"{type(failure).__name__}: {failure}")] * wanted
    return replies.result()


def _only(replies: Future[list[Reply]], kept: Sequence[int]) -> Future[list[Reply]]:
    """Of replies still to come, those of the texts that are still there."""
    chosen: Future[list[Reply]] = Future()

    def choose(done: Future[list[Reply]]) -> None:
        failure = done.exception()
        if failure is not None:
            chosen.set_exception(failure)
        else:
            chosen.set_result([done.result()[n] for n in kept])

    replies.add_done_callback(choose)
    return chosen
