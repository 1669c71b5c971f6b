"""Right, wrong and missing facts: answers compared with a world whose facts are known.

This is FActScore without a judge: the world parses the claims of a text and knows the truth, so
precision is exact. Precision alone rewards silence, so recall and F1 are always reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.evaluate.results import ratio_scores
from lacy.evaluate.statistics import Score, ratio
from lacy.types import Answer, Unit


class ClaimLike(Protocol):
    """A claim of a text: ``relation`` has ``value``, at characters ``[start, end)``."""

    @property
    def relation(self) -> str:
        """Name of the fact."""
        ...

    @property
    def value(self) -> str:
        """The value that the text states."""
        ...

    @property
    def start(self) -> int:
        """First character of the value."""
        ...

    @property
    def end(self) -> int:
        """Character after the value."""
        ...


class TruthLike(Protocol):
    """The part of a world that these scores need.

    If it also has ``World.expects_value`` (is a value due here?), ``call_starts`` is measured too.
    """

    def claims(self, text: str) -> Sequence[Any]:
        """Return the claims of a text (see ``ClaimLike``)."""
        ...

    def truth(self, name: str) -> Mapping[str, str]:
        """Return all facts of one person by relation; a relation may be absent."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged claim. ``truth`` is the true value, or None if the person has no such fact."""

    relation: str
    value: str
    start: int
    end: int
    right: bool
    truth: str | None
    borrowed: bool = False
    """True if a source wrote it (the span of the value's first character)."""


@dataclass(frozen=True, slots=True)
class Graded:
    """One judged answer: its claims, and the relations that it never mentions."""

    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    facts: int
    """Number of facts that could have been stated."""
    repeats: int = 0
    """Number of repeated claims that agree with the first."""
    due: int | None = None
    """Calls where a value was due; None if the world does not know."""

    @property
    def right(self) -> int:
        """Number of true claims."""
        return sum(verdict.right for verdict in self.verdicts)

    @property
    def wrong(self) -> int:
        """Number of false claims, including contradictory repeats."""
        return len(self.verdicts) - self.right


def same_value(a: str, b: str) -> bool:
    """True if two values are equal up to case and white space."""
    return " ".join(a.casefold().split()) == " ".join(b.casefold().split())


def judge(claims: Iterable[ClaimLike], truth: Mapping[str, str]) -> Graded:
    """Judge claims by the facts about one person.

    The first claim about a relation counts. A repeat that agrees with it does not
    count; a repeat that contradicts it is one more wrong claim, even if it happens to be true,
    because a text that states both cannot be relied on.
    """
    first: dict[str, str] = {}
    verdicts, repeats = [], 0
    for claim in sorted(claims, key=lambda claim: (claim.start, claim.end)):
        known, repeat = truth.get(claim.relation), claim.relation in first
        if same_value(first.setdefault(claim.relation, claim.value), claim.value) and repeat:
            repeats += 1
            continue
        right = not repeat and known is not None and same_value(known, claim.value)
        verdicts.append(Verdict(claim.relation, claim.value, claim.start, claim.end, right, known))
    missing = tuple(relation for relation in truth if relation not in first)
    return Graded(tuple(verdicts), missing, len(truth), repeats)


def due_calls(answer: Answer, world: TruthLike, *, unit: Unit = "value") -> int | None:
    """Count the calls where a value was due, whether answered or not.

    Args:
        answer: with a span for each call.
        world: decides from the text before a call whether a value comes next.
        unit: what a call returned. For tokens and words, calls inside the value of a
            claim are due too.

    Returns:
        The number; None for a world without ``expects_value``.
    """
    expects = getattr(world, "expects_value", None)
    if expects is None:
        return None
    text = answer.text
    values = [] if unit == "value" else [(c.start, c.end) for c in world.claims(text)]
    due = place = 0
    for span in answer.spans:
        if span.asked:
            inside = any(start < place < end for start, end in values)
            due += inside or expects(text[:place]) is not None
        place += len(span.text)
    return due


def grade(answer: Answer, subject: str, world: TruthLike, *, unit: Unit = "value") -> Graded:
    """Judge one answer about ``subject``; claims that end within the prompt do not count."""
    given = len(answer.prompt)
    claims = [claim for claim in world.claims(answer.text) if claim.end > given]
    graded = judge(claims, world.truth(subject))
    speakers = SpanLookup(answer)
    verdicts = tuple(
        replace(v, borrowed=is_borrowed(speakers.at(max(v.start, given)))) for v in graded.verdicts
    )
    return replace(graded, verdicts=verdicts, due=due_calls(answer, world, unit=unit))


@dataclass(frozen=True, slots=True)
class FactScores:
    """Scores of a set of answers, with intervals over people: ``facts["recall"]``."""

    scores: dict[str, Score]
    """By metric: all ratios of ``METRICS``."""
    by_relation: dict[str, Score]
    """Facts right of each relation."""
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
        answers: one text each.
        subjects: the person of each answer; several answers about one person are summed, so that
            intervals are over people.
        world: parses claims and knows the truth.
        unit: how much one call returned.
        seed: of the bootstrap.

    Raises:
        ValueError: answers and subjects differ in number.
    """
    if len(answers) != len(subjects):
        raise ValueError(f"{len(answers)} answers about {len(subjects)} subjects")
    graded = [grade(a, s, world, unit=unit) for a, s in zip(answers, subjects, strict=True)]
    return summarise(answers, subjects, graded, seed=seed)


def precision_counts(
    graded: Sequence[Graded], subjects: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return right claims and claims of each person (sorted by name), for paired comparisons."""
    table = _by_person(subjects, [(g.right, len(g.verdicts)) for g in graded])
    return table[:, 0], table[:, 1]


def summarise(
    answers: Sequence[Answer], subjects: Sequence[str], graded: Sequence[Graded], *, seed: int = 0
) -> FactScores:
    """Add up judged answers (see ``score_facts``)."""
    columns = dict(zip(COUNTS, counts(answers, subjects, graded)[1].T, strict=True))
    return FactScores(
        scores=ratio_scores(columns, seed=seed),
        by_relation=_by_relation(subjects, graded, seed),
        right=int(columns["right"].sum()),
        wrong=int(columns["claims"].sum() - columns["right"].sum()),
        missing=sum(len(judged.missing) for judged in graded),
    )


COUNTS: dict[str, Callable[[Answer, Graded], float]] = {
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
"""What is counted in each answer; ratios of sums of these are the metrics of answers.
``due`` is NaN if the world cannot tell."""


def counts(
    answers: Sequence[Answer], subjects: Sequence[str], graded: Sequence[Graded]
) -> tuple[list[str], np.ndarray]:
    """Return the people by name, and the sums of ``COUNTS`` of each."""
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


def _by_relation(subjects: Sequence[str], graded: Sequence[Graded], seed: int) -> dict[str, Score]:
    relations = sorted({verdict.relation for judged in graded for verdict in judged.verdicts})
    scores = {}
    for relation in relations:
        about = [[v.right for v in judged.verdicts if v.relation == relation] for judged in graded]
        table = _by_person(subjects, [(sum(rights), len(rights)) for rights in about])
        stated = table[table[:, 1] > 0]
        scores[relation] = ratio(stated[:, 0], stated[:, 1], seed=seed)
    return scores
