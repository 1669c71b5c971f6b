"""Deletion audit: is a fact gone once it is deleted from the database?

Each fact is asked for in four states, as in LMLMAudit (arXiv 2607.00605), which has the first
three:

- ``FULL``: the fact is in the database;
- ``DEL-ON``: the fact is deleted, and the rest of the database answers calls;
- ``DEL-OFF``: no source; what the model still says, it has memorized or guessed;
- ``EDITED``: the fact has another value, and only that is right.

Rows are deleted and edited in copies in a temporary folder, never in the user's database. All rows
that state the fact in other words are deleted with it (alias closure). An answer states a value if
it contains one of its spellings as whole words. Prompts that contain the value themselves are
counted and not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy.evaluate.audit_asking import (
    STATES,
    AuditAnswer,
    AuditQuestion,
    ByStream,
    Copies,
    State,
    ask_together,
    audit_questions,
    grouped_questions,
)
from lacy.evaluate.audit_facts import FORMS, AuditedDatabase, states_value
from lacy.results import (
    NO_DATA,
    AnswerStore,
    Result,
    UnitCounts,
    answer_key,
    ratio_scores,
    results_of,
)

if TYPE_CHECKING:
    from lacy.cascade import Policy

AUDIT_TOKENS = 32
"""Default maximum number of tokens of an answer; a short factual phrase is asked for."""

BATCH = 16
"""Number of prompts that are answered together."""

ALL = "all"
"""Name of the condition over all databases."""

AUDIT_COUNTS = (
    "full", "full_right", "deleted", "deleted_right", "deleted_sourced", "deleted_rows", "off",
    "off_right", "edited", "edited_right", "edited_old",
)  # fmt: skip
"""Counts of the prompts of one fact: asked, and answered with the value, in each state. In
``DEL-ON``: answered by any row, and with the deleted value from a row; when edited: with the old
value."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """All answers of an audit, and their scores."""

    policy: str
    facts: int
    """Number of facts."""
    skipped: Mapping[str, int]
    """Number of prompts that were not asked, by reason."""
    outcomes: Mapping[str, Mapping[str, int]]
    """Number of answers by state and outcome."""
    leaks: tuple[Mapping[str, str], ...]
    """Answers that state a deleted value although the source was on: database, form, prompt,
    answer, and the row that stated it, or "" for the model's own words."""
    seed: int = 0
    answers: tuple[AuditAnswer, ...] = field(default=(), metadata=NO_DATA)

    def results(self) -> list[Result]:
        """Return the scores over all, by database, by variant and by prompt form.

        The facts are resampled for the intervals: the prompts of one fact count together.
        """
        found: list[Result] = []
        common = {"condition": ALL, "policy": self.policy}
        for group, answers in _groups(self.answers).items():
            scores = ratio_scores(audit_counts(answers), seed=self.seed)
            name = dict(group)
            more = {**common, **name, **({"group": " ".join(name.values())} if name else {})}
            found += results_of(scores, seed=self.seed, conditions=more)
        for reason, number in self.skipped.items():
            total = self.asked + sum(self.skipped.values())
            found.append(
                Result("prompts_skipped", number, number, number, total, "prompts", self.seed,
                       {**common, "group": reason})
            )  # fmt: skip
        return found

    def units(self) -> list[UnitCounts]:
        """Return the counts of each fact, and its answers while it is in the database."""
        names: dict[str, list[str]] = {}
        for answer in self.answers:
            fact = answer.fact
            said = names.setdefault(
                f"{answer.database}: {fact.subject} · {fact.relation} · {fact.value}", []
            )
            if answer.state == "FULL":
                said.append(answer.text)
        conditions = {"condition": ALL, "policy": self.policy}
        texts = tuple("\n".join(said) for said in names.values())
        return [UnitCounts(conditions, tuple(names), audit_counts(self.answers), texts)]

    @property
    def asked(self) -> int:
        """Number of prompts that were asked in at least one state."""
        return len({(a.database, a.form, a.fact.subject, a.fact.relation, a.fact.value)
                    for a in self.answers})  # fmt: skip


