"""Warm-up, stable, decay (WSD): the learning rate as a pure function of the step.

MiniCPM (arXiv 2404.06395, §4) keeps the learning rate constant for most of a run and decays it at
the end. The stable part does not depend on the length of the run, so any checkpoint in it can be
continued or forked into its own decay, and no schedule state has to be saved. The shapes
``linear``, ``cosine`` and ``1-sqrt`` (Hägele et al., arXiv 2405.18392) equal those of
``transformers`` (a test compares them); ``exponential`` is MiniCPM's and has a constant half-life.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy.train.config import Decay, TrainConfig

DECAY = 0.2
"""Share of the steps in the decay, as in SmolLM2; Hägele et al. find no gain from more."""


@dataclass(frozen=True, slots=True)
class WSD:
    """Maps each step to the learning rate as a multiple of its peak.

    Args:
        total: the step at which the run ends.
        warmup: number of warm-up steps at the beginning.
        decay: number of decay steps at the end.
        shape: shape of the decay.
        min_ratio: multiplier at the end (not used by ``exponential``).
        half_life: half-life of the exponential decay, in steps.
        start: the first step, above 0 for a run forked from a checkpoint.
    """

    total: int
    warmup: int
    decay: int
    shape: Decay = "1-sqrt"
    min_ratio: float = 0.0
    half_life: float = 1.0
    start: int = 0

    @property
    def decay_start(self) -> int:
        """The first step of the decay."""
        return self.total - self.decay

    def at(self, step: int) -> float:
        """Return the multiplier of update number ``step`` (from 0), at the middle of the step.

        ``transformers`` evaluates at the beginning, where the first update has a rate of zero.
        """
        return self(step + 0.5)

    def __call__(self, step: float) -> float:
        """Return the multiplier (0 to 1) at a point of the run, which may be between steps."""
        if step < self.warmup:
            return self._from_min(step / self.warmup)
        if step < self.decay_start:
            return 1.0
        if self.shape == "exponential":
            return float(0.5 ** ((min(step, self.total) - self.decay_start) / self.half_life))
        if step >= self.total:
            return self.min_ratio
        return self._from_min(decay_curve(self.shape, (step - self.decay_start) / self.decay))

    def _from_min(self, share: float) -> float:
        return self.min_ratio + (1.0 - self.min_ratio) * share


def decay_curve(shape: Decay, t: float) -> float:
    """Return the decay curve at ``t``, which falls from 1 at ``t`` = 0 to 0 at ``t`` = 1."""
    if shape == "linear":
        return 1.0 - t
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * t))
    return 1.0 - math.sqrt(t)


def make_schedule(config: TrainConfig, *, rows: float, context: int, start: int = 0) -> WSD:
    """Return the schedule of a run.

    Args:
        config: the settings.
        rows: number of rows in an epoch.
        context: tokens per row.
        start: step of the checkpoint that the run is forked from, or 0.
    """
    if config.steps is not None:
        steps = config.steps
    elif config.tokens is not None:
        steps = math.ceil(config.tokens / (config.batch_rows * context))
    else:
        steps = math.ceil((config.epochs or 1.0) * rows / config.batch_rows)
    warmup = 0 if config.fork else min(steps, round(config.warmup * steps))
    share = config.decay
    if share is None:
        share = 1.0 if config.fork else DECAY
    decay = min(steps - warmup, round(share * steps))
    return WSD(
        total=start + steps,
        warmup=warmup,
        decay=decay,
        shape=config.decay_shape,
        min_ratio=config.min_lr,
        half_life=max(1.0, config.half_life * decay),
        start=start,
    )
