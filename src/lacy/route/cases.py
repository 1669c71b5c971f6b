"""Training cases of a router: classes or outcomes, read from JSONL, JSON, CSV or Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lacy.corpus import ReadReport, read, source_name
from lacy.errors import LacyError

Floats = NDArray[np.float64]

CaseKind = Literal["classes", "outcomes"]

MAX_CASES = 1_000_000
"""Cases that are read at most."""

MAX_ROUTES = 1_000
"""Routes of a router at most."""

MISSING = frozenset(("", "none", "null", "nan", "na", "n/a"))
"""Words of a cell without a number."""

WORDS = {"true": 1.0, "false": 0.0}
"""Words that tables have instead of numbers."""


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


@dataclass(frozen=True, slots=True)
class CaseFields:
    """Names of the fields (or columns) of a file of cases.

    Attributes:
        text: the text.
        route: its route.
        source: its source.
        scores: an object of scores by model. In a table, the columns ``scores.MODEL``.
        costs: an object of costs by model, or the columns ``costs.MODEL``.
        models: columns that hold the scores of the models that they are named after.
        model: the model of a line that is about the answer of one model.
        score: the score of this answer.
        cost: its cost.
    """

    text: str = "text"
    route: str = "route"
    source: str = "source"
    scores: str = "scores"
    costs: str = "costs"
    models: tuple[str, ...] = ()
    model: str = "model"
    score: str = "score"
    cost: str = "cost"


def read_cases(
    paths: str | Path | Iterable[str | Path],
    fields: CaseFields | None = None,
    *,
    limit: int = MAX_CASES,
    encoding: str | None = None,
    report: ReadReport | None = None,
) -> list[RouteCase]:
    """Read cases from files of all formats of ``lacy.corpus.read``.

    JSONL has ``{"text", "route", "source"?}`` or ``{"text", "scores": {model: number}, "costs"?,
    "source"?}`` per line. A table has the columns ``text``, ``route`` and ``source``, or ``text``,
    ``scores.MODEL`` and ``costs.MODEL`` for each model. A line or row may also be about one
    model's answer: ``model``, ``score`` and perhaps ``cost``. Outcomes of the same text and source
    are one case; of two scores of the same model, the later one counts. A case without a source has
    its file's name. Empty texts are skipped and counted; empty cells and NaN are missing numbers.

    Args:
        paths: a file or folder, or several.
        fields: names of the fields.
        limit: cases read at most, of all files together.
        encoding: encoding of files that are not UTF-8.
        report: filled with what was skipped.

    Raises:
        LacyError: E370, a case is unusable, or the files mix classes and outcomes; and the errors
            of ``read``.
    """
    fields = fields or CaseFields()
    found: list[RouteCase] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        documents = read(path, text_field=fields.text, encoding=encoding, report=report)
        for document in documents:
            if len(found) >= limit:
                return joined_cases(found)
            name = source_name(path, document)
            case = _case(document.text, document.meta, name, f"{path}: {document.id}", fields)
            if found and kind_of_case(case) != kind_of_case(found[0]):
                raise LacyError("E370", where=f"{path}: {document.id}", why="it has "
                                f"{kind_of_case(case)}, but the cases before it have "
                                f"{kind_of_case(found[0])}")  # fmt: skip
            found.append(case)
    return joined_cases(found)


def joined_cases(cases: Sequence[RouteCase]) -> list[RouteCase]:
    """Return outcomes of the same text and source as one case each; classes stay as they are.

    Of two scores (or costs) of the same model, the later one counts.
    """
    found: dict[tuple[str, str], RouteCase] = {}
    for case in cases:
        if case.route is not None:
            return list(cases)
        older = found.get((case.text, case.source))
        if older is not None:
            case = replace(case, scores={**older.scores, **case.scores},
                           costs={**older.costs, **case.costs})  # fmt: skip
        found[case.text, case.source] = case
    return list(found.values())


def kind_of_case(case: RouteCase) -> CaseKind:
    """Return the kind of a case: ``classes`` (a route) or ``outcomes`` (scores)."""
    return "classes" if case.route is not None else "outcomes"


def routes_of(cases: Sequence[RouteCase]) -> tuple[str, ...]:
    """Return all routes of cases in alphabetical order.

    Raises:
        LacyError: E369, there are fewer than two, or too many.
    """
    names = {case.route for case in cases if case.route is not None}
    names |= {name for case in cases for name in case.scores}
    if not 2 <= len(names) <= MAX_ROUTES:
        count = f"one route ({next(iter(names))})" if len(names) == 1 else f"{len(names):,} routes"
        raise LacyError("E369", count=count, most=f"{MAX_ROUTES:,}")
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


def cost_counts(cases: Sequence[RouteCase], routes: Sequence[str]) -> dict[str, int]:
    """Return the number of cases whose cost is known, of each route that has some."""
    counts = {name: sum(name in case.costs for case in cases) for name in routes}
    return {name: count for name, count in counts.items() if count}


def _case(
    text: str, meta: Mapping[str, Any], name: str, where: str, fields: CaseFields
) -> RouteCase:
    """Return the case of a row.

    Raises:
        LacyError: E370, it is none.
    """
    route, source = meta.get(fields.route), meta.get(fields.source)
    source = name if source is None or not str(source).strip() else str(source)
    scores = _numbers(_outcomes(meta, fields), fields.scores, where, highest=1.0)
    costs = _numbers(_outcomes(meta, fields, costs=True), fields.costs, where)
    if isinstance(route, float) and route.is_integer():  # a column of numbers with a gap
        route = int(route)
    if route is not None and scores:
        raise LacyError("E370", where=where, why="it has both a route and scores")
    if scores:
        return RouteCase(text, None, scores, costs, source)
    if route is None or not str(route).strip():
        names = ", ".join(sorted(meta)[:8]) or "nothing"
        why = f"it has neither {fields.route} nor scores (beside the text: {names})"
        raise LacyError("E370", where=where, why=why)
    if not isinstance(route, str | int):
        raise LacyError("E370", where=where, why=f"its route is a {type(route).__name__}")
    return RouteCase(text, str(route).strip(), {}, costs, source)


def _outcomes(meta: Mapping[str, Any], fields: CaseFields, *, costs: bool = False) -> Any:
    """Return the scores or costs of a row by model, wherever they are; "" if there are none."""
    name = fields.costs if costs else fields.scores
    if meta.get(name) not in (None, ""):
        return meta[name]
    found = {key.removeprefix(f"{name}."): one for key, one in meta.items()
             if key.startswith(f"{name}.")}  # fmt: skip
    if not costs:
        found |= {model: meta[model] for model in fields.models if model in meta}
    own, model = meta.get(fields.cost if costs else fields.score), meta.get(fields.model)
    if not found and own is not None and model and meta.get(fields.route) is None:
        found[str(model)] = own
    return found


def _numbers(value: Any, name: str, where: str, highest: float = math.inf) -> dict[str, float]:
    """Return the numbers by route of an object (or its JSON); missing ones are left out."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise LacyError("E370", where=where, why=f"its {name} are no JSON") from None
    if not isinstance(value, Mapping):
        why = f"its {name} are a {type(value).__name__}, not an object of numbers by model"
        raise LacyError("E370", where=where, why=why)
    found = {}
    for key, one in value.items():
        words = str(one).strip().casefold()
        if words in MISSING:
            continue
        try:
            number = WORDS[words] if words in WORDS else float(one)
        except (TypeError, ValueError):
            number = -1.0
        if not 0.0 <= number <= highest or math.isinf(number):
            bound = "a number from 0 to 1" if highest == 1.0 else "0 or more"
            why = f"{name}[{str(key)!r:.60}] is {one!r:.40}, not {bound}"
            raise LacyError("E370", where=where, why=why)
        found[str(key)] = number
    return found
