"""What ``measure_saturation`` returns, and its values as a flat list of results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lacy.evaluate.head_gradient import LossKind
from lacy.evaluate.head_ranks import RankLosses
from lacy.evaluate.head_spectrum import HeadSpectrum
from lacy.results import Result, Score, results_of


@dataclass(frozen=True)
class GradientShare:
    """How much of the gradient's norm passes the head, for one loss and one group of tokens."""

    kept: Score
    lost: Score
    """Share of the norm that is orthogonal to the head; ``kept^2 + lost^2 = 1``."""
    loss: Score
    """The loss whose gradient it is, in nats per token."""


@dataclass(frozen=True)
class SaturationResult:
    """All measures of saturation of one model.

    Groups of tokens are ``all``, ``fact``, ``other``, ``delegated`` and ``kept`` (not delegated).
    """

    spectrum: HeadSpectrum
    tied: bool
    """True if the head is also the input embedding."""
    call_row: float
    """Norm of the ``<CALL>`` row relative to the mean norm of the other rows."""
    chance: float
    """Share of the norm of a random gradient that the head would let through."""
    anisotropy: Mapping[str, Mapping[str, Score]]
    """By layer (``last``, or a number from 0, the embedding), then by group."""
    gradient: Mapping[LossKind, Mapping[str, GradientShare]]
    ranks: RankLosses
    tokens: Mapping[str, int]
    """Number of tokens of each group."""
    texts: int
    left_out: int
    """Texts that are too short to predict anything."""
    delegated_by: str
    """``calls`` or ``marks``; empty if nothing is delegated."""
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def results(self) -> list[Result]:
        """Return every value with its conditions (group of tokens, layer, loss, head, rank).

        Numbers that do not depend on texts, such as the rank of the head, have no interval.
        """
        return [
            result
            for scores, conditions in _parts(self)
            for result in results_of(scores, seed=self.seed, conditions=conditions)
        ]


@dataclass(frozen=True)
class CheckpointsSaturation:
    """Saturation of several checkpoints of a run, or of one model, whose name is empty."""

    checkpoints: Mapping[str, SaturationResult]

    def results(self) -> list[Result]:
        """Return the results of all checkpoints; the condition ``checkpoint`` names each."""
        return [
            replace(one, conditions={**one.conditions, **({"checkpoint": name} if name else {})})
            for name, found in self.checkpoints.items()
            for one in found.results()
        ]


def _parts(found: SaturationResult) -> Iterator[tuple[dict[str, Score], dict[str, str]]]:
    spectrum = found.spectrum
    yield (
        {
            "hidden_size": _exact(spectrum.hidden_size, "dimensions"),
            "head_rank": _exact(spectrum.rank, "dimensions"),
            "head_effective_rank": _exact(spectrum.effective_rank, "dimensions"),
            "head_stable_rank": _exact(spectrum.stable_rank, "dimensions"),
            "head_rank_90": _exact(spectrum.rank_90, "dimensions"),
            "head_rank_99": _exact(spectrum.rank_99, "dimensions"),
            "singular_entropy": _exact(spectrum.singular_entropy, "nats"),
            "call_row_norm": _exact(found.call_row, "ratio"),
            "gradient_kept_by_chance": _exact(found.chance, "share"),
            "texts_left_out": _exact(found.left_out, "texts"),
        },
        {},
    )
    for group, tokens in found.tokens.items():
        yield {"tokens_measured": _exact(tokens, "tokens", found.texts)}, _group(found, group)
    for layer, scores in found.anisotropy.items():
        for group, score in scores.items():
            yield {"anisotropy": score}, {**_group(found, group), "layer": layer}
    for kind, shares in found.gradient.items():
        for group, share in shares.items():
            yield (
                {
                    "gradient_kept": share.kept,
                    "gradient_lost": share.lost,
                    "gradient_loss": share.loss,
                },
                {**_group(found, group), "loss": kind},
            )
    for one in found.ranks.heads:
        conditions = {"head": one.head, "rank": str(one.rank)}
        for group, score in one.loss.items():
            yield (
                {"rank_loss": score, "rank_loss_rise": one.rise[group]},
                {**_group(found, group), **conditions},
            )
    for rank, score in found.ranks.relief.items():
        yield {"head_relief": score}, {**_group(found, "kept"), "rank": str(rank)}


def _group(found: SaturationResult, group: str) -> dict[str, str]:
    """Return the condition of a group; for delegated tokens, also what delegates them."""
    by = {"delegated_by": found.delegated_by} if group in ("delegated", "kept") else {}
    return {"tokens": group, **by}


def _exact(value: float, unit: str, n: int = 1) -> Score:
    return Score(float(value), math.nan, math.nan, n, unit)
