"""Distil a student on texts that it writes itself, through TRL's ``DistillationTrainer``.

On given texts, a student is never taught how to go on from its own mistakes. On-policy distillation
(Agarwal et al., arXiv 2306.13649, §3) lets it continue prompts, and the teacher corrects every
token. TRL generates, computes the divergence and trains; this file adapts it to models of lacy:

- ``<CALL>`` is neither generated nor compared: within the context ``call_suppressed``, the heads of
  both models have a bias that leaves it no probability.
- Prompts begin with the begin token that the model was trained with.
- Where the student's gate would call, its teacher is not imitated.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lacy._require import require_at_least, require_package
from lacy.corpus import TokenText, begin_end
from lacy.distill.settings import Divergence
from lacy.distill.teachers import require_same_tokens
from lacy.errors import LacyError
from lacy.model import Loaded, gate_of, head_weight

BETA: dict[Divergence, float] = {"forward": 0.0, "jsd": 0.5, "reverse": 1.0}
"""TRL's name for the divergences."""

IMPOSSIBLE = -1e4
"""Bias of a logit that leaves no probability; finite, so that no product with 0 is NaN."""


@dataclass(frozen=True)
class OnPolicy:
    """A student after on-policy distillation."""

    loaded: Loaded
    steps: int
    losses: tuple[float, ...]
    """The divergence of each step."""
    written: int
    """Number of tokens that the student wrote."""
    not_imitated: int
    """Number of them at which its gate would call, so the teacher was not imitated."""


def distill_on_policy(
    student: Loaded,
    teacher: Loaded,
    prompts: Sequence[str],
    *,
    steps: int = 100,
    batch: int = 8,
    new_tokens: int = 64,
    divergence: Divergence = "reverse",
    temperature: float = 1.0,
    lr: float = 1e-5,
    skip_calls: bool | None = None,
    device: Literal["auto", "cpu"] = "auto",
    seed: int = 0,
) -> OnPolicy:
    """Train a student on its own continuations of prompts, which a teacher corrects.

    Args:
        student: the model to train; changed in place. Its ``<CALL>`` row stays as it is.
        teacher: a model with the same tokens.
        prompts: beginnings of texts; they are repeated if the steps need more.
        steps: number of training steps.
        batch: prompts per step.
        new_tokens: maximum length of a continuation.
        divergence: what is minimised.
        temperature: temperature of sampling and of both distributions.
        lr: learning rate at the first step; it falls to 0.
        skip_calls: do not imitate the teacher where the student's gate would call; by default if it
            has a separate gate.
        device: ``auto`` or ``cpu``.
        seed: seed of sampling and of the order of the prompts.

    Raises:
        LacyError: E11, TRL is not installed; E300, the models have different tokens; E307, the
            student cannot do this; E12, a number is invalid.
    """
    trl = require_package("trl", "distill", "distillation on the student's own texts")
    from datasets import Dataset

    for name, value in (("steps", steps), ("batch", batch), ("new_tokens", new_tokens)):
        require_at_least(name, value, 1)
    if not prompts:
        raise LacyError("E307", why="there are no prompts", do="give beginnings of texts")
    require_same_tokens(student, teacher)
    gated = gate_of(student.model) == "sigmoid"
    if skip_calls and not gated:
        why, do = "the student has no separate gate", "leave out skip_calls, or lacy tune it first"
        raise LacyError("E307", why=why, do=do)
    skip = gated if skip_calls is None else skip_calls
    repeats = -(-steps * batch // len(prompts))
    with (
        tempfile.TemporaryDirectory(prefix="lacy-distill-") as folder,
        _restored(student.model),
        call_suppressed(student.model, teacher.model),
        _quiet(),
    ):
        args = trl.DistillationConfig(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=batch,
            learning_rate=lr, beta=BETA[divergence], temperature=temperature,
            max_completion_length=new_tokens, seed=seed, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, bf16=False, gradient_checkpointing=False,
            use_cpu=device == "cpu", dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = _trainer_class(trl)(
            model=student.model, teacher_model=teacher.model, args=args,
            train_dataset=Dataset.from_dict({"prompt": list(prompts) * repeats}),
            processing_class=student.tokenizer,
        )  # fmt: skip
        trainer.lacy = _Counts(student, skip)
        trainer.train()
        history = trainer.state.log_history
    student.model.eval()
    losses = tuple(float(row["loss"]) for row in history if "loss" in row)
    counts = trainer.lacy
    return OnPolicy(student, trainer.state.global_step, losses, counts.written, counts.skipped)


@contextlib.contextmanager
def call_suppressed(*models: Any) -> Iterator[None]:
    """Within the context, ``<CALL>`` has no probability in the given models.

    Raises:
        LacyError: E58, the logits of a model are more than its hidden states times its head.
    """
    heads = []
    for model in models:
        weight_VD = head_weight(model)
        bias_V = weight_VD.new_zeros(len(weight_VD))
        bias_V[-1] = IMPOSSIBLE
        heads.append((model.get_output_embeddings(), nn.Parameter(bias_V, requires_grad=False)))
    try:
        for head, bias in heads:
            head.bias = bias
        yield
    finally:
        for head, _ in heads:
            head.bias = None


class _Counts:
    """What the trainer needs to know of the student, and what it counts."""

    def __init__(self, student: Loaded, skip: bool) -> None:
        self.text, self.begin = TokenText(student.tokenizer), begin_end(student.tokenizer)[0]
        self.skip = skip
        self.written = self.skipped = 0


def _trainer_class(trl: Any) -> Any:
    """Return a subclass of TRL's trainer with our prompts, and a mask of the student's calls."""

    class OnPolicyTrainer(trl.DistillationTrainer):  # type: ignore[misc, name-defined]
        lacy: _Counts

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict]:
            ids = [[self.lacy.begin, *self.lacy.text.encode(prompt)] for prompt in prompts]
            return ids, None, {}

        @torch.no_grad()
        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            mask_BT = output["completion_mask"]
            self.lacy.written += int(mask_BT.sum())
            if self.lacy.skip:
                model = self.accelerator.unwrap_model(self.model)
                hidden_BTD = self._get_last_hidden_state(
                    model,
                    torch.cat((output["prompt_ids"], output["completion_ids"]), 1),
                    torch.cat((output["prompt_mask"], mask_BT), 1),
                    mask_BT.shape[1],
                )
                calls_BT = hidden_BTD @ model.get_output_embeddings().weight[-1] > 0
                output["tool_mask"] = (~calls_BT).to(mask_BT)
                self.lacy.skipped += int((calls_BT & (mask_BT > 0)).sum())
            return output

    return OnPolicyTrainer


@contextlib.contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Restore the settings of a model that TRL changes."""
    config, generation = model.config.get_text_config(), model.generation_config
    pad, generation_pad, cache = config.pad_token_id, generation.pad_token_id, config.use_cache
    try:
        yield
    finally:
        config.pad_token_id, generation.pad_token_id = pad, generation_pad
        config.use_cache = cache


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of TRL and transformers about settings that are intended here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
