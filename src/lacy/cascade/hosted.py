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
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lacy.cascade.call import Settled
from lacy.cascade.engine import Engine
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.hosted_scores import HostedScores, HostedUsual, margin_of, signals_of
from lacy.cascade.hosted_server import FORBIDDEN, Ask, Step
from lacy.cascade.policy import Always, Controller, Decision, Never, Oracle, Policy, Threshold
from lacy.cascade.row import Row
from lacy.cascade.speaking import begins_word
from lacy.errors import LacyError
from lacy.sources.protocol import Source
from lacy.types import CALL_TOKEN, Reply, Request, Span

AHEAD = 8
"""Tokens read ahead where every step is decided here."""

STRETCH = 64
"""Tokens of one request where the server stops at calls; nobody waits longer for a neighbour."""

Way = Literal["alone", "stops", "ahead"]


@dataclass(slots=True)
class HostedRow(Row):
    """A row with the steps that the server has told of already."""

    steps: list[Step] = field(default_factory=list)
    inside: bool = False
    """Whether the text ends inside a character (where a server that tells pieces says so)."""

    def say(self, token: int) -> None:
        """The SLM's own next token, in the server's spelling where it gives one."""
        piece = self.steps[0].piece if self.steps else None
        if piece is None:
            Row.say(self, token)
            return
        out, self.out = self.out, _Told(piece)  # type: ignore[assignment]
        Row.say(self, token)
        self.out, self.inside = out, not piece


class _Told:
    """A text stream that says what it was told."""

    def __init__(self, piece: str) -> None:
        self._piece = piece

    def add(self, token: int) -> str:
        return self._piece


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
        self.server, self.ahead = hosted.server, ahead
        self.guessed = 0
        super().__init__(hosted, source, policy, **settings)
        calibration = settings.get("calibration")
        if calibration is not None:
            usual = HostedUsual(hosted, calibration, self.call_id)
            self.caller = replace(self.caller, usual=usual)
        if source is not None and self.server.dialect == "text":
            self.caller = replace(self.caller, source=_Plain(source, self._special))

    @property
    def way(self) -> Way:
        """Who decides on calls: nobody, the server by its bias, or the policy step by step."""
        if isinstance(self.policy, Never):
            return "alone"
        greedy = isinstance(self.policy, Threshold) and self.temperature == 0
        stops = greedy and self.policy.reads == "margin" and abs(self._limit) < -FORBIDDEN
        return "stops" if stops else "ahead"

    @property
    def _limit(self) -> float:
        return self.policy.limit if isinstance(self.policy, Threshold) else 0.0

    @property
    def _reads_nothing(self) -> bool:
        return self.policy.reads in ("", "random")

    @property
    def _special(self) -> tuple[str, ...]:
        """Texts that a server which cuts texts itself would take for the tokens of these names."""
        return (CALL_TOKEN, *map(str, self.tokenizer.all_special_tokens))

    def _take(self, policy: Policy) -> None:
        super()._take(policy)
        why = ""
        if policy.reads == "entropy":
            why = "it tells the likeliest tokens only, and entropy is made of all"
        elif self.gate == "sigmoid" and policy.reads in ("margin", "p_call"):
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
        found = self._go_on(wanting, [self._most(row) for row in wanting], [
            self.way != "stops" or not self.may_call(row) for row in wanting
        ])  # fmt: skip
        for row, steps in zip(wanting, found, strict=True):
            row.steps = steps

    def _most(self, row: HostedRow) -> int:
        """Tokens to ask for."""
        if self.way == "ahead":
            length = 1 if isinstance(self.policy, Always) else self.ahead
        else:
            length = STRETCH if self.way == "alone" or self.may_call(row) else 1
        return max(1, min(length, row.limit - row.spoken, self.context - len(row.ids)))

    def _go_on(
        self, rows: Sequence[HostedRow], most: Sequence[int], silent: Sequence[bool]
    ) -> list[list[Step]]:
        """The next steps of rows, ``silent`` ones without ``<CALL>``."""
        asks = []
        for row, count, without in zip(rows, most, silent, strict=True):
            by = FORBIDDEN if without else -self._limit
            bias = {} if self.call_id is None or not by else {self.call_id: by}
            seed = self.seed * 1_000_003 + row.number * 1_009 + row.spoken
            ends = self.way == "ahead" and not self._reads_nothing
            asks.append(Ask(row.ids, row.text, count, bias, seed % (1 << 31), ends))
        return self.server.go_on(asks, self.temperature, self.top_p)

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
            scores,  # type: ignore[arg-type]
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
        if self.policy.reads in ("margin", "p_call"):
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


class _Plain:
    """A source without candidates that a server would read as special tokens."""

    def __init__(self, source: Source, special: Sequence[str]) -> None:
        self.name, self._source, self._special = source.name, source, special

    @property
    def inner(self) -> tuple[Source, ...]:
        return (self._source,)

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        replies = await self._source.ask(requests)
        return [self._cleared(reply) for reply in replies]

    def _cleared(self, reply: Reply) -> Reply:
        fine = [c for c in reply.candidates if not any(name in c.text for name in self._special)]
        if len(fine) == len(reply.candidates):
            return reply
        error = None if fine else "the answer holds the name of a special token"
        return replace(reply, candidates=tuple(fine), error=error)
