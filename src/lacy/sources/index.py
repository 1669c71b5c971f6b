"""The index behind ``Documents``: one SQLite file that holds texts, passages, values and words.

A document is stored whole; its passages stand in a full-text index together with whom the document
is about, so that "She was born in ..." is found by the name as well. Only passages that hold a
value are kept. Documents are known by their ids: building again adds new ones and replaces changed
ones, some at a time in a transaction each, so that a build that is stopped leaves whole documents
and goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.annotate.protocol import checked
from lacy.errors import LacyError
from lacy.sources.passages import cut, subject_of, values, words_of
from lacy.types import Document, Mark

if TYPE_CHECKING:
    from lacy.annotate import Annotator

FILE = "documents.sqlite"
APPLICATION, VERSION = 0x6C616379, 1
"""``application_id`` and ``user_version`` of the file."""

BATCH = 64
"""Documents annotated and written together."""

_WAIT = 60.0
"""Seconds to wait for another process that writes."""

_BEGIN = "BEGIN IMMEDIATE"

_TABLES = """
CREATE TABLE document (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, subject TEXT NOT NULL,
  digest BLOB NOT NULL, text TEXT NOT NULL);
CREATE INDEX document_subject ON document (subject);
CREATE TABLE passage (
  id INTEGER PRIMARY KEY, document INTEGER NOT NULL, number INTEGER NOT NULL,
  start INTEGER NOT NULL, stop INTEGER NOT NULL);
