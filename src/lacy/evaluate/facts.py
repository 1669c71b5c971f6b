"""Facts right, wrong and missing: answers held against a world whose truth is known.

A judge-free FActScore: the world reads the claims out of a text and knows what is true, so
precision is exact. Precision alone rewards silence, hence recall and F1 always stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lacy.evaluate.provenance import Speakers, is_borrowed
from lacy.evaluate.statistics import Score, of_sums, ratio
from lacy.types import Answer, Unit


class ClaimLike(Protocol):
    """Something a text says: ``relation`` has ``value``, at characters ``[start, end)``."""

    @property
    def relation(self) -> str:
        """Name of the fact."""
        ...

    @property
    def value(self) -> str:
        """What the text says it is."""
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
    """What these scores need of a world.

    One that can also tell where a value is due (``World.expects_value``) has ``call_starts`` too.
    """

    def claims(self, text: str) -> Sequence[Any]:
        """The claims that ``text`` makes (see ``ClaimLike``)."""
        ...

    def truth(self, name: str) -> Mapping[str, str]:
        """All facts of one person: relation to value; a relation may be absent."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, judged. ``truth`` is the true value, or None where the person has no such fact."""

    relation: str
    value: str
    start: int
    end: int
    right: bool
    truth: str | None
    borrowed: bool = False
    """Whether a source said it (the span that holds the value's first character)."""


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer, judged: its claims, and the relations it never mentions."""

    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    facts: int
    """Facts that could have been told."""
    repeats: int = 0
    """Times a claim was said again, in agreement with the first."""
    due: int | None = None
    """Calls made where a value was due; None where the world cannot tell."""

    @property
    def right(self) -> int:
        """Claims that are true."""
        return sum(verdict.right for verdict in self.verdicts)

    @property
    def wrong(self) -> int:
        """Claims that are false, contradictory repeats among them."""
        return len(self.verdicts) - self.right


def same_value(a: str, b: str) -> bool:
    """Whether two values are equal but for case and white space."""
    return " ".join(a.casefold().split()) == " ".join(b.casefold().split())


def judge(claims: Iterable[ClaimLike], truth: Mapping[str, str]) -> Graded:
    """Holds claims against the truth about one person.

    The first claim about a relation counts. A repeat that agrees with it counts nothing (saying a
    thing twice earns nothing), a repeat that contradicts it is one more wrong claim, also where it
    happens to be true: a text that says both cannot be relied on.
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
    """Calls at places where a value was due, answered or not.

    Args:
        answer: with a span for each call.
        world: tells from the text before a call whether a value comes next.
        unit: what a call returned. Tokens and words are asked for again within a value; there the
            call is also due inside what a claim says.

    Returns:
        How many; None for a world without ``expects_value``.
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
    """Judges one answer about ``subject``; claims that end within the prompt do not count."""
    given = len(answer.prompt)
    claims = [claim for claim in world.claims(answer.text) if claim.end > given]
    graded = judge(claims, world.truth(subject))
    speakers = Speakers(answer)
    verdicts = tuple(
        Verdict(
            verdict.relation,
            verdict.value,
            verdict.start,
            verdict.end,
            verdict.right,
            verdict.truth,
            is_borrowed(speakers.at(max(verdict.start, given))),
        )
        for verdict in graded.verdicts
    )
    due = due_calls(answer, world, unit=unit)
    return Graded(verdicts, graded.missing, graded.facts, graded.repeats, due)


@dataclass(frozen=True, slots=True)
class FactScores:
    """The facts of a set of answers; every figure has an interval over people."""

    facts_right: Score
    """Precision: right claims by claims."""
    recall: Score
    """Right claims by facts that could have been told."""
    f1: Score
    facts_per_answer: Score
    """Claims per answer, right or wrong."""
    calls_per_answer: Score
    calls_per_fact: Score
    """Times a source was asked, by claims; 1.0 where each value costs one call."""
    calls_per_statement: Score
    """The same by claims and their repeats: a text that tells a fact twice asks for it twice."""
    call_starts: Score
    """Share of calls at places where a value was due (see ``due_calls``)."""
    call_rate: Score
    """Share of generated tokens that were asked for."""
    finished: Score
    """Share of answers that the model ended itself."""
    own_right: Score
    """Precision of the claims in the SLM's own words."""
    borrowed_right: Score
    """Precision of the claims that a source spoke."""
    borrowed: Score
    """Share of claims that a source spoke."""
    by_relation: dict[str, Score]
    """Precision of each relation."""
    right: int
    wrong: int
    missing: int

    def as_dict(self) -> dict[str, Any]:
        """Ready for ``results.json``."""
        plain = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "by_relation"
        }
        return {
            **{k: v.as_dict() if isinstance(v, Score) else v for k, v in plain.items()},
            "by_relation": {k: v.as_dict() for k, v in sorted(self.by_relation.items())},
        }


