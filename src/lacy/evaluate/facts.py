"""Count right, wrong and missing facts in answers, against a world whose facts are known.

This is FActScore without a judge: the world parses the claims of a text and knows the truth, so
precision is exact. Precision alone rewards silence, so recall and F1 are always reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.results import Score, ratio, ratio_scores
from lacy.types import Answer, Unit

if TYPE_CHECKING:
    from lacy.world import StatedFact


class TruthLike(Protocol):
    """The part of a world that these scores need.

    If it also has ``expects_value``, which tells whether a value is due after a text, the metric
    ``call_starts`` is measured too.
    """

    def claims(self, text: str) -> Sequence[StatedFact]:
        """Return the claims of a text."""
        ...

    def truth(self, name: str) -> Mapping[str, str]:
        """Return all facts of one person by relation; a relation may be absent."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged claim."""

    relation: str
    value: str
    start: int
    end: int
    right: bool
    truth: str | None
    """The true value; None if the person has no such fact."""
    borrowed: bool = False
    """True if the first character of the value comes from a source."""


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """One judged answer: its claims, and the relations that it does not mention."""

    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    facts: int
    """Number of facts that could have been stated."""
    repeats: int = 0
    """Number of repeated claims that agree with the first."""
    due: int | None = None
    """Number of calls where a value was due; None if the world cannot tell."""

    @property
    def right(self) -> int:
        """Number of true claims."""
        return sum(verdict.right for verdict in self.verdicts)

    @property
    def wrong(self) -> int:
        """Number of false claims, including contradictory repeats."""
        return len(self.verdicts) - self.right


def same_value(a: str, b: str) -> bool:
    """True if two values are equal, ignoring case and white space."""
    return " ".join(a.casefold().split()) == " ".join(b.casefold().split())


def judge(claims: Iterable[StatedFact], truth: Mapping[str, str]) -> GradedAnswer:
    """Compare claims with the facts about one person.

    Only the first claim about a relation counts. A repeat that agrees with it is ignored. A repeat
    that contradicts it is one more wrong claim, even if it is true, because a text that states both
    cannot be relied on.
    """
    first: dict[str, str] = {}
    verdicts, repeats = [], 0
    for claim in sorted(claims, key=lambda claim: (claim.start, claim.end)):
        true_value, is_repeat = truth.get(claim.relation), claim.relation in first
        if same_value(first.setdefault(claim.relation, claim.value), claim.value) and is_repeat:
            repeats += 1
            continue
        right = not is_repeat and true_value is not None and same_value(true_value, claim.value)
        verdicts.append(
            Verdict(claim.relation, claim.value, claim.start, claim.end, right, true_value)
        )
    missing = tuple(relation for relation in truth if relation not in first)
    return GradedAnswer(tuple(verdicts), missing, len(truth), repeats)


def due_calls(answer: Answer, world: TruthLike, *, unit: Unit = "value") -> int | None:
    """Count the calls, answered or not, at places where a value was due.

    Args:
        answer: the answer.
        world: tells from the text before a call whether a value is due.
        unit: how much text one call returned. If it was a token or a word, calls inside the value
            of a claim count as well.

    Returns:
        The number of calls, or None for a world without ``expects_value``.
    """
    expects_value = getattr(world, "expects_value", None)
    if expects_value is None:
        return None
    text = answer.text
    values = [] if unit == "value" else [(c.start, c.end) for c in world.claims(text)]
    due = position = 0
    for span in answer.spans:
        if span.asked:
            inside = any(start < position < end for start, end in values)
            due += inside or expects_value(text[:position]) is not None
        position += len(span.text)
    return due


def grade(answer: Answer, subject: str, world: TruthLike, *, unit: Unit = "value") -> GradedAnswer:
    """Judge one answer about ``subject``; claims that the prompt makes do not count."""
    prompt_end = len(answer.prompt)
    claims = [claim for claim in world.claims(answer.text) if claim.end > prompt_end]
    judged = judge(claims, world.truth(subject))
    spans = SpanLookup(answer)
    verdicts = tuple(
        replace(v, borrowed=is_borrowed(spans.at(max(v.start, prompt_end))))
        for v in judged.verdicts
    )
    return replace(judged, verdicts=verdicts, due=due_calls(answer, world, unit=unit))


