"""Settings of an engine, and what decoding needs to know about its model."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any, Literal, Self, get_args

from lacy._require import require_at_least, require_one_of
from lacy.cascade.calibration import Calibration
from lacy.cascade.choice import ValueChoice
from lacy.cascade.gate_entropy import GateEntropy
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.policy import (
    Controller,
    Never,
    Policy,
    with_calibration,
    with_fitted_limit,
)
from lacy.cascade.policy_text import parse_policy
from lacy.cascade.reader import DEFAULT_READ, Reader, can_read
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import context_of, end_ids, gate_of, taught_to_call
from lacy.sources import DEFAULT_TIMEOUT, Source
from lacy.types import DEFAULT_READ_UNTIL, ReadUntil, Unit

DEFAULT_MAX_NEW_TOKENS = 128
DEFAULT_BATCH = 32

At = Literal["any", "word"]
"""Where a text may call: at any token, or only where a word or number begins."""

RAW_ENTROPY = 4.0
"""Entropy (nats) above which a model that was not taught to call does so by default."""

DEFAULT_ABSTAIN = math.log(0.05)
"""Score below which no candidate is used: the kind fits with a probability of less than 5%."""

Abstain = float | None | Literal["reference"]
"""The score that a candidate must reach to be used.

A number is a fixed minimum; for calibrated kinds it is lowered to ``CALIBRATED_ABSTAIN`` and to the
score that nearly all right values of the kind reach. ``"reference"`` requires the score that nearly
all right values of the kind reach. This is stricter: in a source with gaps, no wrong value takes
the place of a missing one, but the model writes more itself. None means no minimum."""

CALLS_IN_ROW: dict[Unit, int | None] = {"token": None, "word": None, "value": 2}
"""Maximum number of answers directly after one another. Without it, a source that always has a
value could fill the text. For tokens and words, many answers in a row are normal."""


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
        read: int | None = None,
        read_until: ReadUntil = DEFAULT_READ_UNTIL,
        choice: ValueChoice | None = None,
        restate: bool | None = None,
        unknown: str = "",
    ) -> None:
        self.loaded, self.tokenizer = loaded, loaded.tokenizer
        self.notes: tuple[str, ...] = ()
        self.hosted: Hosted | None = loaded if isinstance(loaded, Hosted) else None
        self.source = source
        self.policy: Policy = parse_policy(policy) if isinstance(policy, str) else policy or Never()
        self.unit: Unit = unit
        self.at: At = require_one_of("at", at, get_args(At))
        self.max_new_tokens = require_at_least("max_new_tokens", max_new_tokens, 1, finite=True)
        self.min_new_tokens = 0
        self.temperature = require_at_least("temperature", temperature, 0.0, finite=True)
        self.top_p = require_at_least("top_p", top_p, 0.0, finite=True)
        self.seed = seed
        self._calls_in_row = calls_in_row
        self.batch_size = int(require_at_least("batch_size", batch_size, 1, finite=True))
        self.remember = remember
        self.token_text = TokenText(self.tokenizer)
        self.begin_id = begin_end(self.tokenizer)[0]
        self.abstain: Abstain = abstain
        self.unknown = unknown
        self.known_logps: dict[tuple[str, str], float] = {}
        self.timeout = timeout
        self._read_model(loaded)
        self.kinds = calibration.kinds if calibration else None
        self.reference = self._reference_likelihoods(calibration) if calibration else None
        self.choice = choice or ValueChoice()
        self.read = self._read_tokens(read)
        self.reader = self._make_reader()
        self.read_until: ReadUntil = require_one_of("read_until", read_until, get_args(ReadUntil))
        self.restate = self.reader is None if restate is None else restate
        self._calibration_signals = calibration.signals if calibration else {}
        self._set_policy(self.policy)
        self._controller: Controller | None = None
        self.observer: Any = None
        self._streams = itertools.count()

    def _read_model(self, loaded: Any) -> None:
        """Set the attributes that decoding needs to know about the model."""
        self.gate_entropy = GateEntropy.from_meta(getattr(loaded, "meta", None))
        if self.hosted is None:
            self.model = loaded.model.eval()
            self._rows = int(self.model.config.vocab_size)
            self.call_id, self.gate = call_id_of(loaded), gate_of(self.model)
            self.reads_call = self.call_id is not None and taught_to_call(self.model)
            self.end_ids = end_ids(self.tokenizer, self.model)
            self.context = context_of(self.model)
            return
        self.model, self._rows = None, len(self.tokenizer)
        self.call_id, self.gate = self.hosted.call_id, self.hosted.gate
        self.reads_call = self.call_id is not None
        self.end_ids, self.context = self.hosted.end_ids, self.hosted.context

    def _reference_likelihoods(self, calibration: Calibration) -> ReferenceLikelihoods:
        if self.hosted is None:
            return calibration.reference(self.loaded)
        from lacy.cascade.hosted_scores import HostedReferenceLikelihoods

        return HostedReferenceLikelihoods(self.hosted, calibration)

    def _make_reader(self) -> Reader | None:
        if not self.read:
            return None
        return Reader(self.model, self.token_text, self.call_id, self.begin_id)

    def _read_tokens(self, read: int | None) -> int:
        """Return how many tokens of a source's sentences are read before ranking; 0 for none."""
        if self.hosted is not None:
            return 0
        if read is None:
            return DEFAULT_READ if can_read(self.loaded) else 0
        return int(require_at_least("read", read, 0, finite=True))

    @property
    def never_calls(self) -> bool:
        """True if the policy never calls."""
        return isinstance(self.policy, Never)

    @property
    def calls_in_row(self) -> int | None:
        """Maximum number of answers directly after one another; None for any number."""
        if self._calls_in_row is not None:
            return self._calls_in_row
        if self.unit == "value" and self.reader:
            return 1  # a model that ranks after reading writes words between two values
        return CALLS_IN_ROW[self.unit]

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
        """Return an engine with changed settings that shares model, source and calibration.

        No text ends before ``min_new_tokens``, even if the model or the source would end it.

        Raises:
            LacyError: for the same reasons as ``Engine``.
        """
        engine = copy.copy(self)
        engine._controller = None
        if unit is not None:
            engine.unit = require_one_of("unit", unit, get_args(Unit))
        if temperature is not None:
            engine.temperature = require_at_least("temperature", temperature, 0.0, finite=True)
        if top_p is not None:
            engine.top_p = require_at_least("top_p", top_p, 0.0, finite=True)
        if seed is not None:
            engine.seed = seed
        if min_new_tokens is not None:
            engine.min_new_tokens = min_new_tokens
        if policy is not None:
            engine._set_policy(parse_policy(policy) if isinstance(policy, str) else policy)
        return engine

    def _set_policy(self, policy: Policy) -> None:
        """Use a policy, started from the calibration's signals, if the model supports it."""
        policy = with_fitted_limit(policy, self.gate_entropy)
        self.policy = with_calibration(policy, self._calibration_signals)
        needs_call = self.policy.signal in ("margin", "p_call")
        if needs_call and self.call_id is not None and not self.reads_call:
            name = getattr(self.loaded, "name", "") or "MODEL"
            raise LacyError("E152", policy=policy, name=name, entropy=RAW_ENTROPY)
        if needs_call and self.call_id is None:
            where = f" in {path}" if (path := getattr(self.loaded, "path", None)) else ""
            raise LacyError("E62", rows=self._rows, tokens=len(self.tokenizer), where=where)
        if self.hosted is not None:
            self.hosted.check_policy(policy)
        if self.policy.signal == "gate+entropy" and self.gate_entropy is None:
            name = getattr(self.loaded, "name", "") or "MODEL"
            raise LacyError("E166", policy=policy, name=name)
