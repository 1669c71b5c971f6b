"""The cascade over a model that an engine of others holds: stop, ask, append, go on.

``HostedEngine`` is ``Engine`` without the model: rows, policies, calls, ranking and spans are the
same code; only the next tokens and the likelihoods of candidates come over HTTP. A threshold of the
``<CALL>`` margin is a bias of ``<CALL>``, so the server itself stops where the model calls, and a
text takes one request per call. Any other policy reads a few tokens ahead, written without
``<CALL>``, with the likeliest tokens of each step; where it calls, the rest is forgotten.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from lacy.cascade.call import Caller, Settled
from lacy.cascade.engine import Engine
from lacy.cascade.hosted_flow import flow
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.hosted_row import HostedRow
from lacy.cascade.hosted_scores import (
    HostedReferenceLikelihoods,
    HostedScores,
    margin_of,
    signals_of,
)
from lacy.cascade.hosted_server import FORBIDDEN
from lacy.cascade.hosted_steps import Ask, Step
from lacy.cascade.hosted_turns import Turns
from lacy.cascade.observing import Observer
from lacy.cascade.policy import Always, Controller, Decision, Never, Oracle, Policy, Threshold
from lacy.cascade.row import Row
from lacy.cascade.speaking import begins_word
from lacy.cascade.stream import Stream
from lacy.errors import LacyError
from lacy.sources import Source
from lacy.types import CALL_TOKEN, Reply, Span

AHEAD = 8
"""Tokens read ahead where every step is decided here."""

STRETCH = 64
"""Tokens of one request where the server stops at calls; nobody waits longer for a neighbour."""

HEARD = 16
"""The same where somebody listens, at a server whose own streams lose parts of characters."""

Way = Literal["alone", "stops", "ahead"]


class HostedEngine(Engine):
    """An SLM at a server that calls a source; spans and provenance as of ``Engine``.

    What is held exactly: ``never``, ``always``, oracles, ``random``, and thresholds of the margin
    in greedy texts. Where ``<CALL>`` is among the ``top`` likeliest tokens, so are budgets and the
    other thresholds but entropy; where it is not, its margin is taken as large as it can be, and
    ``guessed`` counts that.

    Args:
        hosted: as from ``connect``.
        source: who answers; None: calls are decided and counted, but stay without an answer.
        policy: when to call.
        ahead: tokens read ahead where every step is decided here.
        settings: as of ``Engine``; ``heal`` is not offered.

    Raises:
        LacyError: as ``Engine``; E92 for a policy that a server cannot hold.
    """

    def __init__(
        self,
        hosted: Hosted,
        source: Source | None = None,
        policy: Policy | str | None = None,
        *,
        ahead: int = AHEAD,
        **settings: Any,
    ) -> None:
        if settings.get("heal"):
            do = "leave it out: a server re-encodes nothing"
            raise LacyError("E12", key="heal", value=True, why="the model is hosted", do=do)
        self.server, self.ahead, self.stretch = hosted.server, ahead, STRETCH
        self.guessed = 0
        super().__init__(hosted, source, policy, **settings)
        calibration = settings.get("calibration")
        if calibration is not None:
            reference = HostedReferenceLikelihoods(hosted, calibration, self.call_id)
            self.caller = replace(self.caller, reference=reference)
        if self.server.dialect == "text":
            known = {f.name: getattr(self.caller, f.name) for f in fields(self.caller)}
            self.caller = _PlainCaller(**known, special=self._special)

    @property
    def way(self) -> Way:
        """Who decides on calls: nobody, the server by its bias, or the policy step by step."""
        if isinstance(self.policy, Never):
            return "alone"
        greedy = isinstance(self.policy, Threshold) and self.temperature == 0
        stops = greedy and self.policy.signal == "margin" and abs(self._limit) < -FORBIDDEN
        return "stops" if stops else "ahead"

    @property
    def _limit(self) -> float:
        return self.policy.limit if isinstance(self.policy, Threshold) else 0.0

    @property
    def _reads_nothing(self) -> bool:
        return self.policy.signal in ("", "random")

    @property
    def _special(self) -> tuple[str, ...]:
        """Texts that a server which cuts texts itself would take for the tokens of these names."""
        return (CALL_TOKEN, *map(str, self.tokenizer.all_special_tokens))

    def _take(self, policy: Policy) -> None:
        super()._take(policy)
        why = ""
        if policy.signal == "entropy":
            why = "it tells the likeliest tokens only, and entropy is made of all"
        elif self.gate == "sigmoid" and policy.signal in ("margin", "p_call"):
            why = "the model's <CALL> is a gate of its own, beside the probabilities it tells"
        if why:
            raise LacyError("E92", policy=policy, why=why)

    def row(
        self, number: int, prompt: str, subject: str | None, limit: int, given: Sequence[int] = ()
    ) -> HostedRow:
        """A text to be continued.

        Raises:
            LacyError: E91 for a prompt that the server would read as special tokens.
        """
        found = [name for name in self._special if name in prompt]
        if found and self.server.dialect == "text":
            why = f"the prompt holds {found[0]!r}, which it would read as that token"
            raise LacyError("E91", url=self.server.url, why=why, do="write it in another way")
        made = super().row(number, prompt, subject, limit, given)
        return HostedRow(
            made.number, made.stream, made.subject, made.ids, made.text, made.out, made.limit,
            spans=made.spans,
        )  # fmt: skip

    def may_call(self, row: Row) -> bool:
        """Not inside a character, and not again and again at the same place."""
        return super().may_call(row) and not (isinstance(row, HostedRow) and row.inside)

    # ----------------------------------------------------------------------------- the loop

    def _run_all(
        self, rows: Sequence[Row], controller: Controller, loop: asyncio.AbstractEventLoop
    ) -> None:
        context = self.context
        longest = max((len(row.ids) for row in rows), default=0)
        if longest >= context:
            raise LacyError("E60", tokens=longest + 1, context=context)
        hosted = [row for row in rows if isinstance(row, HostedRow)]
        with self.server.connected(loop):
            for start in range(0, len(hosted), self.batch_size):
                batch = hosted[start : start + self.batch_size]
                while batch:
                    self._round(batch, controller, loop)
                    batch = [row for row in batch if not row.done]

    def write(self, stream: Stream, serving: Turns, asking: Turns) -> None:
        """Write one text until it ends or is cancelled; its listener hears what became final.

        Args:
            stream: the text, made with this engine.
            serving: where requests to the server run; ``server`` is connected to it.
            asking: where the source is asked.

        Raises:
            LacyError: E93.
        """
        row, engine = stream.row, self.variant()
        assert isinstance(row, HostedRow) and isinstance(engine, HostedEngine)
        engine.observer = _Telling(stream, self.observer)
        flows = self.server.dialect == "ids" and engine.way != "ahead"
        engine.stretch = engine.context if flows else HEARD
        while not stream.done:
            if flows and not row.steps:
                engine._flow(row, serving)
            if row.steps or not flows:
                engine._round([row], stream.controller, asking)  # type: ignore[arg-type]  # asks like a loop

    def _flow(self, row: HostedRow, serving: Turns) -> None:
        """Say what the server writes, token by token, up to a call (which is kept) or its end."""
        (ask,) = self._asks([row], [self._most(row)], [self._silent(row)])
        ask = replace(ask, ids=list(row.ids))  # the row grows while it is read

        async def flowing(told: Callable[[Step], None]) -> None:
            await flow(self.server, ask, self.temperature, self.top_p, told)

        steps = serving.each(flowing)
        with closing(steps):
            for step in steps:
                row.steps = [step]
                if step.token == self.call_id:
                    return
                self._own(row, None)
                if row.done:
                    return

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        return int(self.model.config.max_position_embeddings or 1 << 30)

    def _round(
        self, active: list[HostedRow], controller: Controller, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Let rows go on: as far as the server wrote, or all that are equally long by a token."""
        self._fill(active)
        if self.way != "ahead":
            for row in active:
                self._speak(row)
            ready = [row for row in active if row.steps and not row.done]
        else:
            free = isinstance(self.policy, Always | Threshold | Oracle)
            shortest = min(len(row.ids) for row in active)
            ready = [row for row in active if free or len(row.ids) == shortest]
        if ready:
            self._decide_here(ready, controller, loop)

    def _speak(self, row: HostedRow) -> None:
        """Say what was told, up to a call."""
        while row.steps and not row.done and row.steps[0].token != self.call_id:
            self._own(row, None)

    def _own(self, row: HostedRow, outcome: Settled | None) -> None:
        """Say the first step as the SLM's own."""
        self.apply(row, row.steps[0].token, outcome, self.context)
        del row.steps[0]

    def _fill(self, rows: Sequence[HostedRow]) -> None:
        """Ask for what comes next in the rows of which nothing more is known."""
        wanting = [row for row in rows if not row.steps]
        found = self._go_on(
            wanting, [self._most(row) for row in wanting], [self._silent(row) for row in wanting]
        )
        for row, steps in zip(wanting, found, strict=True):
            row.steps = steps

    def _silent(self, row: HostedRow) -> bool:
        """Whether what comes next is asked for without ``<CALL>``."""
        return self.way != "stops" or not self.may_call(row)

    def _most(self, row: HostedRow) -> int:
        """Tokens to ask for."""
        if self.way == "ahead":
            length = 1 if isinstance(self.policy, Always) else self.ahead
        else:
            length = self.stretch if self.way == "alone" or self.may_call(row) else 1
        return max(1, min(length, row.limit - row.spoken, self.context - len(row.ids)))

    def _go_on(
        self, rows: Sequence[HostedRow], most: Sequence[int], silent: Sequence[bool]
    ) -> list[list[Step]]:
        """The next steps of rows, ``silent`` ones without ``<CALL>``."""
        asks = self._asks(rows, most, silent)
        return self.server.go_on(asks, self.temperature, self.top_p)

    def _asks(
        self, rows: Sequence[HostedRow], most: Sequence[int], silent: Sequence[bool]
    ) -> list[Ask]:
        asks = []
        for row, count, without in zip(rows, most, silent, strict=True):
            by = FORBIDDEN if without else -self._limit
            bias = {} if self.call_id is None or not by else {self.call_id: by}
            seed = self.seed * 1_000_003 + row.number * 1_009 + row.spoken
            ends = self.way == "ahead" and not self._reads_nothing
            asks.append(Ask(row.ids, row.text, count, bias, seed % (1 << 31), ends))
        return asks

    def _decide_here(
        self,
        rows: list[HostedRow],
        controller: Controller,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Let rows call, or say their own next token."""
        before = [row.spoken for row in rows]
        if self.at == "word":
            self._find_own([row for row in rows if row.steps[0].token == self.call_id], keep=True)
        decisions, margins = self._decisions(rows, controller)
        calling = [n for n, made in enumerate(decisions) if made.call]
        scores = HostedScores(self.server, self.context, rows)
        settled = self.caller.settle(
            scores,  # type: ignore[arg-type]  # ranks like a decoder
            calling,
            [rows[n] for n in calling],
            [Span("", "slm", reason=decisions[n].reason, margin=margins[n]) for n in calling],
            loop,
        )
        outcomes: dict[int, Settled] = dict(zip(calling, settled, strict=True))
        answered = {n for n, outcome in outcomes.items() if outcome.option is not None}
        for n in answered:
            rows[n].steps, rows[n].inside = [], False
            self.apply(rows[n], -1, outcomes[n], self.context)
        others = [n for n in range(len(rows)) if n not in answered]
        self._find_own([rows[n] for n in others])
        for n in others:
            self._own(rows[n], outcomes.get(n))
        spoken = [row.spoken - old for row, old in zip(rows, before, strict=True)]
        asked = sum(spoken[n] for n in calling)
        controller.account(calls=len(calling), asked=asked, tokens=sum(spoken))

    def _find_own(self, rows: Sequence[HostedRow], *, keep: bool = False) -> None:
        """What the SLM says itself where it would call; with ``keep`` the call stays before it."""
        rows = [row for row in rows if row.steps[0].token == self.call_id]
        known = [row for row in rows if len(row.steps) > 1]
        wanting = [row for row in rows if len(row.steps) == 1]
        found = self._go_on(wanting, [1] * len(wanting), [True] * len(wanting)) if wanting else []
        for row, steps in zip(wanting, found, strict=True):
            row.steps += steps
        for row in [] if keep else [*known, *wanting]:
            del row.steps[0]

    def _decisions(
        self, rows: Sequence[HostedRow], controller: Controller
    ) -> tuple[list[Decision], list[float | None]]:
        """The policy's decision and the margin of each row; no call where none is possible."""
        decisions = [Decision(False)] * len(rows)
        margins: list[float | None] = [None] * len(rows)
        able = [n for n, row in enumerate(rows) if self.may_call(row) and self._may_begin(row)]
        if self.way == "alone" or not able:
            return decisions, margins
        heads = [rows[n].steps[0] for n in able]
        margin = np.array([margin_of(step, self.call_id) for step in heads])
        if self.policy.signal in ("margin", "p_call"):
            self.guessed += sum(self.call_id not in step.top for step in heads)
        if self.way == "stops":  # the server compared whole logits, so it knows better
            margin = np.maximum(margin, np.nextafter(self._limit, math.inf))
        signals = signals_of(heads, margin, [rows[n] for n in able], self.call_id)
        for place, (n, made) in enumerate(zip(able, controller.decide(signals), strict=True)):
            decisions[n] = made
            margins[n] = float(margin[place]) if self.call_id is not None else None
        return decisions, margins

    def _may_begin(self, row: HostedRow) -> bool:
        """Whether a word may begin here, where only such places call."""
        if self.at == "any":
            return True
        own = row.steps[1] if row.steps[0].token == self.call_id else row.steps[0]
        piece = own.piece
        told = self.token_text.bytes_of(own.token) if piece is None else piece.encode()
        return begins_word(row.text, told)


class _Telling:
    """An observer that lets a text's listener hear what it has grown by, and end it."""

    def __init__(self, stream: Stream, before: Observer | None) -> None:
        self._stream, self._before, self._grown = stream, before, stream.grown

    def decided(self, rows: Any, logits_RV: Any, decisions: Any) -> None:
        """Never called: nobody here has seen the logits."""

    def applied(self, row: Row, own: int, settled: Settled | None) -> None:
        """The text has grown."""
        if self._before is not None:
            self._before.applied(row, own, settled)
        self._stream.tell(self._grown)
        self._grown = self._stream.grown
        row.done = row.done or self._stream.cancelled


@dataclass(frozen=True, slots=True)
class _PlainCaller(Caller):
    """Takes no candidates that a server would read as special tokens."""

    special: tuple[str, ...] = ()

    def outcomes(
        self, decoder: Any, places: Any, rows: Any, spans: Any, replies: Sequence[Reply]
    ) -> list[Settled]:
        """As of ``Caller``."""
        cleared = [self._cleared(reply) for reply in replies]
        return Caller.outcomes(self, decoder, places, rows, spans, cleared)

    def _cleared(self, reply: Reply) -> Reply:
        fine = [c for c in reply.candidates if not any(name in c.text for name in self.special)]
        if len(fine) == len(reply.candidates):
            return reply
        error = None if fine else "the answer holds the name of a special token"
        return replace(reply, candidates=tuple(fine), error=error)
