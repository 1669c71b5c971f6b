"""Settings of an engine, and what decoding needs to know about its model."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

from lacy.cascade.calibration import Calibration
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.policy import Controller, Never, Policy, parse_policy, with_calibration
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import context_of, end_ids, gate_of
from lacy.sources import DEFAULT_TIMEOUT, Source
from lacy.types import Unit

DEFAULT_MAX_NEW_TOKENS = 128
DEFAULT_BATCH = 32

At = Literal["any", "word"]
"""Where a text may call: at any token, or only where a word or number begins."""

DEFAULT_ABSTAIN = math.log(0.05)
"""Score below which no candidate is used: the kind fits with a probability of less than 5%."""

Abstain = float | None | Literal["reference"]
"""The score that a candidate must reach to be used.

A number: for calibrated kinds, the lowest of it, ``CALIBRATED_ABSTAIN`` and what nearly all right
values of the kind reach. ``"reference"``: what nearly all right values of the kind reach, so that
in a source with gaps no other value takes the place of a missing one; the model then writes more
itself. None: no limit."""

CALLS_IN_ROW: dict[Unit, int | None] = {"token": None, "word": None, "value": 2}
"""Answers allowed directly after one another. A source that keeps naming values at one place would
fill the text with them; token by token, long answers are the normal case."""


class EngineSettings:
    """What sequences read of the engine that generates them; see ``Engine`` for the arguments."""

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
        remember: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        self.loaded, self.tokenizer = loaded, loaded.tokenizer
        self.notes: tuple[str, ...] = ()
        self.hosted: Hosted | None = loaded if isinstance(loaded, Hosted) else None
        self.source = source
        self.policy: Policy = parse_policy(policy) if isinstance(policy, str) else policy or Never()
        self.unit: Unit = unit
        self.at: At = _one_of("at", at, get_args(At))
        self.max_new_tokens = check_at_least("max_new_tokens", max_new_tokens, 1)
        self.min_new_tokens = 0
        self.temperature = check_at_least("temperature", temperature, 0.0)
        self.top_p = check_at_least("top_p", top_p, 0.0)
        self.seed = seed
        self._calls_in_row = calls_in_row
        self.batch_size = int(check_at_least("batch_size", batch_size, 1))
        self.remember = remember
        self.token_text = TokenText(self.tokenizer)
        self.begin_id = begin_end(self.tokenizer)[0]
        self.abstain: Abstain = abstain
        self.timeout = timeout
        self._read_model(loaded)
        self.kinds = calibration.kinds if calibration else None
        self.reference = self._reference_likelihoods(calibration) if calibration else None
        self._calibration_signals = calibration.signals if calibration else {}
        self._set_policy(self.policy)
        self._controller: Controller | None = None
        self.observer: Any = None
        self._streams = itertools.count()

    def _read_model(self, loaded: Any) -> None:
        """Note what decoding needs to know of the model."""
        if self.hosted is None:
            self.model = loaded.model.eval()
            self._rows = int(self.model.config.vocab_size)
            self.call_id, self.gate = call_id_of(loaded), gate_of(self.model)
            self.end_ids = end_ids(self.tokenizer, self.model)
            self.context = context_of(self.model)
            return
        self.model, self._rows = None, len(self.tokenizer)
        self.call_id, self.gate = self.hosted.call_id, self.hosted.gate
        self.end_ids, self.context = self.hosted.end_ids, self.hosted.context

    def _reference_likelihoods(self, calibration: Calibration) -> ReferenceLikelihoods:
        if self.hosted is None:
            return calibration.reference(self.loaded)
        from lacy.cascade.hosted_scores import HostedReferenceLikelihoods

        return HostedReferenceLikelihoods(self.hosted, calibration)

    @property
    def calls_in_row(self) -> int | None:
        """Answers allowed directly after one another; None: any number."""
        return CALLS_IN_ROW[self.unit] if self._calls_in_row is None else self._calls_in_row

    def variant(
        self,
        policy: Policy | str | None = None,
        *,
        unit: Unit | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        min_new_tokens: int | None = None,
    ) -> Self:
        """Return an engine with other settings that shares model, source and calibration.

        No text ends before ``min_new_tokens``, even if the model or the source would end it.

        Raises:
            LacyError: as the class does.
        """
        made = copy.copy(self)
        made._controller = None
        if unit is not None:
            made.unit = _one_of("unit", unit, get_args(Unit))
        if temperature is not None:
            made.temperature = check_at_least("temperature", temperature, 0.0)
        if top_p is not None:
            made.top_p = check_at_least("top_p", top_p, 0.0)
        if seed is not None:
            made.seed = seed
        if min_new_tokens is not None:
            made.min_new_tokens = min_new_tokens
        if policy is not None:
            made._set_policy(parse_policy(policy) if isinstance(policy, str) else policy)
        return made

    def _set_policy(self, policy: Policy) -> None:
        """Use a policy, started from the calibration's signals, if the model supports it."""
        self.policy = with_calibration(policy, self._calibration_signals)
        if self.call_id is None and self.policy.signal in ("margin", "p_call"):
            where = f" in {path}" if (path := getattr(self.loaded, "path", None)) else ""
            raise LacyError("E62", rows=self._rows, tokens=len(self.tokenizer), where=where)
        if self.hosted is not None:
            self.hosted.check_policy(policy)


def _one_of(name: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise LacyError(
            "E12", key=name, value=value, why="there is no such choice",
            do=f"choose one of: {', '.join(known)}",
        )  # fmt: skip
    return value


def check_at_least(name: str, value: float, minimum: float) -> Any:
    """Return a number that is at least ``minimum``.

    Raises:
        LacyError: E12, it is less, or not a finite number.
    """
    if not minimum <= value < float("inf"):  # false for NaN too
        why = f"less than {minimum:g}" if value < minimum else "not a finite number"
        raise LacyError("E12", key=name, value=value, why=why, do=f"give {minimum:g} or more")
    return value
