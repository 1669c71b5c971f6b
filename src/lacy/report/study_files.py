"""Read the files of a study: runs, scores and curves; and find the call rate to compare at.

Scores are looked up by size, rule of equality (equal steps or equal text tokens), method, condition
and metric. Methods are compared only within one size and one rule, and at the same call rate.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.report.svg import require_drawing
from lacy.results import Score, metric_of

POOLED = -1
"""Value of ``seed`` in rows that pool all seeds."""

PLAIN = ("none", "plain")
"""Methods that delegate nothing, by name; used if runs.csv has no column ``objective``."""

NEAR = 0.1
"""A condition without a budget counts as at the common rate if its realised rate deviates by at
most this share of it."""

TEXTS = ("run", "size", "method", "equal", "condition", "metric", "unit", "curve", "a", "b")
"""Columns that are read as text, even if their values look like numbers."""
EQUAL = {"steps": "the same number of steps", "text_tokens": "the same number of text tokens"}
"""The rules of equality, as titles name them."""
COLUMNS = {
    "runs.csv": ("run", "size", "method", "equal", "seed"),
    "results.csv": ("size", "method", "equal", "seed", "condition", "metric", "value", "low",
                    "high", "n"),
    "curves.csv": ("size", "method", "equal", "seed", "curve", "x", "y", "n"),
    "comparisons.csv": (
        "size", "equal", "metric", "a", "b", "difference", "low", "high", "p", "n", "seeds",
    ),
}  # fmt: skip
"""The required columns of each file."""

Key = tuple[str, str, str]
"""Size, rule of equality, method."""


@dataclass(frozen=True, slots=True)
class ParsedCondition:
    """A condition, with the parts that matter for comparisons."""

    name: str
    budget: float | None
    """The call rate that its policy keeps to; None if the policy has no budget."""
    kind: str
    """Everything but the budget; conditions of the same kind are points of one line."""
    signal: str
    """The signal that decides where to call: margin, entropy, top2, p_call, or ""."""


def parse_condition(name: str, given: Mapping[str, Any] | None = None) -> ParsedCondition:
    """Parse a condition from its settings or, if they are unknown, from its name.

    Args:
        name: its name. Without settings, a name such as ``budget=0.22,by=entropy`` or
            ``random=0.22`` is read as a policy.
        given: its policy, source and unit from setup.json.
    """
    policy = str((given or {}).get("policy", name))
    budget = re.search(r"\b(budget|random)=(\d*\.?\d+)", policy)
    by_match = re.search(r"\bby=(\w+)", policy)
    signal_name = "random" if policy.startswith("random") else by_match[1] if by_match else "margin"
    has_signal = budget or policy.startswith("threshold")
    signal = signal_name if has_signal and signal_name != "random" else ""
    if given is None and not budget:
        return ParsedCondition(name, None, name, "margin")
    source, unit = (given or {}).get("source", "database"), (given or {}).get("unit", "value")
    parts = [signal_name] * (signal_name != "margin")
    parts += [source.lstrip("@") or "nobody"] * (source != "database")
    parts += [f"by {unit}"] * (unit != "value")
    return ParsedCondition(name, float(budget[2]) if budget else None, ", ".join(parts), signal)


@dataclass(frozen=True, slots=True)
class PooledScore:
    """A score pooled over seeds, and the value of each seed."""

    score: Score
    seeds: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The contents of a study's files."""

    folder: Path
    runs: Any
    keys: tuple[Key, ...]
    """The trained methods in the order of the recipe; sizes from small to large."""
    scores: dict[tuple[str, str, str, str, str], PooledScore]
    """Every score by (size, equal, method, condition, metric)."""
    setup: Mapping[str, Any] = field(default_factory=dict)
    """The contents of setup.json, such as ``conditions`` and the ``call_rate`` to compare at."""

    def members(self, size: str, equal: str) -> list[Key]:
        """Return the methods that belong in one table or panel.

        A plain method delegates nothing, so it is the same under both rules, is trained once, and
        belongs in the tables of both.
        """
        plain = self.plain
        methods = {
            method: key for key in self.keys if key[0] == size and (method := key[2]) in plain
        }
        own = {key[2]: key for key in self.keys if key[:2] == (size, equal)}
        return [
            {**methods, **own}[method]
            for method in self.methods
            if method in methods or method in own
        ]

    @property
    def plain(self) -> set[str]:
        """The methods that delegate nothing."""
        if "objective" not in self.runs:
            return set(self.methods) & set(PLAIN)
        return set(self.runs["method"][self.runs["objective"] == "none"])

    @property
    def methods(self) -> list[str]:
        """Every method once, in the recipe's order."""
        return list(dict.fromkeys(method for _, _, method in self.keys))

    @property
    def groups(self) -> list[tuple[str, str]]:
        """All pairs of size and rule of equality; each has its own tables and panels."""
        plain = self.plain
        groups = dict.fromkeys(key[:2] for key in self.keys if key[2] not in plain)
        return list(groups or dict.fromkeys(key[:2] for key in self.keys))

    @property
    def seeds(self) -> int:
        """Number of trained seeds."""
        return int(self.runs["seed"].nunique())

    def panel_title(self, group: tuple[str, str]) -> str:
        """Return the title of a panel: its size and rule, if these differ between the panels."""
        sizes, rules = ({group[i] for group in self.groups} for i in (0, 1))
        parts = [group[0]] * (len(sizes) > 1) + [EQUAL.get(group[1], group[1])] * (len(rules) > 1)
        return ", ".join(parts)

    def get(self, key: Key, metric: str, condition: str = "") -> PooledScore | None:
        """Return a score, or None if it was not measured."""
        return self.scores.get((*key, condition, metric))

    def conditions(self, key: Key) -> list[ParsedCondition]:
        """Return the conditions of a method, in the order of the file."""
        names = dict.fromkeys(name for *rest, name, _ in self.scores if tuple(rest) == key and name)
        settings = self.setup.get("conditions") or {}
        return [parse_condition(name, settings.get(name)) for name in names]

    def common_rate(self) -> float | None:
        """Return the most common budget; of several, the one nearest to the study's call rate.

        If no condition has a budget, return the study's call rate, or None if that is unknown.
        """
        budgets = [c for k in self.keys for c in self.conditions(k) if c.budget is not None]
        counts = Counter(c.budget for c in [c for c in budgets if not c.kind] or budgets)
        rate = self._rate()
        if not counts:
            return rate
        rates = sorted(x for x, times in counts.items() if x and times == max(counts.values()))
        middle = rates[len(rates) // 2] if rate is None else rate
        return min(rates, key=lambda x: abs(x - middle))

    def _rate(self) -> float | None:
        """Return the study's call rate or, if unknown, the median rate of its training runs."""
        if "call_rate" in self.setup:
            return float(self.setup["call_rate"])
        if "call_rate" not in self.runs:
            return None
        rates = self.runs["call_rate"][~self.runs["method"].isin(self.plain)]
        rates = rates[rates > 0]
        return float(rates.median()) if len(rates) else None

    def curve(self, name: str) -> Any:
        """Return the rows of curves.csv that belong to a curve and to the selected runs.

        Raises:
            LacyError: E88 if there is no such curve.
        """
        path = self.folder / "curves.csv"
        if not path.is_file():
            raise LacyError("E88", what="no curves.csv", where=self.folder)
        rows = read_table(path)
        keys = set(self.keys)
        triples = zip(rows["size"], rows["equal"], rows["method"], strict=True)
        rows = rows[np.array([triple in keys for triple in triples], dtype=bool)]
        rows = rows[rows["curve"] == name].dropna(subset=["x", "y"])
        if rows.empty:
            raise LacyError("E88", what=f"no {name} curve", where=self.folder)
        return rows


def read_table(path: Path) -> Any:
    """Read a CSV file of a study as a data frame; empty texts are "", not NaN.

    Raises:
        LacyError: E13 if it is missing, E87 if it lacks a column or cannot be read.
    """
    pandas = require_drawing("pandas")
    if not path.is_file():
        raise LacyError("E13", path=path, do="give the folder that lacy study wrote")
    try:
        rows = pandas.read_csv(
            path,
            dtype=dict.fromkeys(TEXTS, str),
            keep_default_na=False,
            na_values=["", "nan", "NaN"],
        )
    except (ValueError, UnicodeError) as error:
        raise LacyError("E87", path=path, why=str(error).splitlines()[0]) from error
    missing = [name for name in COLUMNS.get(path.name, ()) if name not in rows]
    if missing:
        raise LacyError("E87", path=path, why=f"it has no column {', '.join(missing)}")
    return rows.fillna({name: "" for name in TEXTS if name in rows})


def read_study(folder: str | Path, where: Mapping[str, str] | None = None) -> Study:
    """Read the folder of a study.

    Args:
        folder: the folder that ``lacy study`` wrote.
        where: use only runs with these values: columns of runs.csv and their values, separated by
            commas.

    Raises:
        LacyError: E13, E87 for missing or foreign files; E88 if no run is left.
    """
    folder = Path(folder)
    runs = select_rows(folder / "runs.csv", where or {})
    if runs.empty:
        wanted = " ".join(f"{name}={value}" for name, value in (where or {}).items())
        raise LacyError("E88", what=f"no run{' with ' if wanted else ''}{wanted}", where=folder)
    order = "parameters" if "parameters" in runs else "seed"
    size_rank = {size: rank for rank, size in enumerate(runs.sort_values(order)["size"].unique())}
    triples = dict.fromkeys(zip(runs["size"], runs["equal"], runs["method"], strict=True))
    equals = list(EQUAL)
    keys = sorted(
        triples, key=lambda key: (size_rank[key[0]], equals.index(key[1]) if key[1] in EQUAL else 9)
    )
    scores = _figures(read_table(folder / "results.csv"), set(keys))
    return Study(folder, runs, tuple(keys), scores, read_setup(folder))


def read_setup(folder: Path) -> dict[str, Any]:
    """Return the contents of setup.json; empty if there is no such file.

    Raises:
        LacyError: E87 if it is not one JSON object.
    """
    path = folder / "setup.json"
    if not path.is_file():
        return {}
    try:
        setup = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LacyError("E87", path=path, why=str(error)) from error
    if not isinstance(setup, dict):
        raise LacyError("E87", path=path, why="it is not one JSON object")
    return setup


def require_column(rows: Any, column: str, path: Path) -> None:
    """Raise E87 if a table, read from a file, does not have a column."""
    if column not in rows:
        why = f"it has no column {column}; it has: {', '.join(rows.columns)}"
        raise LacyError("E87", path=path, why=why)


def select_rows(path: Path, where: Mapping[str, str]) -> Any:
    """Return the rows of a file that have one of the given values, separated by commas, by column.

    Raises:
        LacyError: E13, E87 for a missing or foreign file, or an unknown column.
    """
    rows = read_table(path)
    for column, values in where.items():
        require_column(rows, column, path)
        rows = rows[rows[column].map(_same(values.split(","))).astype(bool)]
    return rows


def _same(wanted: list[str]) -> Any:
    """Return a function that is True for values in ``wanted``; numbers are compared as numbers."""
    numbers = {_number(text) for text in wanted} - {None}
    return lambda value: str(value) in wanted or _number(str(value)) in numbers


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    return None


def _figures(rows: Any, keys: set[Key]) -> dict[tuple[str, str, str, str, str], PooledScore]:
    """Return every score by its key: the pooled row or, without one, the mean over seeds."""
    by_key: dict[tuple[str, str, str, str, str], dict[int, Score]] = {}
    unit = rows["unit"] if "unit" in rows else [""] * len(rows)
    names = ("size", "equal", "method", "condition", "metric", "seed", "value", "low", "high", "n")
    for *key, seed, value, low, high, n, score_unit in zip(
        *(rows[name] for name in names), unit, strict=True
    ):
        if tuple(key[:3]) in keys:
            score_unit = score_unit or metric_of(key[4]).unit
            count = int(n) if math.isfinite(n) else 0
            score = Score(float(value), float(low), float(high), count, score_unit)
            by_key.setdefault((key[0], key[1], key[2], key[3], key[4]), {})[int(seed)] = score
    return {key: _pooled(scores) for key, scores in by_key.items()}


def _pooled(scores: dict[int, Score]) -> PooledScore:
    seeds = {
        seed: s.value for seed, s in scores.items() if seed != POOLED and math.isfinite(s.value)
    }
    if POOLED in scores:
        return PooledScore(scores[POOLED], seeds)
    first = next(iter(scores.values()))
    if len(scores) == 1:
        return PooledScore(first, seeds)
    mean = math.fsum(seeds.values()) / len(seeds) if seeds else math.nan
    n = sum(score.n for score in scores.values())
    return PooledScore(Score(mean, math.nan, math.nan, n, first.unit), seeds)


def conditions_at_rate(
    study: Study, keys: Iterable[Key], rate: float | None
) -> Iterator[tuple[Key, ParsedCondition]]:
    """Yield the methods and conditions whose budget or realised call rate is about ``rate``.

    If ``rate`` is None, yield all.
    """
    for key in keys:
        for condition in study.conditions(key):
            if rate is None or _is_at(study, key, condition, rate):
                yield key, condition


def _is_at(study: Study, key: Key, condition: ParsedCondition, rate: float) -> bool:
    if condition.budget is not None:
        return math.isclose(condition.budget, rate)
    realised = study.get(key, "call_rate", condition.name)
    return realised is not None and abs(realised.score.value - rate) <= NEAR * rate
