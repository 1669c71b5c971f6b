"""Results: one value with its interval and conditions; the metrics; what a task is.

``METRICS`` is the one place that describes a metric; studies, pages, tables and figures take its
label, unit, direction and pooling from there. To add a metric, add an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from lacy.evaluate.statistics import Score, as_data, ratio


@dataclass(frozen=True, slots=True)
class Metric:
    """The description of one metric.

    Either ``counts`` are given, and the metric is a ratio of sums over people (of all seeds, when
    seeds are pooled), or ``path`` is, and the metric belongs to the model itself (seeds are
    averaged). Metrics with neither are computed where they are needed.
    """

    label: str
    meaning: str
    unit: str = "share"
    better: Literal["higher", "lower", ""] = ""
    counts: tuple[str, str] | None = None
    """Numerator and denominator: names of ``facts.COUNTS``, sums joined by ``+``."""
    path: tuple[str, ...] = ()
    """Where the score stands in ``as_data(WorldResult)``."""
    outcome: bool = True
    """False for a share that is a setting: one of exactly 0 or 1 then has no binomial bound."""
    axis: str | None = None
    """Unit on axes and in table headers, where it differs from ``unit``."""

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is, 0 if neither."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]

    @property
    def shown_unit(self) -> str:
        """The unit to print beside the label."""
        return self.unit if self.axis is None else self.axis


def _call(label: str, meaning: str, *path: str, **more: Any) -> Metric:
    return Metric(label, meaning, path=("calls", *path), **more)


_SIGNALS = {"margin": "margin", "p_call": "p(CALL)", "entropy": "entropy", "top2": "top2"}
_POSITIONS = {"start": "value_start", "fact": "fact", "later": "later"}

METRICS: dict[str, Metric] = {
    "facts_right": Metric(
        "facts right", "Right claims among all claims.", better="higher",
        counts=("right", "claims"),
    ),
    "recall": Metric(
        "recall", "Right claims among all facts that could have been stated.", better="higher",
        counts=("right", "facts"),
    ),
    "f1": Metric(
        "F1", "Harmonic mean of facts right and recall.", better="higher",
        counts=("right+right", "claims+facts"), outcome=False,
    ),
    "facts_per_answer": Metric(
        "facts per answer", "Claims per answer, right or wrong.", "facts per answer", "higher",
        counts=("claims", "answers"), axis="facts",
    ),
    "calls_per_answer": Metric(
        "calls per answer", "Calls per answer.", "calls per answer", "lower",
        counts=("calls", "answers"), axis="calls",
    ),
    "calls_per_fact": Metric(
        "calls per fact", "Calls by claims; 1.0 if each value costs one call.", "calls per fact",
        "lower", counts=("calls", "claims"), axis="calls",
    ),
    "calls_per_statement": Metric(
        "calls per statement", "Calls by claims and their repeats, which need calls of their own.",
        "calls per statement", counts=("calls", "statements"), axis="",
    ),
    "call_rate": Metric(
        "call rate", "Share of the generated tokens that came from calls.",
        counts=("called", "tokens"), outcome=False,
    ),
    "finished": Metric(
        "answers finished", "Share of answers that the model ended itself.", better="higher",
        counts=("finished", "answers"),
    ),
    "own_right": Metric(
        "own facts right", "Right claims among those in the SLM's own words.", better="higher",
        counts=("own_right", "own"),
    ),
    "borrowed_right": Metric(
        "borrowed facts right", "Right claims among those that a source wrote.", better="higher",
        counts=("borrowed_right", "borrowed"),
    ),
    "borrowed": Metric(
        "borrowed", "Share of claims that a source wrote.", counts=("borrowed", "claims"),
        outcome=False, axis="",
    ),
    "call_starts": Metric(
        "calls at value starts", "Share of calls at places where a value was due.",
        better="higher", counts=("due", "calls"),
    ),
    "recovered": Metric(
        "recovered", "Share of the partner's advantage in facts right that is recovered.",
        better="higher",
    ),
    **{
        f"auroc_{signal}_{position}": _call(
            f"AUROC, {name} {position}", "How often the signal ranks such a token above others.",
            "separation", signal, where, unit="AUROC", better="higher",
        )
        for signal, name in _SIGNALS.items()
        for position, where in _POSITIONS.items()
    },
    "call_precision": _call(
        "call precision", "Share of calls at fact tokens.", "at_rate", "precision",
        better="higher",
    ),
    "call_recall": _call(
        "call recall", "Share of fact tokens with a call.", "at_rate", "recall", better="higher",
    ),
    "start_recall": _call(
        "value starts called", "Share of value starts with a call.", "at_rate", "start_recall",
        better="higher",
    ),
    "argmax_rate": _call(
        "argmax rate", "Share of tokens where <CALL> is the likeliest token.", "at_zero",
        "call_rate", axis="",
    ),
    "argmax_precision": _call(
        "argmax precision", "Share of these tokens that are fact tokens.", "at_zero", "precision",
        axis="",
    ),
    "argmax_start_recall": _call(
        "argmax start recall", "Share of value starts where <CALL> is the likeliest token.",
        "at_zero", "start_recall", axis="",
    ),
    "calibration_error": _call(
        "calibration error", "Gap between p(CALL) and the share of fact tokens, all tokens.",
        "calibration", "error", unit="gap", better="lower", axis="",
    ),
    "decision_error": _call(
        "calibration error where it decides", "The same against value starts.", "decision",
        "error", unit="gap", better="lower", axis="",
    ),
    "language_loss": Metric(
        "language loss", "Loss on tokens that state no fact.", "nats per token", "lower",
        path=("language_loss",), axis="nats",
    ),
    "fact_loss": Metric(
        "loss on facts", "Loss on fact tokens, <CALL> left out.", "nats per token",
        path=("fact_loss",), axis="nats",
    ),
    "stored_bits": Metric(
        "stored bits", "Lower bound on what the model holds of a fact.", "bits per fact",
        path=("bits", "per_fact"), axis="per fact",
    ),
    "stored_share": Metric(
        "stored share of all bits", "The same as a share of the bits there are.",
        path=("bits", "share"),
    ),
    "closed_book_recall": Metric(
        "closed-book recall", "Share of facts stated correctly without any source.",
        better="lower", path=("closed_book", "start"),
    ),
    "entities_right": Metric(
        "entities right", "Share of names, numbers and dates that the article holds.",
        better="higher",
    ),
    "own_entities_right": Metric(
        "own", "The same of those in the SLM's own words.", better="higher",
    ),
    "borrowed_entities_right": Metric(
        "borrowed", "The same of those that a source wrote.", better="higher",
    ),
    "entities_per_text": Metric(
        "per text", "New names, numbers and dates per text.", "entities per text",
    ),
}  # fmt: skip

RATIOS = tuple(name for name, metric in METRICS.items() if metric.counts)
"""Metrics of answers: they can be pooled and compared person by person."""

MODEL_METRICS = tuple(name for name, metric in METRICS.items() if metric.path)
"""Metrics of a model itself."""


def metric_of(name: str) -> Metric:
    """Return a metric; a name that is not known describes itself."""
    return METRICS.get(name) or Metric(name.replace("_", " "), "", "", axis="")


def sums(name: str, columns: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return a ratio's numerators and denominators, one of each per person.

    Args:
        name: one of ``RATIOS``.
        columns: arrays by the names of ``facts.COUNTS``.

    Raises:
        KeyError: a count is missing.
    """
    top, bottom = METRICS[name].counts or ("", "")
    return tuple(sum(columns[c] for c in part.split("+")) for part in (top, bottom))  # type: ignore[return-value]


