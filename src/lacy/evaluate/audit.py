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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lacy.evaluate.audit_data import (
    FORMS,
    AuditedDatabase,
    AuditFact,
    Row,
    states_value,
    write_rows,
)
from lacy.evaluate.questions import question_sequence
from lacy.results import NO_DATA, AnswerStore, Result, answer_key, ratio_scores, results_of
from lacy.types import Reply, Request

if TYPE_CHECKING:
    from lacy.cascade import Engine, Policy
    from lacy.sources import Database

State = Literal["FULL", "DEL-ON", "DEL-OFF", "EDITED"]
STATES: tuple[State, ...] = ("FULL", "DEL-ON", "DEL-OFF", "EDITED")

AUDIT_TOKENS = 24
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
class AuditAnswer:
    """One answer and its verdict."""

    database: str
    fact: AuditFact
    form: str
    state: State
    text: str
    spans: tuple[tuple[str, str, str, str], ...]
    """Text, speaker, evidence and why there is no answer, for each span of the answer."""
    due: tuple[str, ...]
    """The spellings of the value that is right in this state (deleted: that would be right)."""

    @property
    def right(self) -> bool:
        """True if it states the value."""
        return states_value(self.text, self.due)

    @property
    def sourced(self) -> bool:
        """True if a part of it comes from a row."""
        return any(speaker != "slm" for _, speaker, _, _ in self.spans)

    @property
    def row(self) -> str:
        """The row that stated the value, or ""."""
        return next(
            (e for text, speaker, e, _ in self.spans
             if speaker != "slm" and states_value(text, self.due)), ""
        )  # fmt: skip

    @property
    def outcome(self) -> str:
        """What happened, in a few words."""
        if self.right:
            return "right, from a row" if self.row else "right, in the model's own words"
        if self.sourced:
            return "another row"
        if not self.text.strip():
            return "empty"
        missing = next((m for *_, m in self.spans if m), "")
        return f"no row: {missing}" if missing else "not asked"


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
        store: keeps the answers, so that a stopped audit goes on. It must belong to this model;
            rows, prompts, policy and limits are part of the keys.
        progress: called with the number of answers so far and the number of all.
        settings: other arguments of ``lacy.cascade.Engine``.
    """
    from lacy.cascade import Engine

    skipped: Counter[str] = Counter()
    questions: list[_Question] = []
    for database in databases:
        skipped.update(database.skipped)
        for question in _questions(database, states, forms, seed, skipped):
            questions.append(question)
    source = _ByStream()
    options = {"batch_size": BATCH, "max_new_tokens": max_new_tokens, **settings}
    on = Engine(loaded, source, policy, **options)
    off = Engine(loaded, None, "never", **options)
    common = [str(on.policy), max_new_tokens, on.unit, on.read_until]
    rows = {database.name: answer_key(database.rows) for database in databases}
    answers: list[AuditAnswer] = []
    with _or_in_memory(store) as kept, TemporaryDirectory() as folder:
        copies = _Copies(Path(folder))

        def ask(batch: list[_Question]) -> Iterator[Any]:
            engine = off if batch[0].state == "DEL-OFF" else on
            with copies.opened(batch) as opened:
                return iter(_ask(engine, batch, source, opened))

        total = len(questions)
        # Facts of one state and database are asked together: they share an open copy.
        for group in _grouped(questions).values():
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


# ------------------------------------------------------------------------------------- the prompts


class _Question(NamedTuple):
    """A prompt in one state of its database."""

    database: AuditedDatabase
    fact: AuditFact
    form: str
    state: State
    new: str
    """The edited value, if the state is ``EDITED``."""

    @property
    def prompt(self) -> str:
        return self.fact.prompts[self.form]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the answer depends on, apart from the model and the rows."""
        if self.state == "DEL-OFF":
            return (self.state, self.form == "continuations", self.prompt)
        fact = self.fact
        deleted = [fact.subject, fact.relation, fact.value, fact.subjects, fact.relations]
        changed = [] if self.state == "FULL" else [deleted, fact.values, self.new]
        if self.database.together and changed:
            changed.append([[f.subject, f.relation, f.value] for f in self.database.facts])
        return (self.state, self.form == "continuations", self.prompt, changed)

    def answer(self, data: Mapping[str, Any]) -> AuditAnswer:
        """Return the stored answer with its verdict."""
        due = (self.new,) if self.state == "EDITED" else self.fact.accepted
        spans = tuple(tuple(span) for span in data["spans"])
        return AuditAnswer(
            self.database.name, self.fact, self.form, self.state, data["text"], spans, due
        )  # fmt: skip


