"""Load the tables of facts, and write them as a database that answers calls."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from lacy.disk import replace_file

SubjectKind = Literal["person", "country", "element"]

_TABLES: Mapping[SubjectKind, str] = {
    "person": "people.tsv", "country": "countries.tsv", "element": "elements.tsv",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A person, country or chemical element with its facts."""

    name: str
    kind: SubjectKind
    facts: Mapping[str, str]
    """Values by relation, such as ``{"birth place": "Warsaw"}``."""


def load_subjects(kinds: Sequence[SubjectKind] = get_args(SubjectKind)) -> list[Subject]:
    """Return all subjects of some kinds, in the order of the tables."""
    subjects = []
    for kind in kinds:
        file = resources.files(__package__) / _TABLES[kind]
        with file.open(encoding="utf-8") as table:
            for row in csv.DictReader(table, delimiter="\t"):
                name = row.pop("name")
                facts = {relation.replace("_", " "): value for relation, value in row.items()}
                subjects.append(Subject(name, kind, facts))
    return subjects


def split_subjects(
    subjects: Sequence[Subject], held_out: int, seed: int = 0
) -> tuple[list[Subject], list[Subject]]:
    """Split subjects at random into those to tune on and those to ask about.

    Args:
        subjects: all subjects.
        held_out: number of subjects to ask about.
        seed: seed of the choice.

    Returns:
        The subjects to tune on, and the others.
    """
    chosen = set(random.Random(seed).sample(range(len(subjects)), min(held_out, len(subjects))))
    rest = [subject for n, subject in enumerate(subjects) if n not in chosen]
    return rest, [subjects[n] for n in sorted(chosen)]


def write_facts(path: str | Path, subjects: Iterable[Subject]) -> Path:
    """Write a database ``fact(subject, relation, value)``, atomically.

    Args:
        path: the SQLite file to write or replace.
        subjects: whose facts are written.
    """
    rows = [(s.name, relation, value) for s in subjects for relation, value in s.facts.items()]
    with replace_file(Path(path)) as half, closing(sqlite3.connect(half)) as database, database:
        database.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        database.execute("CREATE INDEX fact_subject ON fact (subject)")
        database.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    return Path(path)
