"""Rows of a benchmark: the figures of one head (or baseline) under one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError
from lacy.results import Score, score_sums, wilson
from lacy.route.bench_folds import SplitName
from lacy.route.cases import Floats, RouteCase, kind_of_case, mean_costs
from lacy.route.measures import ClassFigures, class_figures, mcnemar
from lacy.route.measures_models import ModelsFigures, chosen_at, models_figures
from lacy.route.measures_pair import PairCurve, PairFigures, apgr_difference

BASELINES = ("random", "constant", "oracle")
"""Rows that do not depend on the text: chance, the training cases' means, and the truth."""

SHARES = tuple(round(0.05 * step, 2) for step in range(21))
"""Strong shares at which the curve of a pair is stored."""


@dataclass(frozen=True)
class BenchRow:
    """Figures of one head under one split.

    Attributes:
        head: the head or baseline.
        split: whether the measured cases are of sources that are absent in training.
        n: number of measured cases.
        classes: for classes, accuracy and more.
        p_value: for classes, McNemar's exact test against the split's most accurate head; None for
            that head itself and for baselines.
        pair: for outcomes of two models.
        stronger: for a pair, the model with the higher mean score on the measured texts.
        curve: for a pair, the quality at each of ``SHARES``.
        over_length: for a pair, APGR minus that of the head ``length``, paired.
        models: for outcomes.
        by_source: accuracy, or the mean quality of the chosen models, by source; for a pair, the
            quality where half of all questions go to the stronger model.
        fit_seconds: seconds to fit a fold, on average.
        milliseconds: milliseconds for one text, median.
    """

    head: str
    split: SplitName
    n: int
    classes: ClassFigures | None = None
    p_value: float | None = None
    pair: PairFigures | None = None
    stronger: str = ""
    curve: tuple[float, ...] = ()
    over_length: Score | None = None
    models: ModelsFigures | None = None
    by_source: dict[str, Score] = field(default_factory=dict)
    fit_seconds: float | None = None
    milliseconds: float | None = None

    @property
    def main(self) -> Score:
        """The figure that rows are compared by: accuracy, APGR, or quality."""
        if self.classes is not None:
            return self.classes.accuracy
        if self.pair is not None:
            return self.pair.apgr
        assert self.models is not None
        return self.models.quality


def bench_rows(
    cases: Sequence[RouteCase], routes: Sequence[str], targets_NR: Floats,
    scores: Mapping[tuple[str, SplitName], Floats], costs: Mapping[str, float] | None = None,
) -> list[BenchRow]:  # fmt: skip
    """Return a row for each head and split, the best head of a split first.

    Args:
        cases: the measured cases.
        routes: the routes.
        targets_NR: targets of the cases.
        scores: held-out scores ``[N, R]`` of each head and split.
        costs: cost of each model, instead of the costs in the cases.
    """
    sources = np.array([case.source for case in cases])
    rows: list[BenchRow] = []
    for split in dict.fromkeys(split for _, split in scores):
        found = {head: one for (head, of), one in scores.items() if of == split}
        if kind_of_case(cases[0]) == "classes":
            mine = _class_rows(routes, targets_NR, found, split, sources)
        elif len(routes) == 2:
            mine = _pair_rows(routes, targets_NR, found, split, sources)
        else:
            costs_R = [float({**mean_costs(cases, routes), **(costs or {})}.get(name, 0.0))
                       for name in routes]  # fmt: skip
            mine = _model_rows(routes, targets_NR, found, split, sources, np.array(costs_R))
        rows += sorted(mine, key=lambda row: (row.head in BASELINES, -row.main.value))
    return rows


def require_complete(routes: Sequence[str], targets_NR: Floats) -> None:
    """Raise E370 if no case has the scores of both models of a pair."""
    if len(routes) == 2 and np.isnan(targets_NR).any(1).all():
        raise LacyError("E370", where="the cases", why="no text has the scores of both models")


def _class_rows(
    routes: Sequence[str], targets_NR: Floats, found: Mapping[str, Floats], split: SplitName,
    sources: NDArray[np.str_],
) -> list[BenchRow]:  # fmt: skip
    true_N = targets_NR.argmax(1)
    right = {head: one.argmax(1) == true_N for head, one in found.items()}
    best = max((head for head in found if head not in BASELINES),
               key=lambda head: right[head].mean(), default=None)  # fmt: skip
    rows = []
    for head, scores_NR in found.items():
        picked_N = scores_NR.argmax(1)
        plain = head in BASELINES
        figures = class_figures(
            [routes[place] for place in true_N],
            [routes[place] for place in picked_N],
            None if plain else scores_NR.max(1),
        )
        compared = best is not None and not plain and head != best
        rows.append(BenchRow(
            head, split, len(true_N), classes=figures,
            p_value=mcnemar(right[head], right[best]) if compared and best else None,
            by_source={
                str(name): wilson(int(right[head][sources == name].sum()),
                                  int((sources == name).sum()))
                for name in np.unique(sources)
            },
        ))  # fmt: skip
    return rows


def _pair_rows(
    routes: Sequence[str], targets_NR: Floats, found: Mapping[str, Floats], split: SplitName,
    sources: NDArray[np.str_],
) -> list[BenchRow]:  # fmt: skip
    known_N = ~np.isnan(targets_NR).any(1)
    if not known_N.any():
        return []
    targets_NR, sources = targets_NR[known_N], sources[known_N]
    strong = int(targets_NR.mean(0).argmax())
    weak = 1 - strong
    curves = {
        head: PairCurve(one[known_N, strong] - one[known_N, weak],
                        targets_NR[:, weak], targets_NR[:, strong])
        for head, one in found.items() if head != "constant"  # equal to chance
    }  # fmt: skip
    rows = []
    for head, curve in curves.items():
        asked_N = np.zeros(len(targets_NR), bool)
        asked_N[curve.order_N[: len(targets_NR) // 2]] = True
        quality_N = np.where(asked_N, targets_NR[:, strong], targets_NR[:, weak])
        compared = "length" in curves and head not in ("length", *BASELINES)
        rows.append(BenchRow(
            head, split, len(targets_NR), pair=curve.figures(), stronger=routes[strong],
            curve=tuple(float(q) for q in curve.quality(SHARES)),
            over_length=apgr_difference(curve, curves["length"]) if compared else None,
            by_source=_by_source(quality_N, sources),
        ))  # fmt: skip
    return rows


def _model_rows(
    routes: Sequence[str], targets_NR: Floats, found: Mapping[str, Floats], split: SplitName,
    sources: NDArray[np.str_], costs_R: Floats,
) -> list[BenchRow]:  # fmt: skip
    rows = []
    cost_NR = np.broadcast_to(costs_R, targets_NR.shape)
    for head, scores_NR in found.items():
        figures = models_figures(scores_NR, targets_NR, costs_R, routes)
        asked_NR = np.where(np.isnan(targets_NR), np.nan, scores_NR)
        picked_N = chosen_at(asked_NR, cost_NR, 0.0)
        quality_N = targets_NR[np.arange(len(targets_NR)), picked_N]
        rows.append(BenchRow(head, split, len(targets_NR), models=figures,
                             by_source=_by_source(quality_N, sources)))  # fmt: skip
    return rows


def _by_source(quality_N: Floats, sources: NDArray[np.str_]) -> dict[str, Score]:
    """Return the mean quality of each source's questions."""
    found = {}
    for name in np.unique(sources):
        mine = quality_N[sources == name]
        columns = np.stack([mine, np.ones(len(mine))], 1)
        found[str(name)] = score_sums(columns, lambda sums: sums[:, 0] / sums[:, 1])
    return found
