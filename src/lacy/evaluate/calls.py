"""Call quality: whether the model calls at the gold fact positions.

Everything is measured on true texts (teacher forcing), so that each position's gold mark is known.
Three groups of tokens are compared with the tokens that state no fact: the first tokens of values
(where a call that returns a whole value has to happen), all fact tokens, and the later tokens of
values, which are often predictable from the first and are therefore reported separately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.signals import SIGNALS, DocumentSignals
from lacy.evaluate.statistics import Score, auroc, ratio, score_sums

BINS = 15
"""Equal-width bins of the calibration error (Guo et al. 2017)."""


@dataclass(frozen=True, slots=True)
class Separation:
    """AUROC of one signal: how often it ranks a fact token above a token that states no fact."""

    value_start: Score
    fact: Score
    later: Score


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Calls at a fixed threshold, as shares with intervals over documents."""

    threshold: float
    call_rate: Score
    """Share of all tokens that have a call."""
    precision: Score
    """Share of calls at fact tokens."""
    recall: Score
    """Share of fact tokens that have a call."""
    start_recall: Score
    """Share of value starts that have a call."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One bin of the calibration curve: the tokens whose p(CALL) lies in ``[low, high)``."""

    low: float
    high: float
    predicted: float
    """Mean p(CALL) in the bin."""
    observed: float
    """Share of the bin's tokens at which a call was due."""
    tokens: int


@dataclass(frozen=True, slots=True)
class CallCalibration:
    """Expected calibration error of p(CALL) as the probability that a call is due."""

    error: Score
    bins: tuple[CalibrationBin, ...]
    """Bins that hold tokens, from low to high."""


@dataclass(frozen=True, slots=True)
class CallQuality:
    """All measures of where a model calls."""

    separation: dict[str, Separation]
    """By signal: ``margin`` and ``p_call`` of a model with ``<CALL>``, ``entropy`` and ``top2`` of
    any model (on a plain model these are the control)."""
    at_rate: OperatingPoint | None
    """At the requested call rate."""
    at_zero: OperatingPoint
    """At threshold 0: calls wherever ``<CALL>`` has the largest logit."""
    calibration: CallCalibration
    """Over all tokens, against fact tokens: relevant if a call returns one token."""
    decision: CallCalibration
    """Over the positions where the policy decides if a call returns a whole value, against value
    starts. A later token of a value is not a decision: the source has already written it."""


def separation(documents: Sequence[DocumentSignals], signal: str, *, seed: int = 0) -> Separation:
    """Return the AUROC of a signal for the three groups of tokens.

    Args:
        documents: teacher-forced signals with gold marks.
        signal: a key of ``signals.SIGNALS``.
        seed: of the bootstrap.
    """
    values = [SIGNALS[signal](document) for document in documents]
    starts = [document.is_start for document in documents]
    facts = [document.is_fact for document in documents]

    def against_words(positives: list[NDArray[np.bool_]]) -> Score:
        kept = [p | ~f for p, f in zip(positives, facts, strict=True)]
        chosen = [v[k] for v, k in zip(values, kept, strict=True)]
        labels = [p[k] for p, k in zip(positives, kept, strict=True)]
        return auroc(chosen, labels, seed=seed)

    later = [f & ~s for f, s in zip(facts, starts, strict=True)]
    return Separation(against_words(starts), against_words(facts), against_words(later))


