"""Ask the prompts of a deletion audit, each with its own copy of the database."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lacy.evaluate.audit_facts import AuditedDatabase, AuditFact, Row, states_value, write_rows
from lacy.evaluate.questions import normal_form, question_sequence
from lacy.types import Reply, Request

if TYPE_CHECKING:
    from lacy.cascade import Engine
    from lacy.sources import Database

State = Literal["FULL", "DEL-ON", "DEL-OFF", "EDITED"]
STATES: tuple[State, ...] = ("FULL", "DEL-ON", "DEL-OFF", "EDITED")

KEPT_OPEN = 4
"""Number of copies that stay open between batches of prompts."""


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


# ------------------------------------------------------------------------------------- the prompts


class AuditQuestion(NamedTuple):
    """A prompt in one state of its database."""

    database: AuditedDatabase
    fact: AuditFact
    form: str
    state: State
    new: str
    """The edited value, if the state is ``EDITED``."""
    all_new: tuple[str | None, ...] = ()
    """The edited values of all facts of the database, if they are changed together."""

    @property
    def copy(self) -> tuple[Any, ...]:
        """A key of the copy of the database that answers: equal for questions that share it."""
        if self.state == "FULL" or self.database.together:
            return (self.database.name, self.state)
        fact = self.fact
        return (self.database.name, self.state, fact.subject, fact.relation, fact.value, self.new)

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return self.fact.prompts[self.form]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the answer depends on, apart from the model and the rows."""
        if self.state == "DEL-OFF":
            return (self.state, self.form == "continuations", self.prompt)
        fact = self.fact
        deleted = [fact.subject, fact.relation, fact.value, fact.subjects, fact.relations]
        changed: list[Any] = [] if self.state == "FULL" else [deleted, fact.values, self.new]
        if self.database.together and changed:
            changed.append([[f.subject, f.relation, f.value] for f in self.database.facts])
            changed.append(self.all_new)
        return (self.state, self.form == "continuations", self.prompt, changed)

    def answer(self, data: Mapping[str, Any]) -> AuditAnswer:
        """Return the stored answer with its verdict."""
        due = (self.new,) if self.state == "EDITED" else self.fact.accepted
        spans = tuple(tuple(span) for span in data["spans"])
        return AuditAnswer(
            self.database.name, self.fact, self.form, self.state, data["text"], spans, due
        )  # fmt: skip


def audit_questions(
    database: AuditedDatabase,
    states: Sequence[State],
    forms: Sequence[str],
    seed: int,
    skipped: Counter[str],
) -> Iterator[AuditQuestion]:
    """Yield the prompts of a database in all states, and count those that cannot be asked."""
    edits: tuple[str | None, ...] = (None,) * len(database.facts)
    if "EDITED" in states:
        edits = tuple(database.other_value(fact, seed) for fact in database.facts)
    for fact, new in zip(database.facts, edits, strict=True):
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
                        all_new = edits if database.together else ()
                        yield AuditQuestion(database, fact, form, state, new or "", all_new)


def grouped_questions(
    questions: Sequence[AuditQuestion],
) -> dict[tuple[str, State], list[AuditQuestion]]:
    """Return the questions by database and state; each group is asked together."""
    groups: dict[tuple[str, State], list[AuditQuestion]] = {}
    for question in questions:
        groups.setdefault((question.database.name, question.state), []).append(question)
    return groups


# ------------------------------------------------------------------------------------ the databases


class ByStream:
    """A source that asks another database for each text."""

    name = "database"

    def __init__(self) -> None:
        self.by_stream: dict[int, Database] = {}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask each text's own database."""
        return [(await self.by_stream[r.stream].ask([r]))[0] for r in requests]


class Copies:
    """Copies of databases in a temporary folder, each with its changed rows. A context manager.

    The copies that were used last stay open, because many prompts are asked of each.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: OrderedDict[Any, tuple[Database, Path]] = OrderedDict()
        self._number = 0

    def __enter__(self) -> Copies:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory()))
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._close_oldest()
        self._stack.close()

    def of(self, questions: Sequence[AuditQuestion]) -> list[Database | None]:
        """Return the database of each question; they stay open until the next call."""
        needed = {question.copy: question for question in questions if question.state != "DEL-OFF"}
        for name in needed:
            if name in self._open:
                self._open.move_to_end(name)
        for name, question in needed.items():
            if name not in self._open:
                self._open[name] = self._written(question)
        while len(self._open) > max(len(needed), KEPT_OPEN):
            self._close_oldest()
        return [None if q.state == "DEL-OFF" else self._open[q.copy][0] for q in questions]

    def _written(self, question: AuditQuestion) -> tuple[Database, Path]:
        from lacy.sources import Database

        self._number += 1
        path = write_rows(self._folder / f"{self._number}.sqlite", changed_rows(question))
        return Database(path, name="database"), path

    def _close_oldest(self) -> None:
        _, (database, path) = self._open.popitem(last=False)
        database.close()
        path.unlink()


def changed_rows(question: AuditQuestion) -> tuple[Row, ...]:
    """Return the rows of a question's database in its state."""
    database = question.database
    if question.state == "FULL":
        return database.rows
    changes: list[tuple[AuditFact, str | None]] = [(question.fact, question.new)]
    if database.together:
        changes = list(zip(database.facts, question.all_new, strict=True))
    by_subject: dict[str, list[tuple[AuditFact, str | None]]] = {}
    for fact, new in changes:
        for name in {normal_form(name) for name in (fact.subject, *fact.subjects)}:
            by_subject.setdefault(name, []).append((fact, new))
    found: dict[Row, None] = {}
    for row in database.rows:
        concerned = by_subject.get(normal_form(row[0]), ())
        change = next((change for change in concerned if change[0].states(row)), None)
        if change is None:
            found[row] = None
        elif question.state == "EDITED":
            found[row if change[1] is None else (row[0], row[1], change[1])] = None
    return tuple(found)


def ask_together(
    engine: Engine,
    questions: Sequence[AuditQuestion],
    source: ByStream,
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
