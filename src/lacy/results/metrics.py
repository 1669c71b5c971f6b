"""Descriptions of all metrics.

``metrics.toml`` is the one place that describes a metric; studies, pages, tables and figures take
its label, unit, direction and pooling from there. To add a metric, add an entry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from lacy.results.statistics import Score, ratio


@dataclass(frozen=True, slots=True)
class Metric:
    """The description of one metric.

    A metric with ``counts`` is a ratio of sums over people; when seeds are pooled, over the people
    of all seeds. A metric with a ``path`` belongs to the model itself; its values are averaged over
    seeds. Metrics with neither are computed where they are needed.
    """

    label: str
    meaning: str
    unit: str = "share"
    better: Literal["higher", "lower", ""] = ""
    counts: tuple[str, str] | None = None
    """Numerator and denominator: names of ``facts.COUNTS``, sums joined by ``+``."""
    path: tuple[str, ...] = ()
    """Keys that lead to the score in ``as_data(WorldResult)``."""
    outcome: bool = True
    """False for a share that is a setting rather than an outcome, such as the call rate. If it is
    exactly 0 or 1, that is certain and needs no binomial bound."""
    axis: str | None = None
    """Unit on axes and in table headers; by default ``unit``."""

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is, 0 if neither."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]

    @property
    def shown_unit(self) -> str:
        """The unit to print beside the label."""
        return self.unit if self.axis is None else self.axis

    @property
    def axis_label(self) -> str:
        """The label of an axis: the label and its unit; shares are drawn in percent."""
        unit = {"share": "%", "AUROC": ""}.get(self.shown_unit, self.shown_unit)
        return f"{self.label}, {unit}" if unit else self.label


def _metric(counts: str = "", path: str = "", **given: Any) -> Metric:
    """Build an entry of ``metrics.toml``."""
    numerator, _, denominator = counts.partition("/")
    pair = (numerator, denominator) if counts else None
    return Metric(counts=pair, path=tuple(path.split(".")) if path else (), **given)


_FILE = resources.files(__package__) / "metrics.toml"
METRICS: dict[str, Metric] = {
    name: _metric(**entry)
    for name, entry in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()
}

RATIOS = tuple(name for name, metric in METRICS.items() if metric.counts)
"""Metrics of answers: they can be pooled and compared person by person."""

MODEL_METRICS = tuple(name for name, metric in METRICS.items() if metric.path)
"""Metrics of a model itself."""


def metric_of(name: str) -> Metric:
    """Return the metric of that name; for an unknown name, one whose label is the name."""
    return METRICS.get(name) or Metric(name.replace("_", " "), "", "", axis="")


def ratio_sums(name: str, columns: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the numerators and denominators of a ratio, one of each per person.

    Args:
        name: one of ``RATIOS``.
        columns: one array per count (see ``facts.COUNTS``).

    Raises:
        KeyError: a count is missing.
    """
    numerator, denominator = METRICS[name].counts or ("", "")
    return sum(columns[count] for count in numerator.split("+")), sum(
        columns[count] for count in denominator.split("+")
    )


def ratio_scores(columns: Mapping[str, Any], *, seed: int = 0) -> dict[str, Score]:
    """Return the scores of all ``RATIOS`` whose counts are available."""
    scores = {}
    for name in RATIOS:
        metric = METRICS[name]
        if all(count in columns for part in metric.counts or () for count in part.split("+")):
            numerators, denominators = ratio_sums(name, columns)
            scores[name] = ratio(
                numerators, denominators, unit=metric.unit, chance=metric.outcome, seed=seed
            )  # fmt: skip
    return scores


def model_scores(measured: Mapping[str, Any]) -> dict[str, Score]:
    """Read the ``MODEL_METRICS`` out of ``as_data(WorldResult)``."""
    scores = {}
    for name in MODEL_METRICS:
        value: Any = measured
        for key in METRICS[name].path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping) and value.get("value") is not None:
            scores[name] = Score.from_data(value)
    return scores
