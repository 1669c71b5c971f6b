"""The outcome of scoring: decisions per response, scores with intervals, what was not judged."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lacy.factscore.agreeing import UNKNOWN_AGREEMENT, KnownAgreement
from lacy.results import METRICS, Result, Score, UnitCounts, ratio, results_of

Floats = NDArray[np.float64]

FACT_COUNTS = (
    "topic_texts", "stating_texts", "stated_facts", "unjudged_facts", "judged_texts",
    *(f"{name}{end}" for name in ("factscore", "facts_supported")
      for end in ("", "_init", "_lowest", "_highest")),
)  # fmt: skip
"""The counts of each topic; a judge that agrees too little with people has those of
``facts_supported`` instead of ``factscore``."""


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
        agreement: the judge's agreement with people; None if it is unknown.
        seed: seed of the bootstrap.
    """

    responses: tuple[ScoredResponse, ...]
    gamma: float
    judge: str
    facts: str
    pages: str
    settings: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    agreement: KnownAgreement | None = None
    seed: int = 0

    @property
    def may_be_called_factscore(self) -> bool:
        """False if the judge is known to agree too little with people."""
        return self.agreement is None or not self.agreement.unfit

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
        """Return all scores by the names of their metrics; topics are resampled for intervals."""
        _, counts = self._counts()
        scores = {}
        for name, metric in METRICS.items():
            numerator, denominator = metric.counts or ("", "")
            if numerator in counts and denominator in counts:
                # A topic without a text that counts here is no unit of this score.
                used = counts[denominator] > 0
                scores[name] = ratio(
                    counts[numerator][used], counts[denominator][used], unit=metric.unit,
                    chance=metric.outcome, seed=self.seed,
                )  # fmt: skip
        return scores

    def results(self) -> list[Result]:
        """Return every value as a result."""
        return results_of(self.scores(), seed=self.seed, conditions=self.conditions())

    def conditions(self) -> dict[str, str]:
        """Return how the scores were measured."""
        return {
            "judge": self.judge,
            "agreement": self.agreement.text if self.agreement else UNKNOWN_AGREEMENT,
            "facts": self.facts,
            "pages": self.pages,
            **self.settings,
        }

    def units(self) -> list[UnitCounts]:
        """Return the counts per topic, so that two models can be compared in pairs."""
        topics, counts = self._counts()
        texts: dict[str, list[str]] = {}
        for response in self.responses:
            texts.setdefault(response.topic, []).append(response.text)
        joined = tuple("\n\n".join(texts[topic]) for topic in topics)
        return [UnitCounts(self.conditions(), topics, counts, joined)]

    def _counts(self) -> tuple[tuple[str, ...], dict[str, Floats]]:
        """Return the topics and the counts per topic behind all scores."""
        prefix = "factscore" if self.may_be_called_factscore else "facts_supported"
        rows: dict[str, defaultdict[str, float]] = {}
        for response in self.responses:
            row = rows.setdefault(response.topic, defaultdict(float))
            row["topic_texts"] += 1
            if response.state != "scored":
                continue
            facts = len(response.decisions)
            row["stating_texts"] += 1
            row["stated_facts"] += facts
            row["unjudged_facts"] += facts - response.judged
            penalty = length_penalty(facts, self.gamma)
            row[f"{prefix}_lowest"] += penalty * response.supported / facts
            missed = facts - response.judged
            row[f"{prefix}_highest"] += penalty * (response.supported + missed) / facts
            if response.judged:
                row["judged_texts"] += 1
                row[prefix] += penalty * response.init_score
                row[f"{prefix}_init"] += response.init_score
        names = (
            "topic_texts", "stating_texts", "stated_facts", "unjudged_facts", "judged_texts",
            prefix, *(f"{prefix}_{end}" for end in ("init", "lowest", "highest")),
        )  # fmt: skip
        columns = {n: np.array([row[n] for row in rows.values()], np.float64) for n in names}
        return tuple(rows), columns

    def with_agreement(self, agreement: KnownAgreement | None) -> FactScoreResult:
        """Return the same decisions, scored with what is known of the judge's agreement."""
        return replace(self, agreement=agreement)
