"""Training cases of a router: classes or outcomes, read from JSONL, JSON, CSV or Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lacy.corpus import ReadReport, read
from lacy.errors import LacyError

Floats = NDArray[np.float64]

CaseKind = Literal["classes", "outcomes"]

MAX_CASES = 1_000_000
"""Cases that are read at most."""

MAX_ROUTES = 1_000
"""Routes of a router at most."""

SCORE_COLUMN, COST_COLUMN = "scores.", "costs."
"""Beginnings of the columns of a table that hold outcomes, such as ``scores.small``."""


@dataclass(frozen=True, slots=True)
class RouteCase:
    """A text with its route (a class), or with each model's score on it (outcomes).

    Attributes:
        text: what a user wrote.
        route: the right route; None for outcomes.
        scores: how well each model answered, from 0 to 1; models may be missing.
        costs: what each model's answer cost, in any unit that is the same for all.
        source: the data that the case comes from; folds and figures go by source.
    """

    text: str
    route: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


def read_cases(
    paths: str | Path | Iterable[str | Path],
    *,
    limit: int = MAX_CASES,
    encoding: str | None = None,
    report: ReadReport | None = None,
) -> list[RouteCase]:
    """Read cases from files of all formats of ``lacy.corpus.read``.

    JSONL has ``{"text", "route", "source"?}`` or ``{"text", "scores": {model: number}, "costs"?,
    "source"?}`` per line. A table has the columns ``text``, ``route`` and ``source``, or ``text``,
    ``scores.MODEL`` and ``costs.MODEL`` for each model. A case without a source has its file's
    name. Empty texts are skipped and counted.

    Args:
        paths: a file or folder, or several.
        limit: cases read at most, of all files together.
        encoding: encoding of files that are not UTF-8.
        report: filled with what was skipped.

    Raises:
        LacyError: E370, a case is unusable, or the files mix classes and outcomes; and the errors
            of ``read``.
    """
    found: list[RouteCase] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        name = Path(path).name.split(".")[0]
        for document in read(path, encoding=encoding, report=report):
            if len(found) >= limit:
                return found
            case = _case(document.text, document.meta, name, f"{path}: {document.id}")
            if found and kind_of_case(case) != kind_of_case(found[0]):
                raise LacyError("E370", where=f"{path}: {document.id}", why="it has "
                                f"{kind_of_case(case)}, but the cases before it have "
                                f"{kind_of_case(found[0])}")  # fmt: skip
            found.append(case)
    return found


def kind_of_case(case: RouteCase) -> CaseKind:
    """Return the kind of a case: ``classes`` (a route) or ``outcomes`` (scores)."""
    return "classes" if case.route is not None else "outcomes"


def routes_of(cases: Sequence[RouteCase]) -> tuple[str, ...]:
    """Return all routes of cases in alphabetical order.

    Raises:
        LacyError: E370, there are fewer than two, or too many.
    """
    names = {case.route for case in cases if case.route is not None}
    names |= {name for case in cases for name in case.scores}
    if not 2 <= len(names) <= MAX_ROUTES:
        count = f"{len(names)} route{'s' * (len(names) != 1)}"
        why = f"they have {count}; a router needs 2 to {MAX_ROUTES}"
        raise LacyError("E370", where="the cases", why=why)
    return tuple(sorted(names))


def targets_of(cases: Sequence[RouteCase], routes: Sequence[str]) -> Floats:
    """Return ``[N, R]``: 1 for the right route, or the outcomes; NaN where a model is missing."""
    place = {name: number for number, name in enumerate(routes)}
    found_NR = np.full((len(cases), len(routes)), np.nan)
    for row, case in enumerate(cases):
        if case.route is not None:
            found_NR[row] = 0.0
            found_NR[row, place[case.route]] = 1.0
        for name, value in case.scores.items():
            found_NR[row, place[name]] = value
    return found_NR


def mean_costs(cases: Sequence[RouteCase], routes: Sequence[str]) -> dict[str, float]:
    """Return the mean cost of each route whose costs are known."""
    found = {}
    for name in routes:
        known = [case.costs[name] for case in cases if name in case.costs]
        if known:
            found[name] = float(f"{np.mean(known):.10g}")  # 0.1, not 0.10000000000000002
    return found


def _case(text: str, meta: Mapping[str, Any], name: str, where: str) -> RouteCase:
    """Return the case of a row.

    Raises:
        LacyError: E370, it is none.
    """
    route, source = meta.get("route"), str(meta.get("source") or name)
    scores = _numbers(meta, "scores", SCORE_COLUMN, where, highest=1.0)
    costs = _numbers(meta, "costs", COST_COLUMN, where)
    if route is not None and scores:
        raise LacyError("E370", where=where, why="it has both a route and scores")
    if scores:
        return RouteCase(text, None, scores, costs, source)
    if route is None or not str(route).strip():
        names = ", ".join(sorted(meta)[:8]) or "nothing"
        why = f"it has neither route nor scores (fields beside the text: {names}; NaN and "
        raise LacyError("E370", where=where, why=why + "infinite numbers are left out)")
    if not isinstance(route, str | int):
        raise LacyError("E370", where=where, why=f"its route is a {type(route).__name__}")
    return RouteCase(text, str(route).strip(), {}, costs, source)


def _numbers(
    meta: Mapping[str, Any], name: str, column: str, where: str, highest: float = math.inf
) -> dict[str, float]:
    """Return the numbers by route of a field (an object, or its JSON) or of columns."""
    value = meta.get(name)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise LacyError("E370", where=where, why=f"its {name} are no JSON") from None
    if value in (None, ""):
        value = {key.removeprefix(column): one for key, one in meta.items()
                 if key.startswith(column) and one not in (None, "")}  # fmt: skip
    if not isinstance(value, Mapping):
        why = f"its {name} are a {type(value).__name__}, not an object of numbers by model"
        raise LacyError("E370", where=where, why=why)
    found = {}
    for key, one in value.items():
        if one is None:
            continue
        try:
            number = float(one)
        except (TypeError, ValueError):
            number = math.nan
        if not 0.0 <= number <= highest or math.isinf(number):
            bound = "a number from 0 to 1" if highest == 1.0 else "0 or more"
            why = f"{name}[{str(key)!r:.60}] is {one!r:.40}, not {bound}"
            raise LacyError("E370", where=where, why=why)
        found[str(key)] = number
    return found
