"""A small model that calls a source where a fact is due; every span says who wrote it (§5.1).

``Engine`` holds the settings; ``DecodeLoop`` generates. The policy decides which sequences call; an
answer is appended as tokens, and without one the SLM continues in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import torch

from lacy.cascade.event_loop import outside_loops, submit_to
from lacy.cascade.local import PREFILL, LocalBackend
from lacy.cascade.loop import DecodeLoop, Submit
from lacy.cascade.sequence import TextSequence
from lacy.cascade.settings import EngineSettings, check_at_least
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.types import Answer


class Engine(EngineSettings):
    """An SLM that calls a source.

    Args:
        loaded: a model from ``lacy.model.load_model``, or one behind a server from ``connect``.
        source: answers calls; without one, calls are counted but get no answer.
        policy: when to call, as a value or its text (``"budget=0.22"``); by default never.
        unit: how much one call returns: ``"token"`` (the paper), ``"word"`` or ``"value"``.
        max_new_tokens: maximum number of generated tokens per text, those of sources included.
        temperature: sampling temperature; 0 is greedy (the paper).
        top_p: sample from the smallest set of tokens with this probability.
        seed: seed of sampling; what is drawn depends only on it and on the text's number.
        abstain: score that a ranked candidate must reach; see ``rank.Abstain``.
        at: where a text may call: at ``"any"`` token, or only where a ``"word"`` or number begins
            (a value put into the middle of one breaks both).
        calls_in_row: answers allowed directly after one another; by default it depends on ``unit``.
        timeout: seconds to wait for the source at each step; None waits forever.
        batch_size: texts generated together.
        remember: keep the policy's state from one ``generate`` to the next; by default each starts
            afresh, so that its result depends on nothing before.
        calibration: of this model (``calibrate``): reference log-likelihoods for ranking, and
            signals that a budget starts from.

    Attributes:
        notes: sentences that explain what ``open_engine`` chose.
        observer: is notified of every step.
        hosted: the model's server; None for a model in this process.

    Raises:
        LacyError: E12 for an invalid setting, E61 for an invalid policy, E62 for a policy that
            reads ``<CALL>`` and a model without it, E92 for a policy that the model's server
            cannot support.
    """

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
            subjects: whom or what each is about, if known; otherwise the source finds it itself.
            max_new_tokens: overrides the engine's.

        Returns:
            One answer per prompt, in order. A text that reaches the model's context or the limit
            ends there with ``finished=False``.

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context, E63 if ``subjects`` has
                another length than ``prompts``, E93 if the model's server does not answer. If the
                source fails, the SLM continues in its own words and the span says why.
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
        limit = int(check_at_least("max_new_tokens", limit, 1))
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
        if self.hosted is None:  # sources run in this thread, in an event loop of their own
            outside_loops(lambda loop: self._run(sequences, submit_to(loop)))
        else:
            with LoopThread() as thread:
                self._run(sequences, thread.submit)

    def sequence(
        self, number: int, prompt: str, subject: str | None, limit: int, given: Sequence[int] = ()
    ) -> TextSequence:
        """Make a sequence that continues a prompt, for ``DecodeLoop.add``.

        Args:
            number: selects the random numbers of sampling, together with the seed.
            prompt: the text to continue.
            subject: whom or what it is about, if known.
            limit: maximum number of generated tokens.
            given: the prompt's tokens, if a chat template made them.

        Raises:
            LacyError: E63 for an empty prompt that a model cannot continue, E91 for a prompt that
                a server would read as special tokens.
        """
        if self.hosted is not None:
            self.hosted.check_prompt(prompt)
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
        """Return a loop that generates texts of this engine and its variants; to be closed.

        Args:
            submit: starts a coroutine that asks a source (``LoopThread.submit``).
            wake: called, in another thread, when a source or a server has answered.
            live: texts come and go and are watched while they grow: long prompts are read in parts,
                and servers stream.
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
