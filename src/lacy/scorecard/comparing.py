"""Compare two models, or two conditions of one, on the units that both were measured on.

Every ratio of counts is compared in pairs: its difference with an interval over units, the p-value
of a randomisation test, and the smallest true difference that a test of this size would have found.
P-values are adjusted for the number of tests (Benjamini & Hochberg 1995). Results without counts
(speeds, sizes, spectra) are shown side by side without a test. Scores of different judges, sources
or lengths are never compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lacy.errors import LacyError
from lacy.results import (
    RATIOS,
    Result,
    Score,
    UnitCounts,
    detectable_effect,
    difference,
    false_discovery_rates,
    metric_of,
    paired_test,
    ratio_sums,
)
from lacy.scorecard.card import Scorecard, SectionResult, is_outcome, result_rows

LEVEL = 0.05
"""Adjusted p-values below this count as a difference."""

MAX_EXAMPLES = 6
"""Number of texts that are shown for each section."""

Verdict = Literal["better", "worse", "more", "less", "no difference found", "not tested"]


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of two sides, ``b`` against ``a``."""

    section: str
    condition: str
    metric: str
    a: Result
    b: Result
    variant: str = ""
    """As in ``ResultRow``."""
    difference: Score | None = None
    """``b`` minus ``a`` over common units; None if the metric has no counts."""
    p: float = math.nan
    adjusted_p: float = math.nan
    detectable: float = math.nan
    """The smallest true difference that would have been found in 80% of such measurements."""

    @property
    def label(self) -> str:
        """The metric's label, with variant and condition."""
        label = ", ".join(filter(None, (metric_of(self.metric).label, self.variant)))
        return f"{label} ({self.condition})" if self.condition else label

    @property
    def verdict(self) -> Verdict:
        """What the test says of ``b``."""
        if self.difference is None or math.isnan(self.adjusted_p):
            return "not tested"
        if self.adjusted_p >= LEVEL:
            return "no difference found"
        sign = metric_of(self.metric).sign
        up = self.difference.value > 0
        if sign == 0:
            return "more" if up else "less"
        return "better" if up == (sign > 0) else "worse"


@dataclass(frozen=True, slots=True)
class TextPair:
    """The texts of both sides for one unit on which they differ most."""

    section: str
    condition: str
    unit: str
    metric: str
    a: str
    b: str
    value_a: float
    value_b: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two sides have in common, and what they have not."""

    name_a: str
    name_b: str
    metrics: tuple[MetricComparison, ...]
    texts: tuple[TextPair, ...]
    notes: tuple[str, ...]
    """What could not be compared, and why."""


def compare(
    a: Scorecard,
    b: Scorecard,
    *,
    conditions: tuple[str, str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two scorecards.

    Args:
        a: the first side, such as the model before a change.
        b: the second side.
        conditions: compare this condition of ``a`` with that of ``b``; by default every condition
            with the same one.
        seed: seed of the bootstrap and the test.

    Raises:
        LacyError: E252, there is nothing in common.
    """
    found: list[MetricComparison] = []
    texts: list[TextPair] = []
    notes: list[str] = []
    others = {section.name: section for section in b.measured}
    for section in a.measured:
        if section.name not in others:
            notes.append(f"{section.title}: measured for {a.model} only.")
            continue
        other = others.pop(section.name)
        reasons = _changed(section, other)
        if reasons:
            notes.append(f"{section.title}: not compared, the settings differ ({reasons}).")
            continue
        made = list(_section(section, other, conditions, seed, notes))
        found += made
        texts += _texts(section, other, conditions)
    notes += [f"{section.title}: measured for {b.model} only." for section in others.values()]
    if not found:
        why = " ".join(notes) or "the scorecards have no section in common"
        raise LacyError("E252", why=why)
    rates = false_discovery_rates([one.p for one in found])
    tested = [replace(one, adjusted_p=rate) for one, rate in zip(found, rates, strict=True)]
    names = (a.model, b.model) if a is not b or conditions is None else conditions
    return Comparison(names[0], names[1], tuple(tested), tuple(texts), tuple(notes))


def _changed(a: SectionResult, b: SectionResult) -> str:
    """Return the settings in which two sections differ."""
    keys = [
        key for key in {**a.settings, **b.settings} if a.settings.get(key) != b.settings.get(key)
    ]
    return ", ".join(key for key in keys if key not in ("seed", "policy"))


Pairs = Iterator[tuple[str, Any, Any]]


def _matched(
    a: Sequence[Any],
    b: Sequence[Any],
    key: Callable[[Any], Any],
    conditions: tuple[str, str] | None,
) -> Pairs:
    """Yield the condition's name and the entries of both sides that belong together."""
    by_key: dict[Any, Any] = {}
    for one in b:
        by_key.setdefault((one.conditions.get("condition", ""), key(one)), one)
    for one in a:
        name = one.conditions.get("condition", "")
        if conditions is not None and name != conditions[0]:
            continue
        other = by_key.get((name if conditions is None else conditions[1], key(one)))
        if other is not None:
            yield (name if conditions is None else ""), one, other