def score_facts(
    answers: Sequence[Answer],
    subjects: Sequence[str],
    world: TruthLike,
    *,
    unit: Unit = "value",
    seed: int = 0,
) -> FactScores:
    """Scores answers about people of a world.

    Args:
        answers: one text each.
        subjects: whom each answer is about; several answers about one person are added up, so
            that the intervals are over people.
        world: reads claims and knows the truth.
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
    """Right claims and claims of each person (sorted by name), for paired comparisons."""
    table = _by_person(subjects, [(g.right, len(g.verdicts)) for g in graded])
    return table[:, 0], table[:, 1]


def summarise(
    answers: Sequence[Answer], subjects: Sequence[str], graded: Sequence[Graded], *, seed: int = 0
) -> FactScores:
    """Adds up judged answers (see ``score_facts``)."""
    table = counts(answers, subjects, graded)[1]
    column = {name: table[:, i] for i, name in enumerate(COLUMNS)}

    def share(top: str, bottom: str, unit: str = "share", *, chance: bool = True) -> Score:
        return ratio(column[top], column[bottom], unit=unit, chance=chance, seed=seed)

    f1 = of_sums(
        np.stack([column["right"], column["claims"] + column["facts"]], 1),
        lambda sums: 2.0 * sums[:, 0] / sums[:, 1],
        seed=seed,
    )
    return FactScores(
        facts_right=share("right", "claims"),
        recall=share("right", "facts"),
        f1=f1,
        facts_per_answer=share("claims", "answers", "facts per answer"),
        calls_per_answer=share("calls", "answers", "calls per answer"),
        calls_per_fact=share("calls", "claims", "calls per fact"),
        calls_per_statement=share("calls", "statements", "calls per statement"),
        call_starts=share("due", "calls"),
        call_rate=share("called", "tokens", chance=False),
        finished=share("finished", "answers"),
        own_right=share("own_right", "own"),
        borrowed_right=share("borrowed_right", "borrowed"),
        borrowed=share("borrowed", "claims", chance=False),
        by_relation=_by_relation(subjects, graded, seed),
        right=int(column["right"].sum()),
        wrong=int(column["claims"].sum() - column["right"].sum()),
        missing=sum(len(judged.missing) for judged in graded),
    )


COLUMNS = (
    "answers", "right", "claims", "facts", "calls", "called", "tokens", "finished",
    "own", "own_right", "borrowed", "borrowed_right", "statements", "due",
)  # fmt: skip
"""What is counted of each person; every figure is a function of the sums of some of these.
``due`` is NaN where the world cannot tell."""


def counts(
    answers: Sequence[Answer], subjects: Sequence[str], graded: Sequence[Graded]
) -> tuple[list[str], np.ndarray]:
    """The people by name, and ``COLUMNS`` of each: what scores of several models are made from."""
    rows = [_row(answer, judged) for answer, judged in zip(answers, graded, strict=True)]
    return sorted(set(subjects)), _by_person(subjects, rows)


def _row(answer: Answer, judged: Graded) -> tuple[float, ...]:
    borrowed = [verdict for verdict in judged.verdicts if verdict.borrowed]
    borrowed_right = sum(verdict.right for verdict in borrowed)
    claims = len(judged.verdicts)
    return (
        1, judged.right, claims, judged.facts, answer.calls, answer.called_tokens, answer.tokens,
        answer.finished, claims - len(borrowed), judged.right - borrowed_right, len(borrowed),
        borrowed_right, claims + judged.repeats, math.nan if judged.due is None else judged.due,
    )  # fmt: skip


def _by_person(subjects: Sequence[str], rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Adds the rows of each person; one row per person, sorted by name."""
    width = len(rows[0]) if rows else len(COLUMNS)
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
        said = table[table[:, 1] > 0]
        scores[relation] = ratio(said[:, 0], said[:, 1], seed=seed)
    return scores
