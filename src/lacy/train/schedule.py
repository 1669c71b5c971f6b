"""Warm-up, stable, decay (WSD): the learning rate as a pure function of the step.

MiniCPM (arXiv 2404.06395, §4) keeps the rate stable for most of a run and lets it fall at the end;
the stable part does not know how long the run will be, so that any checkpoint of it can be
continued, or forked into a decay of its own, and nothing of the schedule has to be saved. Shapes:
``linear``, ``cosine`` and ``1-sqrt`` (Hägele et al., arXiv 2405.18392) equal ``transformers``'
``get_wsd_schedule`` (a test holds them); ``exponential`` is MiniCPM's, whose formula, read
consistently, halves the rate at equal distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy.train.config import Decay, TrainConfig

DECAY = 0.2
"""Share of the steps that decay: SmolLM2's; Hägele et al. see no gain beyond."""


@dataclass(frozen=True, slots=True)
class WSD:
    """Multiplier of the peak rate by step.

    Args:
        total: the step at which the run ends.
        warmup: steps of the rise.
        decay: steps of the fall, the last ones.
        shape: of the fall.
        min_ratio: where it ends (not the exponential one).
        half_life: of the exponential fall, in steps.
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
        """The multiplier of update number ``step`` (from 0), taken in the middle of the step.

        At the steps themselves, as ``transformers`` does it, the first update has a rate of zero.
        """
        return self(step + 0.5)

    def __call__(self, step: float) -> float:
        """The multiplier at a point of the run, in [0, 1]."""
        if step < self.warmup:
            return self._from_min(step / self.warmup)
        if step < self.decay_start:
            return 1.0
        if self.shape == "exponential":
            return float(0.5 ** ((min(step, self.total) - self.decay_start) / self.half_life))
        if step >= self.total:
            return self.min_ratio
        return self._from_min(fall(self.shape, (step - self.decay_start) / self.decay))

    def _from_min(self, share: float) -> float:
        return self.min_ratio + (1.0 - self.min_ratio) * share


def fall(shape: Decay, t: float) -> float:
    """The decay at share ``t`` of its length: 1 at 0, 0 at 1."""
    if shape == "linear":
        return 1.0 - t
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * t))
    return 1.0 - math.sqrt(t)


def make_schedule(config: TrainConfig, *, rows: int, context: int, start: int = 0) -> WSD:
    """The schedule of a run.

    Args:
        config: the settings.
        rows: rows to train on, which make an epoch.
        context: tokens per row.
        start: the step of the checkpoint that the run is forked from, else 0.
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
