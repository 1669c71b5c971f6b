"""The form of all results: a value with its interval and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lacy.results.statistics import Score, as_data


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


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """The counts behind the ratios of one condition, one entry per unit of resampling.

    With them, two models that were measured on the same units can be compared in pairs.
    """

    conditions: Mapping[str, str]
    """As in ``Result``."""
    names: tuple[str, ...]
    """Names of the units (people, documents, questions), unique within the condition."""
    counts: Mapping[str, NDArray[np.float64]]
    """One array per count, as ``ratio_scores`` takes them."""
    texts: tuple[str, ...] = ()
    """What the model wrote for each unit; empty if it wrote nothing."""


class Measurement(Protocol):
    """The outcome of a task.

    One that counts per unit also has ``units() -> list[UnitCounts]``.
    """

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