def _questions(
    database: AuditedDatabase,
    states: Sequence[State],
    forms: Sequence[str],
    seed: int,
    skipped: Counter[str],
) -> Iterator[_Question]:
    """Yield the prompts of a database in all states, and count those that cannot be asked."""
    for fact in database.facts:
        new = database.other_value(fact, seed) if "EDITED" in states else None
        for form in forms:
            if form not in fact.prompts:
                skipped[f"no prompt of the form {form}"] += 1
            elif fact.is_given(form):
                skipped["the prompt contains the value"] += 1
            else:
                for state in states:
                    if state == "EDITED" and new is None:
                        skipped["no other value to edit the fact to"] += 1
                    else:
                        yield _Question(database, fact, form, state, new or "")


def _grouped(questions: Sequence[_Question]) -> dict[tuple[str, State], list[_Question]]:
    groups: dict[tuple[str, State], list[_Question]] = {}
    for question in questions:
        groups.setdefault((question.database.name, question.state), []).append(question)
    return groups


# ------------------------------------------------------------------------------------ the databases


class _ByStream:
    """A source that asks another database for each text."""

    name = "database"

    def __init__(self) -> None:
        self.by_stream: dict[int, Database] = {}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask each text's own database."""
        return [(await self.by_stream[r.stream].ask([r]))[0] for r in requests]


class _Copies:
    """Writes and opens copies of databases in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    @contextmanager
    def opened(self, questions: Sequence[_Question]) -> Iterator[list[Database | None]]:
        """Yield the database of each question; equal ones are opened once."""
        from lacy.sources import Database

        with ExitStack() as stack:
            known: dict[tuple[Row, ...], Database] = {}
            found: list[Database | None] = []
            for question in questions:
                if question.state == "DEL-OFF":
                    found.append(None)
                    continue
                rows = _changed_rows(question)
                if rows not in known:
                    self.number += 1
                    path = write_rows(self.folder / f"{self.number}.sqlite", rows)
                    stack.callback(path.unlink)
                    known[rows] = stack.enter_context(Database(path, name="database"))
                found.append(known[rows])
            yield found


def _changed_rows(question: _Question) -> tuple[Row, ...]:
    """Return the rows of a question's database in its state."""
    database = question.database
    if question.state == "FULL":
        return database.rows
    facts = database.facts if database.together and question.state == "DEL-ON" else [question.fact]
    found = []
    for row in database.rows:
        if not any(fact.states(row) for fact in facts):
            found.append(row)
        elif question.state == "EDITED":
            found.append((row[0], row[1], question.new))
    return tuple(dict.fromkeys(found))


def _ask(
    engine: Engine,
    questions: Sequence[_Question],
    source: _ByStream,
    databases: Sequence[Database | None],
) -> list[dict[str, Any]]:
    """Return the answers to questions that are asked together."""
    sequences = []
    for number, (question, database) in enumerate(zip(questions, databases, strict=True)):
        if question.form == "continuations":
            limit = int(engine.max_new_tokens)
            sequence = engine.sequence(number, question.prompt, None, limit)
        else:
            sequence = question_sequence(engine, question.prompt, number)
        if database is not None:
            source.by_stream[sequence.stream] = database
        sequences.append(sequence)
    engine.run(sequences)
    source.by_stream.clear()
    answers = [sequence.answer() for sequence in sequences]
    return [
        {
            "text": answer.continuation,
            "spans": [
                (s.text, s.speaker, s.evidence, s.missing)
                for s in answer.spans if s.speaker != "prompt"
            ],
        }
        for answer in answers
    ]  # fmt: skip


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