def evaluate_audit(
    loaded: Any,
    databases: Sequence[AuditedDatabase],
    *,
    policy: Policy | str = "threshold=0",
    states: Sequence[State] = STATES,
    forms: Sequence[str] = FORMS,
    max_new_tokens: int = AUDIT_TOKENS,
    seed: int = 0,
    store: AnswerStore | None = None,
    identity: str = "",
    progress: Callable[[int, int], object] = lambda done, total: None,
    **settings: Any,
) -> AuditResult:
    """Ask a model for facts that are in its database, deleted from it, or edited.

    Args:
        loaded: the model.
        databases: the facts and prompts, from ``read_audit``.
        policy: when to call.
        states: the states of the database.
        forms: the forms of prompts.
        max_new_tokens: maximum number of tokens per answer.
        seed: seed of the edited values and the bootstrap.
        store: keeps the answers, so that a stopped audit goes on; rows, prompts, policy and limits
            are part of the keys.
        identity: names the model in the keys, if the store has answers of several.
        progress: called with the number of answers so far and the number of all.
        settings: other arguments of ``lacy.cascade.Engine``.
    """
    from lacy.cascade import Engine

    skipped: Counter[str] = Counter()
    questions: list[AuditQuestion] = []
    for database in databases:
        skipped.update(database.skipped)
        questions += audit_questions(database, states, forms, seed, skipped)
    source = ByStream()
    options = {"batch_size": BATCH, "max_new_tokens": max_new_tokens, **settings}
    on = Engine(loaded, source, policy, **options)
    off = Engine(loaded, None, "never", **options)
    common = [identity, str(on.policy), max_new_tokens, on.unit, on.read_until]
    common += [on.unknown] if on.unknown else []
    rows = {database.name: answer_key(database.rows) for database in databases}
    answers: list[AuditAnswer] = []
    with _or_in_memory(store) as kept, Copies() as copies:

        def ask(batch: list[AuditQuestion]) -> Iterator[Any]:
            engine = off if batch[0].state == "DEL-OFF" else on
            return iter(ask_together(engine, batch, source, copies.of(batch)))

        total = len(questions)
        # Facts of one state and database are asked together: they share an open copy.
        for group in grouped_questions(questions).values():
            found = kept.answers(
                group,
                lambda q: answer_key(*common, rows[q.database.name], *q.key),
                ask,
                batch=BATCH,
            )
            for question, answer in zip(group, found, strict=True):
                answers.append(question.answer(answer))
                progress(len(answers), total)
    return AuditResult(
        str(on.policy), sum(len(d.facts) for d in databases), dict(skipped),
        _outcomes(answers), tuple(_leaks(answers)), seed, tuple(answers),
    )  # fmt: skip


def audit_counts(answers: Iterable[AuditAnswer]) -> dict[str, np.ndarray]:
    """Return the counts of each fact by name (``AUDIT_COUNTS``)."""
    rows: dict[tuple[str, ...], Counter[str]] = {}
    for answer in answers:
        fact = answer.fact
        row = rows.setdefault((answer.database, fact.subject, fact.relation, fact.value), Counter())
        if answer.state == "FULL":
            row.update(full=1, full_right=answer.right)
        elif answer.state == "DEL-ON":
            row.update(deleted=1, deleted_right=answer.right, deleted_sourced=answer.sourced,
                       deleted_rows=bool(answer.row))  # fmt: skip
        elif answer.state == "DEL-OFF":
            row.update(off=1, off_right=answer.right)
        else:
            old = states_value(answer.text, fact.accepted)
            row.update(edited=1, edited_right=answer.right, edited_old=old)
    return {name: np.array([row[name] for row in rows.values()], float) for name in AUDIT_COUNTS}


# ------------------------------------------------------------------------------------- the outcome


def _groups(answers: Sequence[AuditAnswer]) -> dict[tuple[tuple[str, str], ...], list[AuditAnswer]]:
    """Return all answers, and those by database, by variant and by form."""
    groups: dict[tuple[tuple[str, str], ...], list[AuditAnswer]] = {(): []}
    for answer in answers:
        variant = answer.database.rpartition(" ")[2]
        for group in (
            (), (("database", answer.database),), (("variant", variant),), (("form", answer.form),),
        ):  # fmt: skip
            groups.setdefault(group, []).append(answer)
    return groups


def _outcomes(answers: Sequence[AuditAnswer]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for answer in answers:
        counted.setdefault(answer.state, Counter())[answer.outcome] += 1
    return {state: dict(counts.most_common()) for state, counts in counted.items()}


def _leaks(answers: Sequence[AuditAnswer]) -> Iterator[dict[str, str]]:
    for answer in answers:
        if answer.state == "DEL-ON" and answer.right:
            yield {
                "database": answer.database, "form": answer.form,
                "prompt": answer.fact.prompts[answer.form], "answer": answer.text,
                "deleted": answer.fact.value, "row": answer.row,
            }  # fmt: skip


@contextmanager
def _or_in_memory(store: AnswerStore | None) -> Iterator[AnswerStore]:
    if store is not None:
        yield store
        return
    with AnswerStore() as kept:
        yield kept