CREATE INDEX passage_document ON passage (document);
CREATE TABLE span (
  passage INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
  kind TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX span_passage ON span (passage);
CREATE TABLE kind (name TEXT PRIMARY KEY, alternatives REAL NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (
  subject, text, tokenize = 'porter unicode61 remove_diacritics 2');
"""


@dataclass
class BuildReport:
    """What a build did, filled on the way."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each document that could not be used."""


def alternatives(db: sqlite3.Connection) -> dict[str, float]:
    """``2^entropy`` of each kind's values; what is said twice of one subject counts once."""
    counts: dict[str, list[int]] = {}
    query = (
        "SELECT kind, COUNT(*) FROM (SELECT DISTINCT span.kind, span.value,"
        " CASE subject WHEN '' THEN document.name ELSE subject END FROM span"
        " JOIN passage ON passage.id = span.passage JOIN document ON document.id = document)"
        " GROUP BY kind, value"
    )
    for kind, count in db.execute(query):
        counts.setdefault(kind, []).append(count)
    return {kind: _effective(found) for kind, found in counts.items()}


def _effective(counts: Sequence[int]) -> float:
    total = sum(counts)
    return 2.0 ** (math.log2(total) - sum(n * math.log2(n) for n in counts) / total)


def build(
    documents: Iterable[Document],
    folder: Path,
    extract: Annotator | None,
    report: BuildReport,
) -> None:
    """Writes documents into the index in ``folder``; see ``Documents.build``."""
    if folder.exists() and not folder.is_dir():
        raise LacyError("E16", path=folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise LacyError("E16", path=folder)
    folder.mkdir(parents=True, exist_ok=True)
    finder = _Finder(extract)
    try:
        with closing(sqlite3.connect(folder / FILE, _WAIT, isolation_level=None)) as db:
            _prepare(db)
            rest = iter(documents)
            while batch := list(islice(rest, BATCH)):
                _write(db, batch, finder, report)
            with db:
                db.execute(_BEGIN)
                if not db.execute("SELECT 1 FROM kind").fetchone():
                    db.executemany("INSERT INTO kind VALUES (?, ?)", alternatives(db).items())
    except sqlite3.Error as error:
        raise LacyError("E71", path=folder / FILE, why=str(error)) from error


def _prepare(db: sqlite3.Connection) -> None:
    """Makes the tables in a new file; an error for a file that holds something else."""
    with db:
        db.execute(_BEGIN)
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        elif why := unusable(db):
            raise sqlite3.DatabaseError(why)


def unusable(db: sqlite3.Connection) -> str:
    """Why an open file is no index of this version; empty if it is one."""
    [application], [version] = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        return "it is a database, but no index of documents"
    return "" if version == VERSION else f"it has version {version}, not {VERSION}"


def finder(pipeline: str = "bundled") -> Annotator:
    """What finds values where texts carry no marks: rules on a spaCy pipeline, loaded here.

    Raises:
        LacyError: E11, spaCy is not installed; E30, no such pipeline.
    """
    from lacy.annotate import Rules, SpacyAnnotator

    # A name counts in every passage, also where it was read before.
    rules = Rules(unmark_seen=False, content=False)
    return SpacyAnnotator(pipeline, rules, announce=lambda sentence: None)


class _Finder:
    """Finds the values of texts that carry no marks; the annotator is loaded when first needed."""

    def __init__(self, extract: Annotator | None) -> None:
        self.name = getattr(extract, "name", "") if extract else "bundled"
        self._extract = extract

    def marks(self, documents: Sequence[Document]) -> list[list[Mark]]:
        """Marks of each document."""
        if self._extract is None:
            self._extract = finder()
        texts = [document.text for document in documents]
        more: list[Any] = []
        if getattr(self._extract, "uses_subjects", False):
            more = [[subject_of(document) or None for document in documents]]
        return checked(texts, self._extract.annotate(texts, *more), self.name)


def _write(
    db: sqlite3.Connection, batch: Sequence[Document], finder: _Finder, report: BuildReport
) -> None:
    """Writes those of some documents that are new or changed."""
    fresh: dict[str, tuple[Document, bytes]] = {}
    for document in batch:
        why = _problem(document)
        if why:
            report.skipped.append((str(document.id).encode(errors="replace").decode(), why))
            continue
        digest = _digest(document, finder.name)
        known = db.execute("SELECT digest FROM document WHERE name = ?", (document.id,)).fetchone()
        if document.id not in fresh and known and known[0] == digest:
            report.unchanged += 1
        else:
            fresh[document.id] = document, digest
    bare = [document for document, _ in fresh.values() if not document.marks]
    marks = _annotate(bare, finder, report) if bare else {}
    with db:
        db.execute(_BEGIN)
        for name, (document, digest) in fresh.items():
            found = list(document.marks) or marks.get(name)
            if found is None:
                continue
            replaced = _forget(db, name)
            _store(db, document, digest, found)
            report.replaced += replaced
            report.added += not replaced
        if fresh:
            db.execute("DELETE FROM kind")


def _problem(document: Document) -> str:
    """Why a document cannot be used; empty if it can."""
    if not isinstance(document.id, str) or not isinstance(document.text, str):
        return "id or text is no string"
    if not document.text.strip():
        return "empty text"
    try:
        f"{document.id}{document.text}{subject_of(document)}".encode()
    except UnicodeEncodeError:
        return "wrong encoding"
    end = len(document.text)
    if not all(0 <= mark.start < mark.end <= end for mark in document.marks):
        return f"a mark outside its {end} characters"
    return ""


def _annotate(
    documents: Sequence[Document], finder: _Finder, report: BuildReport
) -> Mapping[str, list[Mark]]:
    """Marks by id; a text that the annotator fails at is left out."""
    try:
        return dict(zip((d.id for d in documents), finder.marks(documents), strict=True))
    except LacyError as error:
        if error.code != "E31":  # not installed: none of the others would fare better
            raise
        problem: Exception = error
    except Exception as error:  # an annotator may raise anything
        problem = error
    if len(documents) == 1:
        lines = str(problem).splitlines() or [""]
        report.skipped.append((documents[0].id, f"{type(problem).__name__}: {lines[0]}"))
        return {}
    return {k: v for d in documents for k, v in _annotate([d], finder, report).items()}


def _digest(document: Document, finder: str) -> bytes:
    """What stored passages depend on."""
    marks = [[m.start, m.end, m.reason, m.relation] for m in document.marks] or finder
    content = json.dumps([document.text, subject_of(document), marks])
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def _forget(db: sqlite3.Connection, name: str) -> bool:
    """Removes a document; whether it was there."""
    found = db.execute("SELECT id FROM document WHERE name = ?", (name,)).fetchone()
    if found is None:
        return False
    passages = "(SELECT id FROM passage WHERE document = ?)"
    db.execute(f"DELETE FROM words WHERE rowid IN {passages}", found)
    db.execute(f"DELETE FROM span WHERE passage IN {passages}", found)
    db.execute("DELETE FROM passage WHERE document = ?", found)
    db.execute("DELETE FROM document WHERE id = ?", found)
    return True


def _store(db: sqlite3.Connection, document: Document, digest: bytes, marks: list[Mark]) -> None:
    """Adds a document with its passages and values."""
    text, subject = document.text, subject_of(document)
    row = (document.id, subject, digest, text)
    insert = "INSERT INTO document (name, subject, digest, text) VALUES (?, ?, ?, ?)"
    number = db.execute(insert, row).lastrowid
    found = values(text, marks, subject)
    about, at = " ".join(words_of(subject)), 0
    for place, (start, stop) in enumerate(cut(text, [mark for mark, _ in found]), 1):
        held = []
        while at < len(found) and found[at][0].start < stop:
            mark, value = found[at]
            held.append((mark.start, mark.end, mark.relation or mark.reason, value))
            at += 1
        if not held:
            continue
        insert = "INSERT INTO passage (document, number, start, stop) VALUES (?, ?, ?, ?)"
        passage = db.execute(insert, (number, place, start, stop)).lastrowid
        searched = " ".join(words_of(text[start:stop]))
        db.execute("INSERT INTO words (rowid, subject, text) VALUES (?, ?, ?)",
                   (passage, about, searched))  # fmt: skip
        db.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", [(passage, *s) for s in held])
