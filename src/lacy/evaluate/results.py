"""Results (values with intervals and conditions), descriptions of all metrics, and tasks.

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


_SIGNALS = {"margin": "margin", "p_call": "p(CALL)", "entropy": "entropy", "top2": "top2"}
_POSITIONS = {"start": "value_start", "fact": "fact", "later": "later"}


def _answers(label: str, meaning: str, better: Any, counts: str, **more: Any) -> Metric:
    """Describe a metric of answers, a ratio given as ``numerator/denominator``."""
    numerator, denominator = counts.split("/")
    return Metric(label, meaning, better=better, counts=(numerator, denominator), **more)


def _model(label: str, meaning: str, better: Any, path: str, **more: Any) -> Metric:
    """Describe a metric of the model itself by its path."""
    return Metric(label, meaning, better=better, path=tuple(path.split(".")), **more)


METRICS: dict[str, Metric] = {
    "facts_right": _answers("facts right", "Right claims among all claims.", "higher",
                            "right/claims"),
    "recall": _answers("recall", "Right claims among all facts that could have been stated.",
                       "higher", "right/facts"),
    "f1": _answers("F1", "Harmonic mean of facts right and recall.", "higher",
                   "right+right/claims+facts", outcome=False),
    "facts_per_answer": _answers("facts per answer", "Claims per answer, right or wrong.",
                                 "higher", "claims/answers", unit="facts per answer", axis="facts"),
    "calls_per_answer": _answers("calls per answer", "Calls per answer.", "lower",
                                 "calls/answers", unit="calls per answer", axis="calls"),
    "calls_per_fact": _answers("calls per fact", "Calls by claims; 1.0 if each value costs one.",
                               "lower", "calls/claims", unit="calls per fact", axis="calls"),
    "calls_per_statement": _answers("calls per statement", "Calls by claims and their repeats.",
                                    "", "calls/statements", unit="calls per statement", axis=""),
    "call_rate": _answers("call rate", "Share of the generated tokens that came from calls.", "",
                          "called/tokens", outcome=False),
    "finished": _answers("answers finished", "Share of answers that the model ended itself.",
                         "higher", "finished/answers"),
    "own_right": _answers("own facts right", "Right claims among those in the SLM's own words.",
                          "higher", "own_right/own"),
    "borrowed_right": _answers("borrowed facts right", "Right claims among those from a source.",
                               "higher", "borrowed_right/borrowed"),
    "borrowed": _answers("borrowed", "Share of claims that come from a source.", "",
                         "borrowed/claims", outcome=False, axis=""),
    "call_starts": _answers("calls at value starts", "Share of calls where a value was due.",
                            "higher", "due/calls"),
    "recovered": Metric("recovered", "Share of the partner's advantage in facts right.",
                        better="higher"),
    **{
        f"auroc_{signal}_{position}": _model(
            f"AUROC, {name} {position}", "How often the signal ranks such a token above others.",
            "higher", f"calls.separation.{signal}.{where}", unit="AUROC",
        )
        for signal, name in _SIGNALS.items()
        for position, where in _POSITIONS.items()
    },
    "call_precision": _model("call precision", "Share of calls at fact tokens.", "higher",
                             "calls.at_rate.precision"),
    "call_recall": _model("call recall", "Share of fact tokens with a call.", "higher",
                          "calls.at_rate.recall"),
    "start_recall": _model("value starts called", "Share of value starts with a call.", "higher",
                           "calls.at_rate.start_recall"),
    "argmax_rate": _model("argmax rate", "Share of tokens where <CALL> is the likeliest token.",
                          "", "calls.at_zero.call_rate", axis=""),
    "argmax_precision": _model("argmax precision", "Share of these tokens that are fact tokens.",
                               "", "calls.at_zero.precision", axis=""),
    "argmax_start_recall": _model("argmax start recall", "Share of value starts among them.", "",
                                  "calls.at_zero.start_recall", axis=""),
    "calibration_error": _model("calibration error", "Gap of p(CALL) and the share of fact tokens.",
                                "lower", "calls.calibration.error", unit="gap", axis=""),
    "decision_error": _model("calibration error where it decides", "The same for value starts.",
                             "lower", "calls.decision.error", unit="gap", axis=""),
    "language_loss": _model("language loss", "Loss on tokens that state no fact.", "lower",
                            "language_loss", unit="nats per token", axis="nats"),
    "fact_loss": _model("loss on facts", "Loss on fact tokens, without <CALL>.", "", "fact_loss",
                        unit="nats per token", axis="nats"),
    "stored_bits": _model("stored bits", "Lower bound on what the model stores of a fact.", "",
                          "bits.per_fact", unit="bits per fact", axis="per fact"),
    "stored_share": _model("stored share of all bits", "The same as a share of all bits.", "",
                           "bits.share"),
    "closed_book_recall": _model("closed-book recall", "Share of facts stated without a source.",
                                 "lower", "closed_book.start"),
    "entities_right": Metric("entities right", "Share of entities that the article contains.",
                             better="higher"),
    "own_entities_right": Metric("own", "The same in the SLM's own words.", better="higher"),
    "borrowed_entities_right": Metric("borrowed", "The same from a source.", better="higher"),
    "entities_per_text": Metric("per text", "New entities per text.", "entities per text"),
}  # fmt: skip

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
    """How the value was measured, such as condition, policy and source."""


def results_of(
    scores: Mapping[str, Score], *, seed: int = 0, conditions: Mapping[str, str] | None = None
) -> list[Result]:
    """Return one result per score, all with the same conditions."""
    return [
        Result(name, **asdict(score), seed=seed, conditions=conditions or {})
        for name, score in scores.items()
    ]


class Measurement(Protocol):
    """The outcome of a task."""

    def results(self) -> list[Result]:
        """Return every value as a result."""
        ...


class Task(Protocol):
    """A function that runs a model and measures it, such as in a world or on articles.

    ``evaluate_world`` and ``evaluate_articles`` become tasks when ``functools.partial`` sets all
    arguments but the model.
    """

    def __call__(self, loaded: Any) -> Measurement:
        """Run a loaded model (``.model`` and ``.tokenizer``) and measure it."""
        ...


def to_data(measured: Measurement) -> dict[str, Any]:
    """Return a measurement as plain data: its details, and a flat list of its results."""
    return {**as_data(measured), "results": as_data(measured.results())}
