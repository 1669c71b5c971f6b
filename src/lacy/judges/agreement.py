"""How far a judge agrees with people who labelled the same facts."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.judges.labels import LabelledClaims
from lacy.judges.protocol import Judge, Judgment
from lacy.results import Result, Score, auroc, ratio, results_of, score_sums

FIT_AUROC = 0.75
"""A judge with a lower AUROC on the facts of any model is unfit: its numbers are no FActScore."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a judge agrees with people about the facts that one model wrote.

    People who are the topics are resampled for the intervals. Facts without a verdict count in
    ``not_judgeable`` only.

    Attributes:
        model: the model that wrote the facts.
        auroc: of the judge's scores, for the facts that people found supported.
        pearson: correlation over topics of the share of supported facts, judge and people.
        gap: mean over topics of that share by the judge, minus the same by people.
        accuracy: share of facts with the same verdict.
        facts: facts with a verdict.
        not_judgeable: facts without one, whatever the reason.
    """

    model: str
    auroc: Score
    pearson: Score
    gap: Score
    accuracy: Score
    facts: int
    not_judgeable: int

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Agreement:
        """Read what ``as_data`` wrote."""
        scores = {n: Score.from_data(data[n]) for n in ("auroc", "pearson", "gap", "accuracy")}
        return cls(
            data["model"], **scores, facts=data["facts"], not_judgeable=data["not_judgeable"]
        )


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge held against people.

    Attributes:
        judge: the judge's name.
        agreements: one per model that wrote the facts.
        topics: topics with a verdict, over all models.
        seconds: how long the judge took.
        seen: topics whose labels the judge was trained on.
    """

    judge: str
    agreements: tuple[Agreement, ...]
    topics: int
    seconds: float
    seen: int = 0

    @property
    def unfit(self) -> bool:
        """Whether the judge's numbers may not be called FActScore."""
        return not self.agreements or any(
            not agreement.auroc.value >= FIT_AUROC for agreement in self.agreements
        )

    @property
    def facts_per_second(self) -> float:
        """Facts judged per second."""
        facts = sum(agreement.facts for agreement in self.agreements)
        return facts / self.seconds if self.seconds else math.nan

    def results(self) -> list[Result]:
        """Return every value as a result."""
        found = []
        for agreement in self.agreements:
            judgeable = agreement.facts + agreement.not_judgeable
            missed = agreement.not_judgeable / judgeable if judgeable else math.nan
            scores = {
                "judge_auroc": agreement.auroc,
                "judge_pearson": agreement.pearson,
                "judge_gap": agreement.gap,
                "judge_accuracy": agreement.accuracy,
                "judge_not_judgeable": Score(missed, math.nan, math.nan, judgeable),
            }
            conditions = {"judge": self.judge, "facts of": agreement.model}
            found += results_of(scores, conditions=conditions)
        return found


def check_judge(
    judge: Judge,
    labelled: Sequence[LabelledClaims],
    *,
    trained_on: Collection[str] = (),
    on_response: Callable[[int], object] = lambda number: None,
) -> JudgeCheck:
    """Have a judge decide labelled facts, and compare.

    Args:
        judge: the judge. It receives all facts of a response in one call.
        labelled: facts with people's labels.
        trained_on: hashes of the topics that the judge was trained on (``topic_hash``).
        on_response: called with the number of responses judged so far.
    """
    start = time.perf_counter()
    judged = []
    for number, one in enumerate(labelled, 1):
        judged.append(judge.judge(one.claims))
        on_response(number)
    seconds = time.perf_counter() - start
    models = sorted({one.model for one in labelled})
    agreements = tuple(
        agreement_of(
            model,
            [
                (one, found)
                for one, found in zip(labelled, judged, strict=True)
                if one.model == model
            ],
        )
        for model in models
    )
    topics = {
        one.topic
        for one, found in zip(labelled, judged, strict=True)
        if any(judgment.supported is not None for judgment in found)
    }
    seen = {one.topic for one in labelled if topic_hash(one.topic) in set(trained_on)}
    return JudgeCheck(judge.name, agreements, len(topics), seconds, len(seen))


def agreement_of(
    model: str, pairs: Sequence[tuple[LabelledClaims, Sequence[Judgment]]]
) -> Agreement:
    """Compare judgments with the labels of the same facts; see ``Agreement``."""
    scores: dict[str, list[float]] = defaultdict(list)
    verdicts: dict[str, list[bool]] = defaultdict(list)
    labels: dict[str, list[bool]] = defaultdict(list)
    missed = 0
    for one, judgments in pairs:
        for label, judgment in zip(one.supported, judgments, strict=True):
            if judgment.supported is None:
                missed += 1
                continue
            score = float(judgment.supported) if judgment.score is None else judgment.score
            scores[one.topic].append(score)
            verdicts[one.topic].append(judgment.supported)
            labels[one.topic].append(label)
    topics = sorted(labels)
    people_T = np.array([np.mean(labels[topic]) for topic in topics])
    judge_T = np.array([np.mean(verdicts[topic]) for topic in topics])
    right = [np.sum(np.equal(verdicts[topic], labels[topic])) for topic in topics]
    counts = [len(labels[topic]) for topic in topics]
    return Agreement(
        model,
        auroc([scores[topic] for topic in topics], [labels[topic] for topic in topics]),
        _pearson(people_T, judge_T),
        ratio(judge_T - people_T, np.ones(len(topics)), unit="difference of shares"),
        ratio(right, counts),
        sum(counts),
        missed,
    )


def topic_hash(topic: str) -> str:
    """Return a short hash of a topic, so that a list of people need not be shipped."""
    return hashlib.sha256(" ".join(topic.casefold().split()).encode()).hexdigest()[:12]


def _pearson(people_T: Floats, judge_T: Floats) -> Score:
    """Return the correlation over topics with its interval."""
    columns = [np.ones(len(people_T)), people_T, judge_T, people_T**2, judge_T**2]

    def statistic(sums: Floats) -> Floats:
        n, x, y, xx, yy, xy = sums.T
        spread = np.clip(xx - x * x / n, 0, None) * np.clip(yy - y * y / n, 0, None)
        result: Floats = np.where(spread > 1e-12, (xy - x * y / n) / np.sqrt(spread), np.nan)
        return result

    return score_sums(
        np.stack([*columns, people_T * judge_T], 1), statistic, unit="correlation"
    )  # fmt: skip
