"""Measure heads of routers: fit on some cases, score the others, compare with trivial baselines.

Scores of every head and fold are stored as soon as they are there, so that a benchmark that was
stopped resumes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lacy.disk import write_atomic
from lacy.errors import LacyError
from lacy.results import as_data
from lacy.route.bench_folds import BenchFold, SplitName, bench_folds
from lacy.route.bench_rows import BenchRow, bench_rows, require_complete
from lacy.route.cases import (
    CaseKind,
    Floats,
    RouteCase,
    kind_of_case,
    mean_costs,
    routes_of,
    targets_of,
)
from lacy.route.fitting import MIN_CASES, fit_router, key_of
from lacy.route.memory import InputMemory
from lacy.route.router import Router
from lacy.route.settings import HeadName, RouterSettings
from lacy.run import Run, environment

Notify = Callable[[str], object]

RESULT, SCORES = "bench.json", "scores.safetensors"
"""Names of the files with all figures, and with the held-out scores of all heads."""

TIMED = 50
"""Texts that are scored one at a time to measure the time of one."""


@dataclass(frozen=True)
class RouteBench:
    """Figures of several heads on the same cases.

    Attributes:
        kind: classes or outcomes.
        routes: the routes.
        cases: number of cases by source.
        rows: a row of figures for each head (and baseline) and split.
        settings: settings of the routers.
        environment: versions and machine.
    """

    kind: CaseKind
    routes: tuple[str, ...]
    cases: dict[str, int]
    rows: tuple[BenchRow, ...]
    settings: dict[str, Any]
    environment: dict[str, Any]

    def of(self, split: SplitName) -> list[BenchRow]:
        """Return the rows of a split."""
        return [row for row in self.rows if row.split == split]


def bench_heads(
    cases: Sequence[RouteCase], heads: Sequence[str], folder: str | Path, *,
    settings: RouterSettings | None = None, folds: int = 5, costs: dict[str, float] | None = None,
    same_sources: bool = True, memory: InputMemory | None = None,
    notify: Notify = lambda sentence: None,
) -> RouteBench:  # fmt: skip
    """Fit and measure heads, leaving out sources and within sources.

    Args:
        cases: classes or outcomes.
        heads: the heads; ``length`` should be one of them, as a baseline.
        folder: where scores and figures are written; a benchmark of the same cases and settings
            resumes where it stopped.
        settings: settings of all routers; the head is replaced.
        folds: folds within sources.
        costs: cost of each model, instead of the costs in the cases.
        same_sources: False to measure on left-out sources only, which takes half of the time.
        memory: inputs that are expensive to compute, kept for all folds; by default in the folder.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E17, the folder holds another benchmark; E370, no text has the scores of both
            models of a pair; E378, a fold has too few cases to train
            on; and the errors of ``fit_router``.
    """
    base = settings or RouterSettings()
    for head in heads:
        _with(base, head).check()
    routes = routes_of(cases)
    targets_NR = targets_of(cases, routes)
    require_complete(routes, targets_NR)
    plan = bench_folds(cases, targets_NR, folds=folds, seed=base.seed)
    if not same_sources:
        plan = [fold for fold in plan if fold.split == "other sources"] or plan
    run = _run(Path(folder), cases, base, folds)
    memory = memory or InputMemory(run.folder / "inputs.safetensors")
    scores: dict[tuple[str, SplitName], Floats] = {}
    seconds: dict[tuple[str, SplitName], list[Floats]] = {}
    for head in heads:
        for number, fold in enumerate(plan):
            file = run.folder / "scores" / f"{head}-{number:02d}.safetensors"
            if not file.exists():
                notify(f"{head}, {fold.split}: {fold.name}")
                found = _measure(cases, fold, routes, _with(base, head), memory)
                write_atomic(file, save(found))
            stored = load(file.read_bytes())
            whole = scores.setdefault((head, fold.split), np.zeros_like(targets_NR))
            whole[fold.test_N] = stored["scores"]
            seconds.setdefault((head, fold.split), []).append(stored["seconds"])
    for key, whole in _baselines(plan, targets_NR, base.seed):
        scores[key] = whole
    write_atomic(run.folder / SCORES, save({"/".join(key): one for key, one in scores.items()}))
    rows = bench_rows(cases, routes, targets_NR, scores, costs)
    spent = {key: np.mean(found, 0) for key, found in seconds.items()}
    rows = [_timed(row, spent.get((row.head, row.split))) for row in rows]
    return _written(run.folder, cases, rows, routes, {**asdict(base), "head": list(heads)})


def read_scores(folder: str | Path) -> dict[tuple[str, SplitName], Floats]:
    """Return the held-out scores ``[N, R]`` of a benchmark by head and split, in the cases' order.

    Args:
        folder: the folder of ``bench_heads``.
    """
    stored = load((Path(folder) / SCORES).read_bytes())
    found: dict[tuple[str, SplitName], Floats] = {}
    for name, one in stored.items():
        head, _, split = name.partition("/")
        found[head, cast(SplitName, split)] = one
    return found


def bench_router(
    router: Router, cases: Sequence[RouteCase], folder: str | Path,
    costs: dict[str, float] | None = None,
) -> RouteBench:  # fmt: skip
    """Measure a router that exists, on cases that it was not trained on.

    Sources that it was trained on count as *same sources*.

    Args:
        router: the router.
        cases: cases of the same routes.
        folder: where the figures are written.
        costs: cost of each model, instead of the costs in the cases, or else in the router.

    Raises:
        LacyError: E17, the folder holds another benchmark; E370, no text has the scores of both
            models of a pair; E369, outcomes of one model only; E379,
            the cases have other routes.
    """
    named = {case.route for case in cases if case.route} | {n for c in cases for n in c.scores}
    unknown = sorted(named - set(router.routes))
    if unknown:
        raise LacyError("E379", unknown=", ".join(unknown), known=", ".join(router.routes))
    routes = router.routes
    if kind_of_case(cases[0]) == "outcomes":  # a model without scores cannot be chosen
        routes = tuple(name for name in routes if name in routes_of(cases))
    run = _run(Path(folder), cases, router.settings, 0)
    costs = {**router.costs, **mean_costs(cases, routes), **(costs or {})}
    targets_NR = targets_of(cases, routes)
    require_complete(routes, targets_NR)
    places_R = [router.routes.index(name) for name in routes]
    scores_NR = router.scores([case.text for case in cases])[:, places_R]
    seen = set(router.made.get("sources", {}))
    splits = np.array([case.source in seen for case in cases])
    rows: list[BenchRow] = []
    head = router.settings.head
    divided: dict[SplitName, NDArray[np.bool_]] = {"other sources": ~splits, "same sources": splits}
    for split, mine_N in divided.items():
        places = np.flatnonzero(mine_N).tolist()
        if not len(places):
            continue
        part = [cases[place] for place in places]
        random = np.random.default_rng(0).random((len(part), len(routes)))
        found: dict[tuple[str, SplitName], Floats]
        found = {(head, split): scores_NR[places], ("random", split): random,
                 ("oracle", split): np.nan_to_num(targets_NR[places], nan=-1.0)}  # fmt: skip
        rows += bench_rows(part, routes, targets_NR[places], found, costs)
    spent = np.array([np.nan, _milliseconds(router, [case.text for case in cases])])
    rows = [_timed(row, spent if row.head == head else None) for row in rows]
    return _written(run.folder, cases, rows, routes, asdict(router.settings))


def _with(settings: RouterSettings, head: str) -> RouterSettings:
    return replace(settings, head=cast(HeadName, head))  # ``check`` refuses unknown ones


def _run(folder: Path, cases: Sequence[RouteCase], settings: RouterSettings, folds: int) -> Run:
    """Open the folder of the benchmark of these cases."""
    digest = hashlib.sha256()
    for case in cases:
        line = [case.text, case.route, sorted(case.scores.items()), case.source]
        digest.update(json.dumps(line).encode("utf-8", "replace"))
    config = {**asdict(settings), "folds_of_bench": folds, "cases": digest.hexdigest()[:16]}
    config.pop("head")
    return Run(folder, config)


def _measure(
    cases: Sequence[RouteCase],
    fold: BenchFold,
    routes: Sequence[str],
    settings: RouterSettings,
    memory: InputMemory,
) -> dict[str, NDArray[Any]]:
    """Fit on a fold's training cases, and score its other cases ``[N, R]``."""
    train, known = _learnable([cases[place] for place in fold.train_N])
    if len(known) < 2:
        raise LacyError("E378", fold=fold.name, count=len(train))
    began = time.perf_counter()
    router = fit_router(train, settings, memory=memory)
    fitted = time.perf_counter() - began
    texts = [cases[place].text for place in fold.test_N]
    found_NR = np.zeros((len(texts), len(routes)))
    reading = [replace(part, features=memory.wrap(part.features)) for part in router.parts]
    remembering = replace(router, parts=reading)
    found_NR[:, [routes.index(name) for name in router.routes]] = remembering.scores(texts)
    return {"scores": found_NR, "seconds": np.array([fitted, _milliseconds(router, texts)])}


