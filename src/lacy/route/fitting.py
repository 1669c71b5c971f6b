"""Fit a router: inputs, heads, held-out scores, and their calibration."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from lacy.errors import LacyError
from lacy.route.cases import (
    CaseKind,
    Floats,
    RouteCase,
    kind_of_case,
    mean_costs,
    routes_of,
    targets_of,
)
from lacy.route.familiar import FamiliarWords
from lacy.route.features import Features, Matrix
from lacy.route.folds import Places, folds_of
from lacy.route.heads import RouterPart
from lacy.route.linear import STRENGTHS, fit_linear_head
from lacy.route.mix import fit_mix
from lacy.route.parts import features_for
from lacy.route.router import Router
from lacy.route.settings import RouterSettings
from lacy.route.texts import RequestFilter

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
    notify: Notify = lambda sentence: None,
) -> Router:
    """Fit a router on classes or outcomes; equal cases and settings give an equal router.

    Heads are fitted on folds first, by source where possible: the held-out scores choose the
    strength of penalties, weight the parts and calibrate the probabilities. Then heads are fitted
    on all cases.

    Args:
        cases: the cases.
        settings: settings.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E12, a setting is invalid; E370, there are fewer than two routes; E371, a route
            has too few cases; E345, there is no text encoder.
    """
    settings = settings or RouterSettings()
    settings.check()
    routes = routes_of(cases)
    kind = kind_of_case(cases[0])
    targets_NR = targets_of(cases, routes)
    require_cases(kind, targets_NR, routes, notify)
    texts = RequestFilter(routes).all([case.text for case in cases])
    features = features_for(settings, routes)
    matrices = []
    for one in features:
        notify(f"Reading {len(texts):,} texts: {one.name}")
        one.fit(texts)
        matrices.append(one.matrix(texts))
    sources = [case.source for case in cases]
    keys = [key_of(text) for text in texts]
    folds, split = folds_of(kind, targets_NR, sources, keys, settings.folds, settings.seed)
    notify(f"Fitting {len(folds)} folds that hold out {split}")
    parts, held = [], []
    for one, matrix in zip(features, matrices, strict=True):
        part, held_NR = _fit_part(one, matrix, targets_NR, folds, settings)
        parts.append(part)
        held.append(held_NR)
    held_PNR = np.stack(held)
    mix = fit_mix(kind, held_PNR, targets_NR, isotonic=settings.calibration == "isotonic")
    chance = np.random.default_rng(settings.seed)
    typical = chance.permutation(len(cases))[:TRAFFIC]
    return Router(
        routes, kind, settings, parts, mix,
        prior_R=_means(targets_NR),
        words=FamiliarWords.of(texts),
        unfamiliar=_unfamiliar(texts, folds, settings.unfamiliar),
        traffic_MR=mix.probabilities(held_PNR[:, typical]),
        costs=mean_costs(cases, routes),
        made={"cases": len(cases), "sources": dict(sorted(Counter(sources).items())),
              "folds": len(folds), "held_out": split,
              "cases_per_route": _counts(kind, targets_NR, routes)},
    )  # fmt: skip


def require_cases(
    kind: CaseKind, targets_NR: Floats, routes: Sequence[str], notify: Notify
) -> None:
    """Raise E371 if a route has too few cases; say it if they are few."""
    for name, count in _counts(kind, targets_NR, routes).items():
        if count < MIN_CASES:
            raise LacyError("E371", route=name, count=count, least=MIN_CASES)
        if count < FEW_CASES:
            notify(f"Warning: {name} has {count} cases only; its scores are guesses until it has "
                   f"{FEW_CASES} or more")  # fmt: skip


def key_of(text: str) -> str:
    """Return a hash of a text's words, equal for texts that differ in case and spaces only."""
    words = " ".join(text.casefold().split())
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _fit_part(
    features: Features, matrix: Matrix, targets_NR: Floats, folds: Sequence[tuple[Places, Places]],
    settings: RouterSettings,
) -> tuple[RouterPart, Floats]:  # fmt: skip
    """Fit a part's head on all cases; also return the held-out scores ``[N, R]``."""
    strengths = list(STRENGTHS["sparse" if sparse.issparse(matrix) else "dense"])
    if settings.strength is not None:
        strengths = [settings.strength]
    best: tuple[float, float, Floats] | None = None
    for strength in strengths:
        held_NR = np.zeros_like(targets_NR)
        for train, held in folds:
            head = fit_linear_head(matrix[train], targets_NR[train], strength)
            held_NR[held] = head.scores(matrix[held])
        error = float(np.nanmean((held_NR - targets_NR) ** 2))
        if best is None or error < best[0]:
            best = error, strength, held_NR
    assert best is not None
    final = fit_linear_head(matrix, targets_NR, best[1]).rounded()
    return RouterPart(features, final), best[2]


def _means(targets_NR: Floats) -> Floats:
    known_NR = ~np.isnan(targets_NR)
    sums_R = np.where(known_NR, targets_NR, 0.0).sum(0)
    means: Floats = sums_R / np.maximum(known_NR.sum(0), 1)
    return means


def _counts(kind: CaseKind, targets_NR: Floats, routes: Sequence[str]) -> dict[str, int]:
    """Return the number of cases of each route: its texts, or its known scores."""
    counted_NR = targets_NR == 1.0 if kind == "classes" else ~np.isnan(targets_NR)
    return {name: int(count) for name, count in zip(routes, counted_NR.sum(0), strict=True)}


def _unfamiliar(
    texts: Sequence[str], folds: Sequence[tuple[Places, Places]], share: float
) -> float:
    """Return the share of familiar words that this share of held-out texts stays below."""
    if not share:
        return 0.0
    found = [
        FamiliarWords.of([texts[place] for place in train]).shares([texts[p] for p in held])
        for train, held in folds
    ]
    return float(np.quantile(np.concatenate(found), share))
