"""Measure one stage of a compression: size, losses, calls, facts in cascade, speed and memory.

Losses are measured per byte of text, because a smaller vocabulary writes the same text with more
tokens. The sums of every text and subject are kept, so that a stage is compared with the original
model in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.compress.settings import CompressPlan
from lacy.results import Result, Score, difference, ratio, results_of, score_sums
from lacy.types import Document

OTHERS, FACTS = "others", "facts"
"""The two groups of tokens: those that state no fact, and fact tokens."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums behind ratios, one entry per text or subject."""

    names: tuple[str, ...]
    counts: Mapping[str, Floats]

    def pair(self, numerator: str, denominator: str) -> tuple[Floats, Floats]:
        """Return the numerators and denominators of a ratio."""
        return np.asarray(self.counts[numerator]), np.asarray(self.counts[denominator])

    def to_data(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "names": list(self.names),
            "counts": {name: np.asarray(v).tolist() for name, v in self.counts.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Sums:
        """Read what ``to_data`` returned."""
        counts = {name: np.asarray(values, float) for name, values in data["counts"].items()}
        return cls(tuple(data["names"]), counts)


@dataclass(frozen=True, slots=True)
class StageMeasured:
    """What was measured of one stage."""

    scores: Mapping[str, Score]
    """By metric, as in ``metrics.toml``."""
    texts: Sums
    """Nats and bytes of each held-out text, on fact tokens and on others."""
    openings: Sums | None = None
    """Completed openings of each subject, with calls."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """How speed and memory were measured."""

    def results(self) -> list[Result]:
        """Return every value as a result."""
        return results_of(self.scores, conditions=self.conditions)

    def to_data(self) -> dict[str, Any]:
        """Return plain data."""
        from lacy.results import as_data

        return {
            "scores": as_data(dict(self.scores)),
            "texts": self.texts.to_data(),
            "openings": None if self.openings is None else self.openings.to_data(),
            "conditions": dict(self.conditions),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> StageMeasured:
        """Read what ``to_data`` returned."""
        return cls(
            {name: Score.from_data(score) for name, score in data["scores"].items()},
            Sums.from_data(data["texts"]),
            Sums.from_data(data["openings"]) if data["openings"] else None,
            data["conditions"],
        )


def measure_stage(
    loaded: Any,
    held_out: Sequence[Document],
    plan: CompressPlan,
    *,
    notify: Callable[[str], object] = lambda sentence: None,
) -> StageMeasured:
    """Measure losses, call signals and facts in cascade of a model in this process.

    Args:
        loaded: the model of the stage, as from ``lacy.model.load_model``.
        held_out: marked texts that no step has seen, cut to ``plan.measure.tokens``.
        plan: its ``measure`` and ``seed``.
        notify: receives sentences about what is measured.
    """
    from lacy.evaluate import measure_on_texts, read_losses
    from lacy.results import as_data, model_scores

    notify(f"Measure losses and calls on {len(held_out)} texts")
    window = min(1024, loaded.context)
    losses = list(read_losses(loaded, held_out, window, max(1, window // 2)))
    texts = _text_sums(losses)
    scores = {
        "loss_per_byte_off_facts": _nats_per_byte(texts, OTHERS, plan.seed),
        "loss_per_byte_on_facts": _nats_per_byte(texts, FACTS, plan.seed),
    }
    on_texts = model_scores(as_data({"calls": measure_on_texts(loaded, held_out).calls}))
    if loaded.calls:
        scores["auroc_margin_start"] = on_texts["auroc_margin_start"]
    openings = None
    if loaded.calls and plan.measure.subjects:
        notify(f"Measure facts in cascade on {plan.measure.subjects} subjects")
        openings, right = _openings(loaded, plan)
        scores["openings_right"] = right
    if hasattr(loaded.model, "parameters"):  # a graph of ONNX has none
        count = sum(p.numel() for p in loaded.model.parameters())
        scores["parameters"] = _exact(count, "parameters")
    return StageMeasured(scores, texts, openings)


def _text_sums(losses: Sequence[Any]) -> Sums:
    counts: dict[str, list[float]] = {
        f"{what}_{tokens}": [] for what in ("nats", "bytes") for tokens in (OTHERS, FACTS)
    }
    for text in losses:
        for tokens, mask in ((OTHERS, ~text.fact), (FACTS, text.fact)):
            counts[f"nats_{tokens}"].append(float(text.loss[mask].sum()))
            counts[f"bytes_{tokens}"].append(float(text.size[mask].sum()))
    names = tuple(text.id for text in losses)
    return Sums(names, {name: np.asarray(values) for name, values in counts.items()})


def _nats_per_byte(texts: Sums, tokens: str, seed: int) -> Score:
    pair = texts.pair(f"nats_{tokens}", f"bytes_{tokens}")
    return ratio(*pair, unit="nats per byte", seed=seed)


def _openings(loaded: Any, plan: CompressPlan) -> tuple[Sums, Score]:
    """Let the model complete sentences about subjects of a database that ships with lacy."""
    from lacy.cascade import lookup_policy
    from lacy.evaluate import evaluate_shipped_facts
    from lacy.results import ratio_scores

    found = evaluate_shipped_facts(
        loaded, {"cascade": lookup_policy(loaded)}, subjects=plan.measure.subjects, seed=plan.seed
    )
    units = found.units()[0]
    kept = {name: units.counts[name] for name in ("completed", "openings")}
    return Sums(units.names, kept), ratio_scores(units.counts, seed=plan.seed)["openings_right"]


def _exact(value: float, unit: str) -> Score:
    return Score(float(value), math.nan, math.nan, 1, unit)


def relative_rise(before: StageMeasured, after: StageMeasured, tokens: str, seed: int) -> Score:
    """Return how much the loss per byte rises, as a share of the original's, over the same texts.

    Args:
        before: the original model.
        after: a stage.
        tokens: ``OTHERS`` or ``FACTS``.
        seed: seed of the bootstrap over texts.
    """
    columns = [*_both(before.texts, after.texts, f"nats_{tokens}", f"bytes_{tokens}")]
    return score_sums(
        np.stack(columns, 1),
        lambda sums: (sums[:, 2] / sums[:, 3]) / (sums[:, 0] / sums[:, 1]) - 1.0,
        unit="share",
        seed=seed,
    )


def change_in_openings(before: StageMeasured, after: StageMeasured, seed: int) -> Score | None:
    """Return the difference of the shares of right openings, over the same subjects."""
    if before.openings is None or after.openings is None:
        return None
    a, b, c, d = _both(before.openings, after.openings, "completed", "openings")
    return difference((c, d), (a, b), seed=seed)


def _both(before: Sums, after: Sums, numerator: str, denominator: str) -> tuple[Floats, ...]:
    """Return numerators and denominators of both sides for the units that both have."""
    place = {name: number for number, name in enumerate(after.names)}
    common = [(n, place[name]) for n, name in enumerate(before.names) if name in place]
    first, second = ([pair[side] for pair in common] for side in (0, 1))
    return (
        *(column[first] for column in before.pair(numerator, denominator)),
        *(column[second] for column in after.pair(numerator, denominator)),
    )