def operating(
    documents: Sequence[DocumentSignals], threshold: float, *, signal: str = "margin", seed: int = 0
) -> OperatingPoint:
    """Measure calls wherever ``signal > threshold``."""
    rows = []
    for document in documents:
        called = SIGNALS[signal](document) > threshold
        fact, start = document.is_fact, document.is_start
        hits, start_hits = (called & fact).sum(), (called & start).sum()
        rows.append((len(called), called.sum(), fact.sum(), start.sum(), hits, start_hits))
    table = np.asarray(rows, float).reshape(-1, 6)
    tokens, calls, facts, starts, hits, start_hits = table.T

    def share(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> Score:
        return ratio(top, bottom, seed=seed)

    return OperatingPoint(
        threshold=threshold,
        call_rate=share(calls, tokens),
        precision=share(hits, calls),
        recall=share(hits, facts),
        start_recall=share(start_hits, starts),
    )


def threshold_at(
    documents: Sequence[DocumentSignals], call_rate: float, signal: str = "margin"
) -> float:
    """Return the threshold that ``round(call_rate * tokens)`` tokens exceed (fewer with ties)."""
    values = [SIGNALS[signal](document) for document in documents]
    ranked = np.sort(np.concatenate(values))[::-1] if values else np.empty(0)
    wanted = round(call_rate * len(ranked))
    return float(ranked[wanted]) if wanted < len(ranked) else -math.inf


def call_calibration(
    documents: Sequence[DocumentSignals], *, bins: int = BINS, seed: int = 0
) -> CallCalibration:
    """Return the expected calibration error of p(CALL) against fact tokens, over all tokens."""
    p = [document.p_call for document in documents]
    return _calibration(p, [document.is_fact for document in documents], bins, seed)


def decision_calibration(
    documents: Sequence[DocumentSignals], *, bins: int = BINS, seed: int = 0
) -> CallCalibration:
    """Return the calibration error against value starts, without the later tokens of values.

    These are the positions where the policy decides if calls return whole values.
    """
    starts = [document.is_start for document in documents]
    decides = [start | ~d.is_fact for start, d in zip(starts, documents, strict=True)]
    p = [d.p_call[kept] for d, kept in zip(documents, decides, strict=True)]
    due = [start[kept] for start, kept in zip(starts, decides, strict=True)]
    return _calibration(p, due, bins, seed)


def _calibration(
    p_call: Sequence[NDArray[np.float64]],
    due: Sequence[NDArray[np.bool_]],
    bins: int,
    seed: int,
) -> CallCalibration:
    """Return the mean gap between predicted and observed; one array of each per document.

    ``sum_b |sum of p in b - tokens in b at which a call is due| / tokens`` over equal-width bins
    (Naeini et al. 2015). Estimates from few tokens are too high, because noise within a bin
    does not cancel.
    """
    rows = np.zeros((len(p_call), 3, bins))
    for row, p, event in zip(rows, p_call, due, strict=True):
        index = np.minimum((p * bins).astype(int), bins - 1)
        row[0] = np.bincount(index, minlength=bins)
        row[1] = np.bincount(index, p, minlength=bins)
        row[2] = np.bincount(index, event, minlength=bins)

    def statistic(sums_RC: NDArray[np.float64]) -> NDArray[np.float64]:
        count, predicted, observed = np.split(sums_RC, 3, axis=1)
        result: NDArray[np.float64] = np.abs(predicted - observed).sum(1) / count.sum(1)
        return result

    error = score_sums(rows.reshape(len(rows), 3 * bins), statistic, unit="gap", seed=seed)
    count, predicted, observed = rows.sum(0)
    return CallCalibration(
        error,
        tuple(
            CalibrationBin(b / bins, (b + 1) / bins, predicted[b] / n, observed[b] / n, int(n))
            for b, n in enumerate(count)
            if n
        ),
    )


def call_quality(
    documents: Sequence[DocumentSignals],
    *,
    call_rate: float | None = None,
    signals: Sequence[str] = ("margin", "p_call", "entropy", "top2"),
    seed: int = 0,
) -> CallQuality:
    """Measure where a model calls.

    Args:
        documents: teacher-forced signals with gold marks.
        call_rate: the realised call rate to measure precision and recall at.
        signals: which signals to rate.
        seed: of the bootstraps.
    """
    at_rate = None
    if call_rate is not None:
        at_rate = operating(documents, threshold_at(documents, call_rate), seed=seed)
    return CallQuality(
        separation={name: separation(documents, name, seed=seed) for name in signals},
        at_rate=at_rate,
        at_zero=operating(documents, 0.0, seed=seed),
        calibration=call_calibration(documents, seed=seed),
        decision=decision_calibration(documents, seed=seed),
    )