def ratio_scores(columns: Mapping[str, Any], *, seed: int = 0) -> dict[str, Score]:
    """Score all ``RATIOS`` whose counts are there."""
    scores = {}
    for name in RATIOS:
        metric = METRICS[name]
        if all(c in columns for part in metric.counts or () for c in part.split("+")):
            top, bottom = sums(name, columns)
            scores[name] = ratio(
                top, bottom, unit=metric.unit, chance=metric.outcome, seed=seed
            )  # fmt: skip
    return scores


def model_scores(measured: Mapping[str, Any]) -> dict[str, Score]:
    """Read the ``MODEL_METRICS`` out of ``as_data(WorldResult)``."""
    found = {}
    for name in MODEL_METRICS:
        value: Any = measured
        for key in METRICS[name].path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping) and value.get("value") is not None:
            found[name] = Score.from_data(value)
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value with its 95% interval."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    seed: int = 0
    conditions: Mapping[str, str] = field(default_factory=dict)
    """How it was measured, such as condition, policy and source."""


def results_of(
    scores: Mapping[str, Score], *, seed: int = 0, conditions: Mapping[str, str] | None = None
) -> list[Result]:
    """Return scores by metric as results under one set of conditions."""
    return [
        Result(name, **asdict(score), seed=seed, conditions=conditions or {})
        for name, score in scores.items()
    ]


class Measurement(Protocol):
    """What a task measured."""

    def results(self) -> list[Result]:
        """Return every value as a result."""
        ...


class Task(Protocol):
    """Something that runs a model and measures it: in a world, on articles, with a judge.

    ``evaluate_world`` and ``evaluate_articles`` are tasks once all but the model is given, as by
    ``functools.partial``.
    """

    def __call__(self, loaded: Any) -> Measurement:
        """Run a loaded model (``.model`` and ``.tokenizer``) and measure it."""
        ...


def to_data(measured: Measurement) -> dict[str, Any]:
    """Return a measurement as plain data, its results as a flat list beside the details."""
    return {**as_data(measured), "results": as_data(measured.results())}
