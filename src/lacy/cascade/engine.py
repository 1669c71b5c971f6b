"""The engine: a small model that calls a source where a fact is due (paper §5.1).

``Engine`` has the settings; ``DecodeLoop`` generates. The policy decides which sequences call. An
answer is appended as tokens; without one, the SLM continues in its own words. Every span of the
result says who wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import torch

from lacy._require import require_at_least
from lacy.cascade.event_loop import outside_loops, submit_to
from lacy.cascade.local import PREFILL, LocalBackend
from lacy.cascade.loop import DecodeLoop, Submit
from lacy.cascade.questions import Question
from lacy.cascade.sequence import TextSequence
from lacy.cascade.settings import EngineSettings
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.types import Answer


class Engine(EngineSettings):
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
            ``unit`` and ``read``.
        timeout: seconds to wait for the source at each step; None for no limit.
        batch_size: number of texts that are generated together.
        remember: keep the policy's state from one ``generate`` to the next. By default each call
            starts afresh, so that its result does not depend on earlier ones.
        calibration: the calibration of this model (``calibrate``), with reference log-likelihoods
            for ranking and signals that a budget starts from.
        read: maximum number of tokens of a source's own sentences that the model reads before it
            ranks its values; by default 320, or 0 for a model that lacy trained from scratch. A
            model behind a server does not read.
        read_until: how long the model has these sentences before its text: until it has chosen a
            ``"value"``, or also while it writes its own next words, until the ``"sentence"`` ends.
        choice: weights for choosing among candidates after reading; by default fitted ones.
        restate: True to offer values that the text already states; by default only to models that
            do not read, because those that lacy trained from scratch repeat facts.
        unknown: what an answer in a chat says where no source has the fact that the question asks
            for; if empty, the model answers in its own words.

    Attributes:
        notes: sentences that explain what ``open_engine`` chose.
        observer: is notified of every step, if set.
        hosted: the model if it runs behind a server; None for a model in this process.

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
        question: Question | None = None,
    ) -> TextSequence:
        """Return a sequence that continues a prompt, for ``DecodeLoop.add``.

        Args:
            number: determines the random numbers of sampling, together with the seed.
            prompt: the text to continue.
            subject: who or what the text is about, if known.
            limit: maximum number of generated tokens.
            prompt_ids: the prompt's token ids, if a chat template produced them.
            question: the user's message in a chat; if it asks for a value, the source is asked
                before the first word.

        Raises:
            LacyError: E63 for an empty prompt if the tokenizer has no begin token.
        """
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
            self.token_text.stream(), generator, implied=len(begin), question=question,
            # A chat's question may name the value that answers it.
            stated_from=len(prompt) if prompt_ids else 0,
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
