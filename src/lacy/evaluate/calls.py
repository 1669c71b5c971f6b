"""Call quality: whether the model calls at the gold fact positions.

Everything is measured on true texts (teacher forcing), so the gold mark of each position is known.
Three groups of tokens are compared with the tokens that state no fact: the first tokens of values
(where a call for a whole value must happen), all fact tokens, and the later tokens of values. The
later tokens are often predictable from the first one, so they are reported separately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.signals import SIGNALS, DocumentSignals
from lacy.results import Score, auroc, ratio, score_sums

BINS = 15
"""Number of equal-width bins of the calibration error (15, as in Guo et al. 2017)."""


@dataclass(frozen=True, slots=True)
class Separation:
    """AUROC of one signal: how often it ranks a fact token above a token that states no fact."""

    value_start: Score
    """First tokens of values."""
    fact: Score
    """All fact tokens."""
    later: Score
    """Later tokens of values."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Precision and recall of calls at a fixed threshold; intervals are over documents."""

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
    """The bins that are not empty, from low to high."""


@dataclass(frozen=True, slots=True)
class CallQuality:
    """All measures of where a model calls."""

    separation: dict[str, Separation]
    """AUROCs by signal. ``margin`` and ``p_call`` need a model with ``<CALL>``; ``entropy`` and
    ``top2`` work for any model, and on a plain model they are the control."""
    at_rate: OperatingPoint | None
    """At the requested call rate."""
    at_zero: OperatingPoint
    """At threshold 0: calls wherever ``<CALL>`` has the largest logit."""
    calibration: CallCalibration
    """Over all tokens; a call is due at every fact token. Relevant if a call returns one token."""
    decision: CallCalibration
    """Over all tokens but the later ones of values; a call is due at value starts. Relevant if a
    call returns a whole value, because the source then writes the later tokens."""


def separation(documents: Sequence[DocumentSignals], signal: str, *, seed: int = 0) -> Separation:
    """Return the AUROC of a signal for the three groups of tokens.

    Args:
        documents: teacher-forced signals with gold marks.
        signal: name of the signal, a key of ``signals.SIGNALS``.
        seed: seed of the bootstrap.
    """
    values = [SIGNALS[signal](document) for document in documents]
    starts = [document.is_start for document in documents]
    facts = [document.is_fact for document in documents]

    def against_other_tokens(positives: list[NDArray[np.bool_]]) -> Score:
        masks = [p | ~f for p, f in zip(positives, facts, strict=True)]
        masked_values = [v[mask] for v, mask in zip(values, masks, strict=True)]
        labels = [p[mask] for p, mask in zip(positives, masks, strict=True)]
        return auroc(masked_values, labels, seed=seed)

    later = [f & ~s for f, s in zip(facts, starts, strict=True)]
    return Separation(
        against_other_tokens(starts), against_other_tokens(facts), against_other_tokens(later)
    )


def operating_point(
    documents: Sequence[DocumentSignals], threshold: float, *, signal: str = "margin", seed: int = 0
) -> OperatingPoint:
    """Measure precision and recall if the model calls wherever ``signal > threshold``."""
    rows = []
    for document in documents:
        called = SIGNALS[signal](document) > threshold
        fact, start = document.is_fact, document.is_start
        hits, start_hits = (called & fact).sum(), (called & start).sum()
        rows.append((len(called), called.sum(), fact.sum(), start.sum(), hits, start_hits))
    table = np.asarray(rows, float).reshape(-1, 6)
    tokens, calls, facts, starts, hits, start_hits = table.T

    def share(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> Score:
        return ratio(numerators, denominators, seed=seed)

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
    return calibration_of(p, [document.is_fact for document in documents], bins, seed)


def decision_calibration(
    documents: Sequence[DocumentSignals], *, bins: int = BINS, seed: int = 0
) -> CallCalibration:
    """Return the calibration error against value starts, without the later tokens of values.

    If calls return whole values, the policy decides at just these positions.
    """
    starts = [document.is_start for document in documents]
    decision_positions = [start | ~d.is_fact for start, d in zip(starts, documents, strict=True)]
    p = [d.p_call[mask] for d, mask in zip(documents, decision_positions, strict=True)]
    due = [start[mask] for start, mask in zip(starts, decision_positions, strict=True)]
    return calibration_of(p, due, bins, seed)


def calibration_of(
    p_call: Sequence[NDArray[np.float64]],
    due: Sequence[NDArray[np.bool_]],
    bins: int = BINS,
    seed: int = 0,
) -> CallCalibration:
    """Return the expected calibration error over equal-width bins (Naeini et al. 2015).

    It is ``sum_b |sum of p in b - tokens in b at which a call is due| / tokens``. Estimates from
    few tokens are too high, because noise within a bin does not cancel.

    Args:
        p_call: p(CALL) of each token, one array per document.
        due: True for each token at which a call is due, one array per document.
        bins: number of bins.
        seed: seed of the bootstrap.
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
        call_rate: the call rate at which precision and recall are measured; None to skip this.
        signals: names of the signals whose AUROC is measured.
        seed: seed of the bootstrap.
    """
    at_rate = None
    if call_rate is not None:
        at_rate = operating_point(documents, threshold_at(documents, call_rate), seed=seed)
    return CallQuality(
        separation={name: separation(documents, name, seed=seed) for name in signals},
        at_rate=at_rate,
        at_zero=operating_point(documents, 0.0, seed=seed),
        calibration=call_calibration(documents, seed=seed),
        decision=decision_calibration(documents, seed=seed),
    )