def _learnable(train: Sequence[RouteCase]) -> tuple[list[RouteCase], set[str]]:
    """Return the cases of routes that have enough of them, and these routes.

    A route may lack them because its only source is left out.
    """
    texts: dict[str, set[str]] = {}
    for case in train:
        for name in [case.route] if case.route is not None else case.scores:
            texts.setdefault(name, set()).add(key_of(case.text))
    known = {name for name, seen in texts.items() if len(seen) >= MIN_CASES}
    kept = [replace(case, scores={n: s for n, s in case.scores.items() if n in known})
            for case in train if case.route is None or case.route in known]  # fmt: skip
    return [case for case in kept if case.route is not None or case.scores], known


def _milliseconds(router: Router, texts: Sequence[str]) -> float:
    """Return the milliseconds of one text, the median over texts scored one at a time."""
    spent = []
    for text in texts[:TIMED]:
        began = time.perf_counter()
        router.scores([text])
        spent.append(1e3 * (time.perf_counter() - began))
    return float(np.median(spent))


def _baselines(
    plan: Sequence[BenchFold], targets_NR: Floats, seed: int
) -> Iterator[tuple[tuple[str, SplitName], Floats]]:
    """Yield scores that do not depend on the text: random, the training means, and the truth."""
    for split in dict.fromkeys(fold.split for fold in plan):
        means_NR = np.zeros_like(targets_NR)
        for fold in plan:
            if fold.split == split:
                known = targets_NR[fold.train_N]
                sums = np.nansum(known, 0)
                means_NR[fold.test_N] = sums / np.maximum(1, (~np.isnan(known)).sum(0))
        random = np.random.default_rng(seed).random(targets_NR.shape)
        yield ("random", split), random
        yield ("constant", split), means_NR
        yield ("oracle", split), np.nan_to_num(targets_NR, nan=-1.0)


def _timed(row: BenchRow, spent: Floats | None) -> BenchRow:
    """Return the row with the times of its head."""
    if spent is None:
        return row
    return replace(row, fit_seconds=float(spent[0]), milliseconds=float(spent[1]))


def _written(
    folder: Path, cases: Sequence[RouteCase], rows: Sequence[BenchRow], routes: Sequence[str],
    settings: dict[str, Any],
) -> RouteBench:  # fmt: skip
    """Write the figures of a benchmark and return them."""
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.source] = counts.get(case.source, 0) + 1
    done = RouteBench(
        kind_of_case(cases[0]), tuple(routes), counts, tuple(rows), settings, environment()
    )
    write_atomic(folder / RESULT, json.dumps(as_data(done), indent=1) + "\n")
    return done