@dataclass(frozen=True, slots=True)
class FactScores:
    """Scores of a set of answers, read as ``facts["recall"]``; intervals are over people."""

    scores: dict[str, Score]
    """The scores by metric: all of ``RATIOS``."""
    by_relation: dict[str, Score]
    """Share of right claims for each relation."""
    right: int
    wrong: int
    missing: int

    def __getitem__(self, metric: str) -> Score:
        return self.scores[metric]


def score_facts(
    answers: Sequence[Answer],
    subjects: Sequence[str],
    world: TruthLike,
    *,
    unit: Unit = "value",
    seed: int = 0,
) -> FactScores:
    """Score answers about people of a world.

    Args:
        answers: the answers to score.
        subjects: the person that each answer is about. The counts of several answers about one
            person are added up, because people are resampled for the intervals.
        world: parses claims and knows the truth.
        unit: how much text one call returned.
        seed: seed of the bootstrap.

    Raises:
        ValueError: answers and subjects differ in number.
    """
    if len(answers) != len(subjects):
        raise ValueError(f"{len(answers)} answers about {len(subjects)} subjects")
    graded = [grade(a, s, world, unit=unit) for a, s in zip(answers, subjects, strict=True)]
    return summarise(answers, subjects, graded, seed=seed)


def summarise(
    answers: Sequence[Answer],
    subjects: Sequence[str],
    graded: Sequence[GradedAnswer],
    *,
    seed: int = 0,
) -> FactScores:
    """Score answers that are already judged (see ``score_facts``)."""
    columns = dict(zip(COUNTS, person_counts(answers, subjects, graded)[1].T, strict=True))
    return FactScores(
        scores=ratio_scores(columns, seed=seed),
        by_relation=_by_relation(subjects, graded, seed),
        right=int(columns["right"].sum()),
        wrong=int(columns["claims"].sum() - columns["right"].sum()),
        missing=sum(len(judged.missing) for judged in graded),
    )


COUNTS: dict[str, Callable[[Answer, GradedAnswer], float]] = {
    "answers": lambda _, judged: 1,
    "right": lambda _, judged: judged.right,
    "claims": lambda _, judged: len(judged.verdicts),
    "facts": lambda _, judged: judged.facts,
    "calls": lambda answer, _: answer.calls,
    "called": lambda answer, _: answer.called_tokens,
    "tokens": lambda answer, _: answer.tokens,
    "finished": lambda answer, _: answer.finished,
    "own": lambda _, judged: sum(not v.borrowed for v in judged.verdicts),
    "own_right": lambda _, judged: sum(v.right and not v.borrowed for v in judged.verdicts),
    "borrowed": lambda _, judged: sum(v.borrowed for v in judged.verdicts),
    "borrowed_right": lambda _, judged: sum(v.right and v.borrowed for v in judged.verdicts),
    "statements": lambda _, judged: len(judged.verdicts) + judged.repeats,
    "due": lambda _, judged: math.nan if judged.due is None else judged.due,
}
"""Functions that count something in an answer; the metrics of answers are ratios of sums of these
counts. ``due`` is NaN if the world cannot tell."""


def person_counts(
    answers: Sequence[Answer], subjects: Sequence[str], graded: Sequence[GradedAnswer]
) -> tuple[list[str], np.ndarray]:
    """Return the sorted names of the people, and for each a row with the sums of ``COUNTS``."""
    rows = [
        [count(answer, judged) for count in COUNTS.values()]
        for answer, judged in zip(answers, graded, strict=True)
    ]
    return sorted(set(subjects)), _by_person(subjects, rows)


def _by_person(subjects: Sequence[str], rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Sum the rows of each person; return one row per person, sorted by name."""
    width = len(rows[0]) if rows else len(COUNTS)
    people, index = np.unique(np.asarray(subjects, dtype=object), return_inverse=True)
    table = np.zeros((len(people), width))
    if rows:
        np.add.at(table, index, np.asarray(rows, float))
    return table


def _by_relation(
    subjects: Sequence[str], graded: Sequence[GradedAnswer], seed: int
) -> dict[str, Score]:
    relations = sorted({verdict.relation for judged in graded for verdict in judged.verdicts})
    scores = {}
    for relation in relations:
        about = [[v.right for v in judged.verdicts if v.relation == relation] for judged in graded]
        table = _by_person(subjects, [(sum(rights), len(rights)) for rights in about])
        stated = table[table[:, 1] > 0]
        scores[relation] = ratio(stated[:, 0], stated[:, 1], seed=seed)
    return scores
