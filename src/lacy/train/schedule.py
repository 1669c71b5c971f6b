"""Warm-up, stable, decay (WSD): the learning rate as a pure function of the step.

MiniCPM (arXiv 2404.06395, §4) keeps the rate stable for most of a run and decays it at the end. The
stable part does not depend on the length of the run, so any checkpoint of it can be continued or
forked into its own decay, and no schedule state has to be saved. The shapes ``linear``, ``cosine``
and ``1-sqrt`` (Hägele et al., arXiv 2405.18392) equal those of ``transformers`` (a test compares
them); ``exponential`` is MiniCPM's, which halves the rate at equal distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy.train.config import Decay, TrainConfig

DECAY = 0.2
"""Share of the steps that decay: as SmolLM2; Hägele et al. see no gain from more."""


@dataclass(frozen=True, slots=True)
class WSD:
    """The learning rate as a multiple of its peak, by step.

    Args:
        total: the step at which the run ends.
        warmup: steps of the warm-up.
        decay: steps of the decay, the last ones.
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
        """Return the multiplier of update number ``step`` (from 0), in the middle of the step.

        At its beginning, as in ``transformers``, the first update would have a rate of zero.
        """
        return self(step + 0.5)

    def __call__(self, step: float) -> float:
        """Return the multiplier at a point of the run, in [0, 1]."""
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
    """Return the decay at share ``t`` of its length: 1 at 0, 0 at 1."""
    if shape == "linear":
        return 1.0 - t
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * t))
    return 1.0 - math.sqrt(t)


def make_schedule(config: TrainConfig, *, rows: int, context: int, start: int = 0) -> WSD:
    """Make the schedule of a run.

    Args:
        config: the settings.
        rows: rows of an epoch.
        context: tokens per row.
        start: the step of the checkpoint that the run is forked from, or 0.
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
