"""Ask the prompts of a deletion audit, each with its own copy of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lacy.evaluate.audit_facts import AuditedDatabase, AuditFact, Row, states_value, write_rows
from lacy.evaluate.questions import question_sequence
from lacy.types import Reply, Request

if TYPE_CHECKING:
    from lacy.cascade import Engine
    from lacy.sources import Database

State = Literal["FULL", "DEL-ON", "DEL-OFF", "EDITED"]
STATES: tuple[State, ...] = ("FULL", "DEL-ON", "DEL-OFF", "EDITED")


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


def audit_questions(
    database: AuditedDatabase,
    states: Sequence[State],
    forms: Sequence[str],
    seed: int,
    skipped: Counter[str],
) -> Iterator[AuditQuestion]:
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
                        yield AuditQuestion(database, fact, form, state, new or "")


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
    """Writes and opens copies of databases in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    @contextmanager
    def opened(self, questions: Sequence[AuditQuestion]) -> Iterator[list[Database | None]]:
        """Yield the database of each question; equal ones are opened once."""
        from lacy.sources import Database

        with ExitStack() as stack:
            known: dict[tuple[Row, ...], Database] = {}
            found: list[Database | None] = []
            for question in questions:
                if question.state == "DEL-OFF":
                    found.append(None)
                    continue
                rows = changed_rows(question)
                if rows not in known:
                    self.number += 1
                    path = write_rows(self.folder / f"{self.number}.sqlite", rows)
                    stack.callback(path.unlink)
                    known[rows] = stack.enter_context(Database(path, name="database"))
                found.append(known[rows])
            yield found


def changed_rows(question: AuditQuestion) -> tuple[Row, ...]:
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
