"""The outcome of scoring: decisions per response, scores with intervals, what was not judged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy.results import Result, Score, UnitCounts, ratio, results_of

if TYPE_CHECKING:
    from lacy.judges import JudgeCheck

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FactDecision:
    """What was decided about one fact.

    Attributes:
        fact: the fact.
        supported: whether the page supports it; None without a verdict.
        score: how sure the judge is, from 0 to 1; None if it does not say.
        why: why there is no verdict.
    """

    fact: str
    supported: bool | None
    score: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """A response and the decisions about its facts.

    Attributes:
        topic: the topic.
        text: the text.
        state: ``scored``, or why the text has no facts: ``empty``, ``abstained``, ``no facts``.
        decisions: one per fact.
        title: the title of the page; "" if there is none.
        why: why nothing was judged.
        nearest: titles similar to the topic if no page has it as its title.
    """

    topic: str
    text: str
    state: str
    decisions: tuple[FactDecision, ...] = ()
    title: str = ""
    why: str = ""
    nearest: tuple[str, ...] = ()

    @property
    def supported(self) -> int:
        """Number of supported facts."""
        return sum(decision.supported is True for decision in self.decisions)

    @property
    def judged(self) -> int:
        """Number of facts with a verdict."""
        return sum(decision.supported is not None for decision in self.decisions)

    @property
    def init_score(self) -> float:
        """Share of supported facts among those with a verdict; NaN without any."""
        return self.supported / self.judged if self.judged else math.nan


def length_penalty(facts: int, gamma: float) -> float:
    """Return the factor for a text with few facts: 1 from ``gamma`` facts on.

    ``exp(1 - gamma / facts)`` below, as in the original (Min et al. 2023).
    """
    if not gamma or facts >= gamma:
        return 1.0
    return math.exp(1.0 - gamma / facts) if facts else 0.0


@dataclass(frozen=True)
class FactScoreResult:
    """The scores of a set of responses, and everything behind them.

    Attributes:
        responses: the responses with their decisions.
        gamma: number of facts below which a text is penalised.
        judge: the judge's name.
        facts: where the facts came from.
        pages: where the pages came from.
        settings: other settings that the scores depend on.
        counts: what happened on the way, such as dropped facts.
        check: the judge's agreement with people; None if it is unknown.
        seed: seed of the bootstrap.
    """

    responses: tuple[ScoredResponse, ...]
    gamma: float
    judge: str
    facts: str
    pages: str
    settings: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    check: JudgeCheck | None = None
    seed: int = 0

    @property
    def may_be_called_factscore(self) -> bool:
        """False if the judge is known to agree too little with people."""
        return self.check is None or not self.check.unfit

    @property
    def responding(self) -> list[ScoredResponse]:
        """The responses that state facts."""
        return [response for response in self.responses if response.state == "scored"]

    def unjudged(self) -> dict[str, int]:
        """Return the number of facts without a verdict by reason."""
        decisions = (d for response in self.responses for d in response.decisions)
        return dict(Counter(d.why for d in decisions if d.supported is None))

    def without_facts(self) -> dict[str, int]:
        """Return the number of responses without facts by reason."""
        return dict(Counter(r.state for r in self.responses if r.state != "scored"))

    def missing_pages(self) -> dict[str, tuple[str, ...]]:
        """Return the topics without a page, with similar titles."""
        return {r.topic: r.nearest for r in self.responding if not r.title and r.nearest}

    def scores(self) -> dict[str, Score]:
        """Return all scores by the names of their metrics."""
        prefix = "factscore" if self.may_be_called_factscore else "facts_supported"
        every, stating = self.responses, self.responding
        judged = [r for r in stating if r.judged]
        init = [r.init_score for r in judged]
        penalties = [length_penalty(len(r.decisions), self.gamma) for r in judged]
        scores = {
            prefix: self._mean(judged, np.multiply(init, penalties)),
            f"{prefix}_init": self._mean(judged, init),
            f"{prefix}_lowest": self._mean(stating, [self._bound(r, 0) for r in stating]),
            f"{prefix}_highest": self._mean(stating, [self._bound(r, 1) for r in stating]),
            "respond_ratio": self._mean(every, [r.state == "scored" for r in every]),
            "facts_per_response": self._mean(
                stating, [len(r.decisions) for r in stating], "facts per response"
            ),
        }  # fmt: skip
        stated = sum(len(r.decisions) for r in stating)
        missed = stated - sum(r.judged for r in stating)
        share = missed / stated if stated else math.nan
        scores["facts_unjudged"] = Score(share, math.nan, math.nan, stated)
        return scores

    def results(self) -> list[Result]:
        """Return every value as a result."""
        return results_of(self.scores(), seed=self.seed, conditions=self.conditions())

    def conditions(self) -> dict[str, str]:
        """Return how the scores were measured."""
        return {
            "judge": self.judge,
            "agreement": agreement_text(self.check),
            "facts": self.facts,
            "pages": self.pages,
            **self.settings,
        }

    def units(self) -> list[UnitCounts]:
        """Return the counts per topic, so that two models can be compared in pairs."""
        topics = list(dict.fromkeys(r.topic for r in self.responses))
        rows = {topic: [r for r in self.responses if r.topic == topic] for topic in topics}

        def column(of: Any) -> Floats:
            return np.array([sum(of(r) for r in rows[topic]) for topic in topics], float)

        counts = {
            "facts_supported": column(lambda r: r.supported),
            "facts_judged": column(lambda r: r.judged),
            "facts_stated": column(lambda r: len(r.decisions)),
        }
        texts = tuple("\n\n".join(r.text for r in rows[topic]) for topic in topics)
        return [UnitCounts(self.conditions(), tuple(topics), counts, texts)]

    def with_check(self, check: JudgeCheck | None) -> FactScoreResult:
        """Return the same result with the judge's agreement with people."""
        return replace(self, check=check)

    def _bound(self, response: ScoredResponse, unjudged: int) -> float:
        """Return a response's score if all facts without a verdict had this one."""
        facts = len(response.decisions)
        right = response.supported + unjudged * (facts - response.judged)
        return length_penalty(facts, self.gamma) * right / facts

    def _mean(self, responses: Sequence[ScoredResponse], values: Any, unit: str = "share") -> Score:
        """Return the mean over responses; topics are resampled, because responses may share one."""
        sums: dict[str, list[float]] = {}
        for response, value in zip(responses, values, strict=True):
            one = sums.setdefault(response.topic, [0.0, 0.0])
            one[0] += float(value)
            one[1] += 1.0
        rows = np.array(list(sums.values())).reshape(-1, 2)
        return ratio(rows[:, 0], rows[:, 1], unit=unit, seed=self.seed)


def agreement_text(check: JudgeCheck | None) -> str:
    """Return a judge's agreement with people in one line."""
    if check is None or not check.agreements:
        return "unknown: never compared with people (lacy judge check)"
    lowest = min(check.agreements, key=lambda one: one.auroc.value)
    gap = max((one.gap.value for one in check.agreements), key=abs)
    facts = sum(one.facts for one in check.agreements)
    return (
        f"AUROC {lowest.auroc.value:.3f} [{lowest.auroc.low:.3f}, {lowest.auroc.high:.3f}]"
        f" on facts of {lowest.model} (the lowest of {len(check.agreements)}),"
        f" mean gap {gap:+.3f}, {facts:,} facts"
    )
