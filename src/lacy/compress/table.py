"""Compare every stage with the original model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy.compress.measuring import FACTS, OTHERS, change_in_openings, relative_rise
from lacy.compress.running import Compression, Stage
from lacy.results import Score

BYTES_PER_WEIGHT = 4.0
"""Bytes per weight of the size that ratios refer to: 32 bits."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage beside the original; differences are over the same texts and subjects."""

    name: str
    kind: str
    bytes: int
    ratio: float
    """How many times smaller the files are than the original's weights in 32 bits."""
    loss_off_facts: Score
    """Rise of the loss per byte on tokens that state no fact, as a share."""
    loss_on_facts: Score
    """The same on fact tokens."""
    auroc: Score | None
    """AUROC of the call margin for the first tokens of values."""
    auroc_change: float
    """Minus the original's AUROC; NaN without calls."""
    right: Score | None
    """Share of right openings, with calls."""
    right_change: Score | None
    """Minus the original's share."""
    decode: Score | None
    """Tokens per second, one text at a time."""
    memory: Score | None
    """Peak memory of a fresh process, in bytes."""
    runtime: str


def stage_rows(done: Compression, seed: int = 0) -> list[StageRow]:
    """Return a row per stage, the original first.

    Args:
        done: a plan that was carried out.
        seed: seed of the bootstrap.
    """
    return [stage_row(done.original, stage, seed) for stage in done.stages]


def stage_row(original: Stage, stage: Stage, seed: int = 0) -> StageRow:
    """Compare one stage with the original."""
    before, after = original.measured, stage.measured
    whole = BYTES_PER_WEIGHT * before.scores["parameters"].value
    auroc, first = after.scores.get("auroc_margin_start"), before.scores.get("auroc_margin_start")
    return StageRow(
        name=stage.name,
        kind=stage.kind,
        bytes=stage.bytes,
        ratio=whole / stage.bytes if stage.bytes else math.nan,
        loss_off_facts=relative_rise(before, after, OTHERS, seed),
        loss_on_facts=relative_rise(before, after, FACTS, seed),
        auroc=auroc,
        auroc_change=auroc.value - first.value if auroc and first else math.nan,
        right=after.scores.get("openings_right"),
        right_change=change_in_openings(before, after, seed),
        decode=after.scores.get("decode_rate"),
        memory=after.scores.get("peak_memory"),
        runtime=after.conditions.get("runtime", ""),
    )