OWN = frozenset({"condition", "policy", "model", "call_rate", "right", "not available"})
"""Conditions that describe one side and may differ: the model, and how it called."""


def _fixed(
    conditions: Mapping[str, str], compared: tuple[str, str] | None
) -> tuple[tuple[str, str], ...]:
    """Return the conditions that both sides must share; alone, a model has no source."""
    free = OWN if compared is None else OWN | {"source"}
    return tuple(sorted((k, v) for k, v in conditions.items() if k not in free))


def _section(
    a: SectionResult,
    b: SectionResult,
    conditions: tuple[str, str] | None,
    seed: int,
    notes: list[str],
) -> Iterator[MetricComparison]:
    """Compare all metrics of a section."""
    units = {
        name: _common(one, other)
        for name, one, other in _matched(
            a.units, b.units, lambda unit: _fixed(unit.conditions, conditions), conditions
        )
    }
    for name, (one, _, left_out) in units.items():
        if left_out:
            notes.append(f"{a.title}, {name}: {left_out} units of only one side are left out.")
        if not one.names:
            notes.append(f"{a.title}, {name}: no unit in common.")
    others = {(row.metric, row.variant): row for row in result_rows(b.results)}
    for row in result_rows(a.results):
        pair = others.get((row.metric, row.variant))
        cells: Mapping[str, Result] = {} if pair is None else pair.cells
        for name, of_a in row.cells.items():
            of_b = cells.get(name if conditions is None else conditions[1])
            if of_b is None or (conditions is not None and name != conditions[0]):
                continue
            if _fixed(of_a.conditions, conditions) != _fixed(of_b.conditions, conditions):
                notes.append(f"{a.title}, {row.label}: measured in different ways.")
                continue
            shown = "" if conditions is not None else name
            compared = MetricComparison(a.title, shown, row.metric, of_a, of_b, row.variant)
            if shown in units and row.metric in RATIOS and not row.variant:
                compared = _tested(compared, *units[shown][:2], seed)
            yield compared


def _common(a: UnitCounts, b: UnitCounts) -> tuple[UnitCounts, UnitCounts, int]:
    """Return both sides reduced to common units in the same order, and how many are left out."""
    place = {name: n for n, name in enumerate(b.names)}
    rows = [(n, place[name]) for n, name in enumerate(a.names) if name in place]
    left_out = len(a.names) + len(b.names) - 2 * len(rows)
    return _rows(a, [n for n, _ in rows]), _rows(b, [m for _, m in rows]), left_out


def _rows(units: UnitCounts, rows: Sequence[int]) -> UnitCounts:
    return UnitCounts(
        units.conditions,
        tuple(units.names[n] for n in rows),
        {name: values[list(rows)] for name, values in units.counts.items()},
        tuple(units.texts[n] for n in rows) if units.texts else (),
    )


def _tested(
    compared: MetricComparison, a: UnitCounts, b: UnitCounts, seed: int
) -> MetricComparison:
    """Add difference, p-value and detectable effect, if both sides have the counts."""
    try:
        sums_a, sums_b = (
            ratio_sums(compared.metric, a.counts),
            ratio_sums(compared.metric, b.counts),
        )
    except KeyError:
        return compared
    unit = metric_of(compared.metric).unit
    score = difference(sums_b, sums_a, unit=unit, seed=seed)
    if math.isnan(score.value):
        return compared
    p = paired_test(sums_b, sums_a, seed=seed)
    return replace(compared, difference=score, p=p, detectable=detectable_effect(score))


def _texts(
    a: SectionResult, b: SectionResult, conditions: tuple[str, str] | None
) -> Iterator[TextPair]:
    """Yield the texts on which both sides differ most, by the section's first metric."""
    for name, one, other in _matched(
        a.units, b.units, lambda unit: _fixed(unit.conditions, conditions), conditions
    ):
        one, other, _ = _common(one, other)
        metric = main_metric(a.results)
        if not (metric and one.texts and other.texts):
            continue
        try:
            values = [_shares(metric, side.counts) for side in (one, other)]
        except KeyError:
            continue
        gap = np.nan_to_num(np.abs(values[1] - values[0]))
        for n in np.argsort(-gap, kind="stable")[:MAX_EXAMPLES]:
            if gap[n] > 0:
                yield TextPair(
                    a.title, name, one.names[n], metric, one.texts[n], other.texts[n],
                    float(values[0][n]), float(values[1][n]),
                )  # fmt: skip


def main_metric(results: Sequence[Result]) -> str:
    """Return the first metric that is a share, has a better side and is an outcome; or ""."""
    names = dict.fromkeys(result.metric for result in results if result.metric in RATIOS)
    return next((name for name in names if is_outcome(name)), "")


def _shares(metric: str, counts: Mapping[str, Any]) -> Any:
    numerator, denominator = ratio_sums(metric, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numerator, float) / np.asarray(denominator, float)
