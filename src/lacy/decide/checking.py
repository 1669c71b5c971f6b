"""Measure decisions against known answers: accuracy and calibration, by source and type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lacy.decide.data import UNKNOWN, KnownDecision
from lacy.decide.decision import TypedDecision
from lacy.decide.head import Decider
from lacy.results import Score, wilson
from lacy.safety import calibration_error

ALL = "all"
"""Name of the row over all sources."""


@dataclass(frozen=True)
class Checked:
    """Figures of the decisions of one type and source.

    Attributes:
        source: the source; ``all`` for all of them.
        type: the type; ``all`` for all of them.
        n: number of decisions.
        accuracy: share whose likeliest option is right, with a 95% interval.
        ece: expected calibration error of the likeliest option's probability.
        majority: accuracy of always giving the commonest answer of each source.
        chance: mean of one over the number of options.
    """

    source: str
    type: str
    n: int
    accuracy: Score
    ece: float
    majority: float
    chance: float

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def check_decisions(
    known: Sequence[KnownDecision], decisions: Sequence[TypedDecision]
) -> list[Checked]:
    """Return figures by type over all sources, then by source and type, then over everything.

    A ``noul`` whose answer is unknown has no right option and is left out.
    """
    pairs = [(one, decision) for one, decision in zip(known, decisions, strict=True)
             if one.answer != UNKNOWN or one.question.type != "noul"]  # fmt: skip
    rows = []
    for kind in dict.fromkeys(one.question.type for one, _ in pairs):
        mine = [pair for pair in pairs if pair[0].question.type == kind]
        rows.append(_checked(ALL, kind, mine))
        sources = sorted({one.source for one, _ in mine})
        rows += [_checked(source, kind, [pair for pair in mine if pair[0].source == source])
                 for source in sources]  # fmt: skip
    return [*rows, _checked(ALL, ALL, pairs)] if pairs else []


def check_decider(decider: Decider, known: Sequence[KnownDecision]) -> list[Checked]:
    """Decide every question, and return the figures (``check_decisions``)."""
    decisions = [decider.decide(one.state, [one.question])[0] for one in known]
    return check_decisions(known, decisions)


def _checked(
    source: str, kind: str, pairs: Sequence[tuple[KnownDecision, TypedDecision]]
) -> Checked:
    right_N = np.array([decision.likeliest == one.answer for one, decision in pairs], bool)
    sure_N = np.array([max(decision.probabilities) for _, decision in pairs])
    groups: dict[str, Counter[str]] = {}
    for one, _ in pairs:
        groups.setdefault(one.source, Counter())[one.answer] += 1
    common = sum(group.most_common(1)[0][1] for group in groups.values())
    chance = float(np.mean([1 / len(one.question.options) for one, _ in pairs]))
    return Checked(source, kind, len(pairs), wilson(right_N.sum(), len(pairs)),
                   calibration_error(sure_N, right_N), common / len(pairs), chance)  # fmt: skip
