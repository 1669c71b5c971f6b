"""The engine: a small model that calls a source where a fact is due (paper §5.1).

``Engine`` has the settings; ``DecodeLoop`` generates. The policy decides which sequences call. An
answer is appended as tokens; without one, the SLM continues in its own words. Every span of the
result says who wrote it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

import torch

from lacy._require import require_at_least, require_one_of
from lacy.cascade.calibration import Calibration
from lacy.cascade.event_loop import outside_loops, submit_to
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.local import PREFILL, LocalBackend
from lacy.cascade.loop import DecodeLoop, Submit
from lacy.cascade.policy import Controller, Never, Policy, parse_policy, with_calibration
from lacy.cascade.rank import DEFAULT_ABSTAIN, Abstain
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.cascade.sequence import Observer, TextSequence
from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import context_of, end_ids, gate_of
from lacy.remote import LoopThread
from lacy.sources import DEFAULT_TIMEOUT, Source
from lacy.types import Answer, Unit

DEFAULT_MAX_NEW_TOKENS = 128
DEFAULT_BATCH = 32

At = Literal["any", "word"]
"""Where a text may call: at any token, or only where a word or number begins."""

CALLS_IN_ROW: dict[Unit, int | None] = {"token": None, "word": None, "value": 2}
"""Maximum number of answers directly after one another. Without it, a source that always has a
value could fill the text. For tokens and words, many answers in a row are normal."""


class Engine:
    """An SLM that calls a source.

    Args:
        loaded: a model from ``lacy.model.load_model``, or one behind a server from ``connect``.
        source: the source that answers calls; without one, calls are counted but not answered.
        policy: when to call, as a value or a text such as ``"budget=0.22"``; by default never.
        unit: how much one call returns: ``"token"`` (as in the paper), ``"word"`` or ``"value"``.
        max_new_tokens: maximum number of generated tokens per text, including those of sources.
        temperature: sampling temperature; 0 for greedy decoding (as in the paper).
        top_p: sample from the smallest set of tokens with this probability.
        seed: seed of sampling. The sample of a text depends only on this and the text's number.
        abstain: the score that a ranked candidate must reach; see ``rank.Abstain``.
        at: where a text may call: at ``"any"`` token, or only where a ``"word"`` or number begins
            (a value in the middle of a word would break both).
        calls_in_row: maximum number of answers directly after one another; by default it depends on
            ``unit``.
        timeout: seconds to wait for the source at each step; None for no limit.
        batch_size: number of texts that are generated together.
        remember: keep the policy's state from one ``generate`` to the next. By default each call
            starts afresh, so that its result does not depend on earlier ones.
        calibration: the calibration of this model (``calibrate``), with reference log-likelihoods
            for ranking and signals that a budget starts from.

    Attributes:
        notes: sentences that explain what ``open_engine`` chose.
        observer: is notified of every step, if set.
        hosted: the model if it runs behind a server; None for a model in this process.

    Raises:
        LacyError: E12 for an invalid setting, E61 for an invalid policy, E62 for a policy that
            reads ``<CALL>`` and a model without it, E92 for a policy that the model's server
            cannot support.
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
        remember: bool = False,
        calibration: Calibration | None = None,
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
        self.timeout = timeout
        self._read_model(loaded)
        self.kinds = calibration.kinds if calibration else None
        self.reference = self._reference_likelihoods(calibration) if calibration else None
        self._calibration_signals = calibration.signals if calibration else {}
        self._set_policy(self.policy)
        self._controller: Controller | None = None
        self.observer: Observer | None = None
        self._streams = itertools.count()

    def _read_model(self, loaded: Any) -> None:
        """Set the attributes that decoding needs to know about the model."""
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
        """Maximum number of answers directly after one another; None for any number."""
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
    ) -> Engine:
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
        self.policy = with_calibration(policy, self._calibration_signals)
        if self.call_id is None and self.policy.signal in ("margin", "p_call"):
            where = f" in {path}" if (path := getattr(self.loaded, "path", None)) else ""
            raise LacyError("E62", rows=self._rows, tokens=len(self.tokenizer), where=where)
        if self.hosted is not None:
            self.hosted.check_policy(policy)

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
            subjects: who or what each text is about, or None to let the source find out.
            max_new_tokens: overrides the engine's setting.

        Returns:
            One answer per prompt, in order. A text that reaches the limit or the model's context
            ends there and has ``finished=False``.

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context, E63 if ``subjects`` and
                ``prompts`` differ in length, E93 if the model's server does not answer. A failing
                source raises nothing: the SLM continues in its own words and the span says why.
        """
        if isinstance(prompts, str):
            raise TypeError("prompts must be a list of texts, not one text")
        subjects = list(subjects) if subjects is not None else [None] * len(prompts)
        if len(subjects) != len(prompts):
            raise LacyError(
                "E63", what="subjects", given=len(subjects), wanted=len(prompts),
                do="give one subject (or None) per prompt",
            )  # fmt: skip
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        limit = int(require_at_least("max_new_tokens", limit, 1, finite=True))
        sequences = [
            self.sequence(number, prompt, subject, limit)
            for number, (prompt, subject) in enumerate(zip(prompts, subjects, strict=True))
        ]
        controller = self._controller if self.remember and self._controller else self.policy.start()
        self._controller = controller
        for sequence in sequences:
            sequence.controller = controller  # one budget for all texts of the call
        self.run(sequences)
        return [sequence.answer() for sequence in sequences]

    def run(self, sequences: Sequence[TextSequence]) -> None:
        """Generate sequences of this engine to their end, ``batch_size`` at a time.

        Raises:
            LacyError: for the same reasons as ``generate``.
        """
        if self.hosted is None:  # run sources in this thread, in a separate event loop
            outside_loops(lambda loop: self._run(sequences, submit_to(loop)))
        else:
            with LoopThread() as thread:
                self._run(sequences, thread.submit)

    def sequence(
        self,
        number: int,
        prompt: str,
        subject: str | None,
        limit: int,
        prompt_ids: Sequence[int] = (),
    ) -> TextSequence:
        """Return a sequence that continues a prompt, for ``DecodeLoop.add``.

        Args:
            number: determines the random numbers of sampling, together with the seed.
            prompt: the text to continue.
            subject: who or what the text is about, if known.
            limit: maximum number of generated tokens.
            prompt_ids: the prompt's token ids, if a chat template produced them.

        Raises:
            LacyError: E63 for an empty prompt if the tokenizer has no begin token, E91 for a prompt
                with names of special tokens, which a server would not read as text.
        """
        if self.hosted is not None:
            self.hosted.check_prompt(prompt)
        begin = [] if prompt_ids or self.begin_id is None else [self.begin_id]
        ids = list(prompt_ids) or begin + self.token_text.encode(prompt)
        if not ids:
            raise LacyError(
                "E63", what="tokens of an empty prompt", given=0, wanted=1,
                do="give a prompt: this tokenizer has no token that begins a text",
            )  # fmt: skip
        generator = None
        if self.temperature > 0:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        return TextSequence(
            self, number, next(self._streams), subject, ids, prompt, limit,
            self.token_text.stream(), generator, implied=len(begin),
        )  # fmt: skip

    def loop(
        self,
        submit: Submit,
        wake: Callable[[], None] = lambda: None,
        *,
        live: bool = True,
    ) -> DecodeLoop:
        """Return a loop that generates texts of this engine and its variants. The caller closes it.

        Args:
            submit: starts a coroutine that asks a source (``LoopThread.submit``).
            wake: called in another thread when a source or a server has answered.
            live: True if texts are added at any time and shown while they grow. Then long prompts
                are read in parts, and servers stream.
        """
        if self.hosted is None:
            return DecodeLoop(LocalBackend(self, PREFILL if live else None), submit, wake)
        from lacy.cascade.hosted import HostedBackend

        return DecodeLoop(HostedBackend(self.hosted, wake, live=live), submit, wake)

    def _run(self, sequences: Sequence[TextSequence], submit: Submit) -> None:
        with closing(self.loop(submit, live=False)) as loop:
            loop.check(sequences)  # all of them, before anything is computed
            for start in range(0, len(sequences), self.batch_size):
                batch = sequences[start : start + self.batch_size]
                loop.add(batch)
                loop.drain(batch)
