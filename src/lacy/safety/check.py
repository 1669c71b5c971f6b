"""Measure a classifier on labelled texts: AUROC, true positives at a rate, calibration error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lacy.results import RESAMPLES, Score, auroc, wilson
from lacy.safety.calibration import Bools, Floats, calibration_error
from lacy.safety.texts import ROLES, LabelledText, Role


class HarmScorer(Protocol):
    """Gives each text a probability of harm, and has a threshold for each role."""

    def probabilities(self, texts: Sequence[LabelledText]) -> Floats:
        """Return the probability that each text is harmful."""
        ...

    def threshold(self, role: Role) -> float:
        """Return the probability from which a text of a role is flagged."""
        ...


@dataclass(frozen=True)
class SourceFigures:
    """What a classifier does with the texts of one source, or of all sources of a role.

    Attributes:
        role: prompts or answers.
        source: the source, or ``all``.
        harmful: number of harmful texts.
        safe: number of safe texts.
        auroc: probability that a harmful text scores above a safe one. Most sources have texts of
            one class; they are ranked against the texts of the other class of all other sources.
        caught: share of the harmful texts at or above the threshold.
        flagged_safe: share of the safe texts at or above the threshold.
        caught_at_rate: share of the harmful texts above the score that ``rate`` of the safe texts
            (of all sources, if this one has none) exceed: this threshold is chosen on these texts.
        ece: expected calibration error of the probability.
    """

    role: Role
    source: str
    harmful: int
    safe: int
    auroc: Score
    caught: Score
    flagged_safe: Score
    caught_at_rate: Score
    ece: float


def check_classifier(
    classifier: HarmScorer, texts: Sequence[LabelledText], *, rate: float = 0.05,
    resamples: int = RESAMPLES,
) -> list[SourceFigures]:  # fmt: skip
    """Return the figures of all sources together and of each source, by role.

    Args:
        classifier: the classifier.
        texts: texts; those without a label are not counted.
        rate: false positive rate of ``caught_at_rate``.
        resamples: bootstrap draws of the interval of AUROC.
    """
    texts = [one for one in texts if one.harmful is not None]
    scores_N = classifier.probabilities(texts)
    harmful_N = np.array([bool(one.harmful) for one in texts], bool)
    found = []
    for role in ROLES:
        of_role = np.array([one.role == role for one in texts], bool)
        if not of_role.any():
            continue
        names = np.array([one.source for one in texts])
        threshold = classifier.threshold(role)
        for source in ("all", *sorted({str(name) for name in names[of_role]})):
            mine = of_role if source == "all" else of_role & (names == source)
            rest = of_role if harmful_N[mine].all() or not harmful_N[mine].any() else mine
            found.append(_figures(role, source, scores_N, harmful_N, mine, rest, threshold, rate,
                                  resamples))  # fmt: skip
    return found


def _figures(
    role: Role, source: str, scores_N: Floats, harmful_N: Bools, mine: Bools, rest: Bools,
    threshold: float, rate: float, resamples: int,
) -> SourceFigures:  # fmt: skip
    """Return the figures of one source; ``rest`` are the texts that may complete a class."""
    positive = scores_N[(mine if harmful_N[mine].any() else rest) & harmful_N]
    negative = scores_N[(mine if not harmful_N[mine].all() else rest) & ~harmful_N]
    own = scores_N[mine & harmful_N]
    safe = scores_N[mine & ~harmful_N]
    if len(negative):
        limit = np.sort(negative)[::-1][min(int(rate * len(negative)), len(negative) - 1)]
        at_rate = wilson(int((own > limit).sum()), len(own))
    else:
        at_rate = wilson(0, 0)
    area = Score(math.nan, math.nan, math.nan, len(positive) + len(negative), "AUROC")
    if len(positive) and len(negative):
        ones = [np.array([value]) for value in (*positive, *negative)]
        labels = [np.array([True])] * len(positive) + [np.array([False])] * len(negative)
        area = auroc(ones, labels, resamples=resamples)
    return SourceFigures(
        role, source, int((mine & harmful_N).sum()), int((mine & ~harmful_N).sum()), area,
        wilson(int((own >= threshold).sum()), len(own)),
        wilson(int((safe >= threshold).sum()), len(safe)),
        at_rate, calibration_error(scores_N[mine], harmful_N[mine]),
    )  # fmt: skip
