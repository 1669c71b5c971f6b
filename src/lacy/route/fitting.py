"""Fit a router: inputs, heads, held-out scores, and their calibration."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lacy.errors import LacyError
from lacy.route.cases import (
    CaseKind,
    Floats,
    RouteCase,
    cost_counts,
    kind_of_case,
    mean_costs,
    routes_of,
    targets_of,
)
from lacy.route.familiar import FamiliarWords
from lacy.route.features import Features, Matrix
from lacy.route.folds import Places, folds_of
from lacy.route.memory import InputMemory
from lacy.route.mix import fit_mix
from lacy.route.parts import features_for, fit_part
from lacy.route.router import VECTORS, Router, open_router
from lacy.route.settings import RouterSettings
from lacy.route.table import CaseTable, read_case_table, rounded_matrix
from lacy.route.texts import RequestFilter
from lacy.route.weights import source_weights

Notify = Callable[[str], object]

MIN_CASES = 3
"""Cases that a route needs."""

FEW_CASES = 20
"""Below this number of cases of a route, its scores are guesses."""

TRAFFIC = 1_000
"""Held-out scores that are kept as typical ones."""


def fit_router(
    cases: Sequence[RouteCase],
    settings: RouterSettings | None = None,
    *,
    drafts: Path | None = None,
    memory: InputMemory | None = None,
    notify: Notify = lambda sentence: None,
) -> Router:
    """Fit a router on classes or outcomes; equal cases and settings give an equal router.

    Heads are fitted on folds first, by source where possible: the held-out scores choose the
    strength of penalties, weight the parts and calibrate the probabilities. Then heads are fitted
    on all cases. Of cases with equal texts, the last one counts; of outcomes, the last score of
    each model.

    Args:
        cases: the cases.
        settings: settings.
        drafts: file that keeps draft signals, so that a stopped run goes on.
        memory: keeps inputs that are expensive to compute for other routers on the same texts.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E12, a setting is invalid; E370, there are fewer than two routes; E371, a route
            has too few cases; E345, there is no text encoder; E373, a language model is needed.
    """
    settings = settings or RouterSettings()
    settings.check()
    routes = routes_of(cases)
    kind = kind_of_case(cases[0])
    texts = RequestFilter(routes).all([case.text for case in cases])
    require_cases(kind, _last_of_each(cases, texts, routes)[1], routes, notify)
    store = None
    if settings.draft:
        from lacy.route.draft import DraftStore

        store = DraftStore(drafts)
    features = features_for(settings, routes, len(texts), store, key_of)
    matrices = []
    for one in features:
        notify(f"Reading {len(texts):,} texts: {one.name}")
        matrices.append(rounded_matrix(memory.read(one, texts) if memory else one.fit(texts)))
    table = _table(cases, texts, routes, kind, matrices)
    words = FamiliarWords.of(texts)
    return _fit_table(table, features, settings, words, _unfamiliar(texts, settings),
                      mean_costs(cases, routes), cost_counts(cases, routes), notify)  # fmt: skip


def add_cases(
    folder: str | Path,
    cases: Sequence[RouteCase],
    *,
    notify: Notify = lambda sentence: None,
) -> Router:
    """Fit a router again with further cases; the old ones are read from its stored inputs.

    A new case of an old text replaces it. What features learned (which n-grams are rare) stays.

    Args:
        folder: the router's folder.
        cases: further cases, of the same kind.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E372, there is no router; E376, it keeps no inputs, or the cases do not fit;
            E371, a new route has too few cases.
    """
    router = open_router(folder)
    table = read_case_table(Path(folder) / VECTORS)
    if cases:
        kind = kind_of_case(cases[0])
        names = {case.route for case in cases if case.route} | {n for c in cases for n in c.scores}
        why = ""
        if kind != router.kind:
            why = f"it learned from {router.kind}, and these are {kind}"
        elif not names <= {*router.routes} and router.settings.head == "prompted":
            why = "its language model was not asked about the new routes"
        if why:
            raise LacyError("E376", path=folder, why=why)
        texts = router.filter.all([case.text for case in cases])
        matrices = [rounded_matrix(part.features.matrix(texts)) for part in router.parts]
        newer = _table(cases, texts, tuple(sorted(names)), kind, matrices)
        table = table.joined(newer)
        router.words.seen |= FamiliarWords.of(texts).seen
    require_cases(table.kind, table.targets_NR, table.routes, notify)
    costs, counts = _joined_costs(router, cases)
    return _fit_table(table, [part.features for part in router.parts], router.settings,
                      router.words, router.unfamiliar, costs, counts, notify)  # fmt: skip


def _joined_costs(
    router: Router, cases: Sequence[RouteCase]
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the mean costs of old and further cases together, and their numbers of cases.

    Costs that do not come from cases stay.
    """
    costs, counts = dict(router.costs), dict(router.made.get("cost_cases", {}))
    names = sorted({name for case in cases for name in case.costs})
    for name, more in cost_counts(cases, names).items():
        old = counts.get(name, 0)
        if old or name not in costs:
            total = old * costs.get(name, 0.0) + more * mean_costs(cases, [name])[name]
            costs[name] = float(f"{total / (old + more):.10g}")
            counts[name] = old + more
    return costs, counts


