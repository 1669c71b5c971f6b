"""Facts of a deletion audit: what counts as stating one, and which value replaces it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lacy.evaluate.questions import contains_answer, normal_form

FORMS = (
    "direct_questions", "paraphrased_questions", "contextual_questions", "fewshot_questions",
    "cloze", "continuations",
)  # fmt: skip
"""Forms of prompts. ``continuations`` are texts to continue; the others are messages to answer."""

LARGE = 5_000
"""Databases with more rows are audited with all sampled facts deleted together."""

Row = tuple[str, str, str]
"""One row of a facts database: subject, relation, value."""


@dataclass(frozen=True, slots=True)
class AuditFact:
    """A fact to delete, and the prompts that ask for it."""

    subject: str
    relation: str
    value: str
    subjects: tuple[str, ...] = ()
    """Other spellings of the subject."""
    relations: tuple[str, ...] = ()
    """Other names of the relation."""
    values: tuple[str, ...] = ()
    """Other spellings of the value."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """The prompt of each form."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """All spellings of the value."""
        return (self.value, *self.values)

    def states(self, row: Row) -> bool:
        """True if a row states this fact, in any spelling of its parts.

        This is LMLMAudit's deletion by alias closure: all rows that state the fact are deleted.
        """
        own = ((self.subject, *self.subjects), (self.relation, *self.relations), self.accepted)
        return all(
            normal_form(part) in set(map(normal_form, names))
            for part, names in zip(row, own, strict=True)
        )

    def is_given(self, form: str) -> bool:
        """True if the prompt of a form states the value itself, so that any answer may repeat it.

        An example is the nickname "CR7" of a subject that is called CR7.
        """
        return states_value(self.prompts[form], self.accepted)


def states_value(text: str, accepted: Sequence[str]) -> bool:
    """True if a text contains a value in one of its spellings as whole words.

    Case and punctuation do not count, except for codes of up to three letters: ".in" and "IN" are
    not the word "in".
    """
    codes = [value for value in accepted if _is_code(value)]
    words = [value for value in accepted if not _is_code(value)]
    pattern = "|".join(re.escape(code.strip()) for code in codes)
    found = codes and re.search(rf"(?<![\w.])(?:{pattern})(?!\w)", text)
    return bool(found) or contains_answer(text, words)


def _is_code(value: str) -> bool:
    letters = re.sub(r"[\W_]", "", value)
    return len(letters) <= 3 and not value.strip().isdigit()


@dataclass(frozen=True, slots=True)
class AuditedDatabase:
    """A database of facts, and those of its facts that are audited."""

    name: str
    """Such as ``countries base``."""
    rows: tuple[Row, ...]
    facts: tuple[AuditFact, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of prompts that cannot be used, by reason."""

    @property
    def together(self) -> bool:
        """True if all facts are deleted at once instead of one at a time."""
        return len(self.rows) > LARGE

    def sample(self, count: int | None, seed: int = 0) -> AuditedDatabase:
        """Return the database with a random sample of its facts, in their order."""
        if count is None or count >= len(self.facts):
            return self
        chosen = sorted(random.Random(f"{seed} {self.name}").sample(range(len(self.facts)), count))
        return replace(self, facts=tuple(self.facts[n] for n in chosen))

    def other_value(self, fact: AuditFact, seed: int = 0) -> str | None:
        """Return a wrong value for a fact: that of another subject, of the same relation if any.

        None of the subject's own values is chosen, no value that overlaps in words with the true
        one ("Mexico" and "Mexico City"), and none that a prompt of the fact contains.
        """
        subjects = set(map(normal_form, (fact.subject, *fact.subjects)))
        relations = set(map(normal_form, (fact.relation, *fact.relations)))
        own = {normal_form(v) for s, _, v in self.rows if normal_form(s) in subjects}

        def may_replace(value: str) -> bool:
            if normal_form(value) in own or not normal_form(value):
                return False
            texts = (*fact.accepted, *fact.prompts.values())
            return not states_value(value, fact.accepted) and not any(
                states_value(text, [value]) for text in texts
            )

        same = [v for _, r, v in self.rows if normal_form(r) in relations and may_replace(v)]
        others = same or [v for _, _, v in self.rows if may_replace(v)]
        key = f"{seed} {fact.subject} {fact.relation}"
        return random.Random(key).choice(sorted(set(others))) if others else None


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    """Write rows as a SQLite table ``fact`` that ``lacy.sources.Database`` opens; return its path.

    The file must not exist yet.
    """
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
        db.execute("CREATE INDEX by_subject ON fact (subject)")
    return path
