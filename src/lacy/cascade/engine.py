"""The cascade: at every token the SLM speaks or a source does, and the text says who did (§5).

One step of the loop: feed the next token of every row; the rows whose plan is used up decide. The
policy names those that call; all of them are asked at once; an answer becomes forced tokens, no
answer means that the SLM says its own word. Nothing is ever computed twice, rows never wait for
padding, and a text can neither hang nor lose a character.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lacy.cascade.calibration import Calibration
from lacy.cascade.call import Caller, Settled
from lacy.cascade.loops import outside_loops
from lacy.cascade.observing import Observer
from lacy.cascade.policy import Controller, Decision, Never, Policy, parse_policy, with_calibration
from lacy.cascade.rank import DEFAULT_ABSTAIN, Abstain
from lacy.cascade.row import Row
from lacy.cascade.signals import call_id_of, step_signals, without_call
from lacy.cascade.speaking import begins_word, drawn, without_ends
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import Decoder, end_ids, gate_of
from lacy.sources import DEFAULT_TIMEOUT, Source
from lacy.types import Answer, Span, Unit

DEFAULT_MAX_NEW_TOKENS = 128
DEFAULT_BATCH = 32

At = Literal["any", "word"]
"""Where a row may call: at any token, or only where a word or number begins."""

CALLS_IN_ROW: dict[Unit, int | None] = {"token": None, "word": None, "value": 2}
"""Answered calls allowed directly after one another. A source that goes on naming values at one
place would fill the text with them; token by token, long answers are the normal case."""


class Engine:
    """An SLM that calls a source.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        source: who answers; None: calls are decided and counted, but stay without an answer.
        policy: when to call, as a value or its text (``"budget=0.22"``).
        unit: how much one call returns: ``"token"`` (the paper), ``"word"`` or ``"value"``.
        max_new_tokens: most generated tokens per text, whoever speaks them.
        temperature: 0 is greedy (the paper).
        top_p: sample from the smallest set of tokens with this probability.
        seed: of sampling; a text's draws depend on it and on the text's number only.
        abstain: score that a ranked candidate must reach; see ``rank.Abstain``.
        at: where a row may call: at ``"any"`` token, or only where a ``"word"`` or number begins
            (a value that is put into the middle of one tears both).
        calls_in_row: answered calls allowed directly after one another; by unit if not given.
        timeout: seconds to wait for a source, per step; None waits for ever.
        batch_size: texts decoded together.
        heal: re-encode the last token together with the answer (see ``rank.options_for``).
        remember: keep the policy's running state from one ``generate`` to the next; by default
            each starts afresh, so that its result depends on nothing before.
        calibration: of this model (``calibrate``): how likely each kind of value is where it is
            due, and signals that a budget starts from.

    Raises:
        LacyError: E12 for an ``at`` that there is not, E61 for a text that names no policy, E62 for
            a policy that reads ``<CALL>`` and a model without it.
    """

    def __init__(
        self,
        loaded: Any,
        source: Source | None = None,
        policy: Policy | str | None = None,
        *,
        unit: Unit = "value",
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        abstain: Abstain = DEFAULT_ABSTAIN,
        at: At = "any",
        calls_in_row: int | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        batch_size: int = DEFAULT_BATCH,
        heal: bool = False,
        remember: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        self.loaded = loaded
        self.notes: tuple[str, ...] = ()
        self.model = loaded.model.eval()
        self.tokenizer = loaded.tokenizer
        self.source = source
        self.policy: Policy = parse_policy(policy) if isinstance(policy, str) else policy or Never()
        self.unit: Unit = unit
        self.at: At = _one_of("at", at, get_args(At))
        self.max_new_tokens = _at_least("max_new_tokens", max_new_tokens, 1)
        self.temperature = _at_least("temperature", temperature, 0.0)
        self.top_p = _at_least("top_p", top_p, 0.0)
        self.seed = seed
        self._calls_in_row = calls_in_row
        self.batch_size = int(_at_least("batch_size", batch_size, 1))
        self.remember = remember
        self.token_text = TokenText(self.tokenizer)
        self.call_id = call_id_of(loaded)
        self.begin_id = begin_end(self.tokenizer)[0]
        self.end_ids = end_ids(self.tokenizer, self.model)
        self.least = 0
        self.gate = gate_of(self.model)
        kinds = calibration.kinds if calibration else None
        reference = calibration.reference(loaded) if calibration else None
        self.caller = Caller(
            source, self.token_text, unit, abstain, timeout, heal, kinds, reference
        )
        self._seeds = calibration.signals if calibration else {}
        self._where = getattr(loaded, "path", None)
        self._take(self.policy)
        self._controller: Controller | None = None
        self.observer: Observer | None = None
        self._streams = 0

    @property
    def calls_in_row(self) -> int | None:
        """Answered calls allowed directly after one another; None: any number."""
        return CALLS_IN_ROW[self.unit] if self._calls_in_row is None else self._calls_in_row

    def variant(
        self,
        policy: Policy | str | None = None,
        *,
        unit: Unit | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        least: int | None = None,
    ) -> Engine:
        """An engine with some other settings that shares model, source and calibration.

        No text ends before ``least`` tokens, even if the model or the source would end it.

        Raises:
            LacyError: as the class does.
        """
        made = copy.copy(self)
        made._controller = None
        if unit is not None:
            made.unit = _one_of("unit", unit, get_args(Unit))
            made.caller = replace(self.caller, unit=unit)
        if temperature is not None:
            made.temperature = _at_least("temperature", temperature, 0.0)
        if top_p is not None:
            made.top_p = _at_least("top_p", top_p, 0.0)
        if seed is not None:
            made.seed = seed
        if least is not None:
            made.least = least
        if policy is not None:
            made._take(parse_policy(policy) if isinstance(policy, str) else policy)
        return made

    def _take(self, policy: Policy) -> None:
        """Use a policy, a budget from the calibration's signals on, if the model allows it."""
        self.policy = with_calibration(policy, self._seeds)
        if self.call_id is None and self.policy.signal in ("margin", "p_call"):
            rows, where = int(self.model.config.vocab_size), self._where
            raise LacyError(
                "E62", rows=rows, tokens=len(self.tokenizer), where=f" in {where}" if where else ""
            )

    def generate(
        self,
        prompts: Sequence[str],
        subjects: Sequence[str | None] | None = None,
        *,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """Continue texts.

        Args:
            prompts: the texts to continue.
            subjects: whom or what each is about, where known; else the source finds it itself.
            max_new_tokens: overrides the engine's.

        Returns:
            One answer per prompt, in order. A text that reaches the model's context or the limit
            ends there with ``finished=False``.

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context, E63 if ``subjects`` has
                another length than ``prompts``. Failures of the source raise nothing: the SLM goes
                on in its own words and the span says why.
        """
        if isinstance(prompts, str):
            raise TypeError("prompts is a list of texts, not one text")
        subjects = list(subjects) if subjects is not None else [None] * len(prompts)
        if len(subjects) != len(prompts):
            raise LacyError(
                "E63", what="subjects", given=len(subjects), wanted=len(prompts),
                do="give one subject (or None) per prompt",
            )  # fmt: skip
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        limit = int(_at_least("max_new_tokens", limit, 1))
        rows = [
            self.row(number, prompt, subject, limit)
            for number, (prompt, subject) in enumerate(zip(prompts, subjects, strict=True))
        ]
        self._streams += len(rows)
        controller = self._controller if self.remember and self._controller else self.policy.start()
        self._controller = controller
        outside_loops(lambda loop: self._run_all(rows, controller, loop))
        return [row.answer() for row in rows]

    def row(
        self, number: int, prompt: str, subject: str | None, limit: int, given: Sequence[int] = ()
    ) -> Row:
        """A text to be continued; ``given`` are its tokens where a chat template made them."""
        begin = [] if given or self.begin_id is None else [self.begin_id]
        ids = list(given) or begin + self.token_text.encode(prompt)
        if not ids:
            raise LacyError(
                "E63", what="tokens of an empty prompt", given=0, wanted=1,
                do="give a prompt: this tokenizer has no token that begins a text",
            )  # fmt: skip
        generator = None
        if self.temperature > 0:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        out = self.token_text.stream()
        row = Row(number, self._streams + number, subject, ids, prompt, out, limit, generator)
        row.implied = len(begin)
        row.spans.append(Span(prompt, "prompt", len(ids)))
        return row

    def _run_all(
        self, rows: list[Row], controller: Controller, loop: asyncio.AbstractEventLoop
    ) -> None:
        decoders = []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            decoder = Decoder(self.model, call_id=self.call_id)
            longest = max(len(row.ids) for row in batch)
            if longest >= decoder.context:  # before anything is computed, for all batches
                raise LacyError("E60", tokens=longest + 1, context=decoder.context)
            decoders.append((decoder, batch))
        for decoder, batch in decoders:
            self._run(decoder, batch, controller, loop)

    def _run(
        self,
        decoder: Decoder,
        active: list[Row],
        controller: Controller,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Decode one batch to its end."""
        while active:
            length = decoder.length
            width = min(len(row.ids) for row in active) - length
            logits_BV = decoder.feed([row.ids[length : length + width] for row in active])
            ready = [n for n, row in enumerate(active) if len(row.ids) == decoder.length]
            if not ready:
                continue
            logits_RV = logits_BV if len(ready) == len(active) else logits_BV[ready]
            back = self._decide(decoder, active, ready, logits_RV, controller, loop)
            left = [n for n, row in enumerate(active) if not row.done]
            if len(left) < len(active):
                decoder.keep(left)
                active = [active[n] for n in left]
            if back and active:
                decoder.rewind(back)  # the other rows read their last token again from their plan

    def _decide(
        self,
        decoder: Decoder,
        active: list[Row],
        ready: list[int],
        logits_RV: Tensor,
        controller: Controller,
        loop: asyncio.AbstractEventLoop,
    ) -> int:
        """Let every ready row go on by its own token or an answer; returns tokens to rewind."""
        rows = [active[n] for n in ready]
        before = [row.spoken for row in rows]
        decisions, margins = self.choose(rows, logits_RV, controller)
        if self.observer is not None:
            self.observer.decided(rows, logits_RV, decisions)
        calling = [n for n in range(len(rows)) if decisions[n].call]
        settled = self.caller.settle(
            decoder,
            [ready[n] for n in calling],
            [rows[n] for n in calling],
            [Span("", "slm", reason=decisions[n].reason, margin=margins[n]) for n in calling],
            loop,
        )
        own = self.own_tokens(rows, without_call(logits_RV, self.call_id))
        outcomes: list[Settled | None] = [None] * len(rows)
        for n, outcome in zip(calling, settled, strict=True):
            outcomes[n] = outcome
        back = 0
        for row, token, result in zip(rows, own, outcomes, strict=True):
            back = max(back, self.apply(row, token, result, decoder.context))
        spoken = [row.spoken - old for row, old in zip(rows, before, strict=True)]
        asked = sum(spoken[n] for n in calling)
        controller.account(calls=len(calling), asked=asked, tokens=sum(spoken))
        return back

    def choose(
        self, rows: list[Row], logits_RV: Tensor, controller: Controller
    ) -> tuple[list[Decision], list[float | None]]:
        """The policy's decision and the margin of each row; no call where none is possible."""
        decisions = [Decision(False)] * len(rows)
        margins: list[float | None] = [None] * len(rows)
        if isinstance(self.policy, Never):
            return decisions, margins
        able = [n for n, row in enumerate(rows) if self.may_call(row)]
        if self.at == "word" and able:
            own = without_call(logits_RV, self.call_id).argmax(dim=-1).tolist()
            bytes_of = self.token_text.bytes_of
            able = [n for n in able if begins_word(rows[n].text, bytes_of(own[n]))]
        if not able:
            return decisions, margins
        signals = step_signals(
            logits_RV if len(able) == len(rows) else logits_RV[able],
            self.call_id,
            [rows[n].spoken for n in able],
            lambda place: rows[able[place]].text,
            self.gate,
        )
        for place, (n, made) in enumerate(zip(able, controller.decide(signals), strict=True)):
            decisions[n] = made
            margins[n] = float(signals.margin[place]) if self.call_id is not None else None
        return decisions, margins

    def may_call(self, row: Row) -> bool:
        """Not inside a character, and not again and again at the same place."""
        return row.out.whole and (self.calls_in_row is None or row.in_row < self.calls_in_row)

    def apply(self, row: Row, token: int, result: Settled | None, context: int) -> int:
        """Write one row's outcome into its plan; returns tokens to take back from the cache."""
        ended = token in self.end_ids
        back = 0
        if result is None:
            if ended:
                row.end(finished=True)
            else:
                row.say(token)
        elif result.option is None:
            stop = result.stop and row.spoken >= self.least
            silent = ended or stop
            row.say_unanswered(None if silent else token, result.span)
            if silent:
                row.end(finished=ended and not stop)
        else:
            back = result.option.back
            row.borrow(result.option.tokens, back, result.span)
        if len(row.ids) >= context:
            row.end(finished=row.finished)
        if self.observer is not None:
            self.observer.applied(row, token, result)
        return back

    def own_tokens(self, rows: list[Row], own_RV: Tensor) -> list[int]:
        """What the SLM itself would say next in each row."""
        short = [n for n, row in enumerate(rows) if row.spoken < self.least]
        own_RV = without_ends(own_RV, short, self.end_ids)
        if self.temperature == 0:
            greedy: list[int] = own_RV.argmax(dim=-1).tolist()
            return greedy
        return drawn(own_RV, self.temperature, self.top_p, [row.generator for row in rows])


def _one_of(name: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise LacyError(
            "E12", key=name, value=value, why="there is no such way",
            do=f"choose one of: {', '.join(known)}",
        )  # fmt: skip
    return value


def _at_least(name: str, value: float, least: float) -> Any:
    if not least <= value < float("inf"):  # not a number is neither
        why = f"less than {least:g}" if value < least else "not a finite number"
        raise LacyError("E12", key=name, value=value, why=why, do=f"give {least:g} or more")
    return value