def _table(
    cases: Sequence[RouteCase], texts: Sequence[str], routes: tuple[str, ...], kind: CaseKind,
    matrices: list[Matrix],
) -> CaseTable:  # fmt: skip
    """Return the table of cases; of equal texts, the last one is kept."""
    rows, targets_NR = _last_of_each(cases, texts, routes)
    return CaseTable(
        kind, routes, [matrix[rows] for matrix in matrices],
        targets_NR.astype(np.float32).astype(np.float64),
        tuple(cases[row].source for row in rows), tuple(key_of(texts[row]) for row in rows),
    )  # fmt: skip


def _last_of_each(
    cases: Sequence[RouteCase], texts: Sequence[str], routes: Sequence[str]
) -> tuple[Places, Floats]:
    """Return the place of the last case of each text, and its targets.

    Of outcomes, scores of models that the last case lacks are taken from the cases before it.
    """
    targets_NR = targets_of(cases, routes)
    last: dict[str, int] = {}
    for row, text in enumerate(texts):
        if (before := last.pop(key := key_of(text), None)) is not None:
            missing_R = np.isnan(targets_NR[row])
            targets_NR[row, missing_R] = targets_NR[before, missing_R]
        last[key] = row
    rows = np.fromiter(last.values(), np.int64, len(last))
    return rows, targets_NR[rows]


def _fit_table(
    table: CaseTable, features: Sequence[Features], settings: RouterSettings,
    words: FamiliarWords, unfamiliar: float, costs: dict[str, float],
    counts: dict[str, int], notify: Notify,
) -> Router:  # fmt: skip
    """Fit heads and calibration on a table of cases."""
    targets_NR, kind = table.targets_NR, table.kind
    folds, split = folds_of(kind, targets_NR, table.sources, table.keys, settings.folds,
                            settings.seed)  # fmt: skip
    notify(f"Fitting {len(folds)} folds that hold out {split}")
    weight_N = source_weights(kind, targets_NR, table.sources)
    parts, held = [], []
    for one, matrix in zip(features, table.matrices, strict=True):
        part, held_NR = fit_part(one, matrix, targets_NR, folds, settings, kind, weight_N)
        parts.append(part)
        held.append(held_NR)
    held_PNR = np.stack(held)
    mix = fit_mix(kind, held_PNR, targets_NR, isotonic=settings.calibration == "isotonic")
    chance = np.random.default_rng(settings.seed)
    typical = chance.permutation(len(targets_NR))[:TRAFFIC]
    return Router(
        table.routes, kind, settings, parts, mix,
        prior_R=_means(targets_NR),
        words=words,
        unfamiliar=unfamiliar,
        traffic_MR=mix.probabilities(held_PNR[:, typical]),
        costs=costs,
        made={"cases": len(targets_NR), "sources": dict(sorted(Counter(table.sources).items())),
              "folds": len(folds), "held_out": split, "cost_cases": counts,
              "cases_per_route": _counts(kind, targets_NR, table.routes)},
        vectors=table.arrays() if settings.keep_vectors else {},
    )  # fmt: skip


def require_cases(
    kind: CaseKind, targets_NR: Floats, routes: Sequence[str], notify: Notify
) -> None:
    """Raise E371 if a route has too few cases; say it if they are few."""
    for name, count in _counts(kind, targets_NR, routes).items():
        if count < MIN_CASES:
            shown = f"{count} case{'s' * (count != 1)}"
            raise LacyError("E371", route=name, count=shown, least=MIN_CASES)
        if count < FEW_CASES:
            notify(f"Warning: {name} has {count} cases; its scores are guesses until it has "
                   f"{FEW_CASES} or more")  # fmt: skip


def key_of(text: str) -> str:
    """Return a hash of a text's words, equal for texts that differ in case and spaces only."""
    words = " ".join(text.casefold().split())
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _means(targets_NR: Floats) -> Floats:
    known_NR = ~np.isnan(targets_NR)
    sums_R = np.where(known_NR, targets_NR, 0.0).sum(0)
    means: Floats = sums_R / np.maximum(known_NR.sum(0), 1)
    return means


def _counts(kind: CaseKind, targets_NR: Floats, routes: Sequence[str]) -> dict[str, int]:
    """Return the number of cases of each route: its texts, or its known scores."""
    counted_NR = targets_NR == 1.0 if kind == "classes" else ~np.isnan(targets_NR)
    return {name: int(count) for name, count in zip(routes, counted_NR.sum(0), strict=True)}


def _unfamiliar(texts: Sequence[str], settings: RouterSettings) -> float:
    """Return the share of familiar words that ``settings.unfamiliar`` of the texts stay below.

    Each text is compared with the words of the other folds of texts.
    """
    if not settings.unfamiliar:
        return 0.0
    fold_N = np.array([int(key_of(text), 16) % settings.folds for text in texts])
    found = []
    for fold in range(settings.folds):
        others = [text for text, own in zip(texts, fold_N, strict=True) if own != fold]
        mine = [text for text, own in zip(texts, fold_N, strict=True) if own == fold]
        found.append(FamiliarWords.of(others).shares(mine))
    return float(np.quantile(np.concatenate(found), settings.unfamiliar))
