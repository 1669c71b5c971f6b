"""The index behind ``Documents``: one SQLite file that holds texts, passages, values and words.

A document is stored whole; its passages stand in a full-text index together with whom the document
is about, so that "She was born in ..." is found by the name as well. Only passages that hold a
value are kept. Documents are known by their ids: building again adds new ones and replaces changed
ones, some at a time in a transaction each, so that a build that is stopped leaves whole documents
and goes on from there. Numbers of passages are never given twice: what follows the file
(``lacy.sources.texts.following``) may be behind it, and must not mean another passage.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from lacy.disk import disk_error
from lacy.errors import LacyError
from lacy.sources.texts import following, origins
from lacy.sources.texts.finding import Finder, annotate
from lacy.sources.texts.origins import Lost, Root
from lacy.sources.texts.passages import cut, subject_of, values, words_of
from lacy.sources.texts.words import TOKENIZE, count_common
from lacy.types import Document, Mark

if TYPE_CHECKING:
    from lacy.annotate import Annotator

FILE = "documents.sqlite"
APPLICATION, VERSION = 0x6C616379, 2
"""``application_id`` and ``user_version`` of the file."""

BATCH = 64
"""Documents annotated and written together."""

Engine = Literal["fts5", "tantivy"]
"""Who searches the words: SQLite itself, or the package of that name."""

ENGINE, VECTORS = "engine", "vectors"
"""Names in the table of settings; of those that follow the file, ``tantivy`` and ``vectors``."""

_OFTEN = 200
"""Batches between two times that followers catch up."""

_WAIT = 60.0
"""Seconds to wait for another process that writes."""

_BEGIN = "BEGIN IMMEDIATE"

_TABLES = f"""
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE document (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, subject TEXT NOT NULL,
  digest BLOB NOT NULL, text TEXT NOT NULL);
CREATE INDEX document_subject ON document (subject);
CREATE TABLE page (document INTEGER NOT NULL, start INTEGER NOT NULL);
CREATE INDEX page_document ON page (document);
CREATE TABLE passage (
  id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, number INTEGER NOT NULL,
  start INTEGER NOT NULL, stop INTEGER NOT NULL);
CREATE INDEX passage_document ON passage (document);
CREATE TABLE span (
  passage INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
  kind TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX span_passage ON span (passage);
CREATE TABLE kind (name TEXT PRIMARY KEY, alternatives REAL NOT NULL);
CREATE TABLE common (term TEXT PRIMARY KEY, rows INTEGER NOT NULL);
CREATE TABLE pending (
  follower TEXT NOT NULL, passage INTEGER NOT NULL, PRIMARY KEY (follower, passage)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (subject, text, tokenize = '{TOKENIZE}');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
"""


@dataclass
class BuildReport:
    """What a build did, filled on the way."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each document that could not be used."""
    lost: Lost = field(default_factory=Lost)
    """Documents that no longer exist."""


def alternatives(db: sqlite3.Connection) -> dict[str, float]:
    """``2^entropy`` of each kind's values; what is said twice of one subject counts once."""
    found: dict[str, list[int]] = {}
    query = (
        "SELECT kind, COUNT(*) FROM (SELECT DISTINCT span.kind, span.value,"
        " CASE subject WHEN '' THEN document.name ELSE subject END FROM span"
        " JOIN passage ON passage.id = span.passage JOIN document ON document.id = document)"
        " GROUP BY kind, value"
    )
    for kind, often in db.execute(query):
        found.setdefault(kind, []).append(often)
    return {kind: _effective(counts) for kind, counts in found.items()}


def _effective(counts: Sequence[int]) -> float:
    total = sum(counts)
    return 2.0 ** (math.log2(total) - sum(n * math.log2(n) for n in counts) / total)


def build(
    documents: Iterable[Document],
    folder: Path,
    extract: Annotator | None,
    report: BuildReport,
    *,
    engine: Engine | None = None,
    vectors: str | None = None,
    root: Root | None = None,
) -> None:
    """Writes documents into the index in ``folder``; see ``Documents.build``."""
    if engine is not None and engine not in get_args(Engine):
        do, why = f"choose one of: {', '.join(get_args(Engine))}", "there is no such engine"
        raise LacyError("E12", key="engine", value=engine, why=why, do=do)
    if folder.exists() and not folder.is_dir():
        raise LacyError("E16", path=folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise LacyError("E16", path=folder)
    _have(folder, engine, vectors)
    rest = iter(documents)
    batch = list(islice(rest, BATCH))  # where nothing can be read, no folder is made
    folder.mkdir(parents=True, exist_ok=True)
    finder = Finder(extract)
    try:
        with closing(sqlite3.connect(folder / FILE, _WAIT, isolation_level=None)) as db:
            _prepare(db, folder, engine, vectors)
            followers = _followers(db, folder)
            for turn in count(1):
                if not batch:
                    break
                _write(db, batch, finder, report, root)
                if turn % _OFTEN == 0:
                    _catch_up(db, followers, following.CHUNK)
                batch = list(islice(rest, BATCH))
            if root is not None and root.whole:
                names = list(followers)
                forget = partial(_forget, db, followers=names)
                report.lost = origins.remove_gone(db, root, report.added, forget)
            _catch_up(db, followers, 1)
            with db:
                db.execute(_BEGIN)
                if not db.execute("SELECT 1 FROM kind").fetchone():
                    db.executemany("INSERT INTO kind VALUES (?, ?)", alternatives(db).items())
                    count_common(db)
    except sqlite3.Error as error:
        if disk_error(error):
            raise LacyError("E19", path=folder / FILE, why=str(error)) from error
        raise LacyError("E71", path=folder / FILE, why=str(error)) from error


def _have(folder: Path, engine: Engine | None, vectors: str | None) -> None:
    """Raises for a package or model that is missing, before the index remembers its name."""
    if engine == "tantivy":
        from lacy.sources.texts.words_tantivy import package

        package()
    if vectors is not None:
        from lacy.sources.texts.vectors import MODEL, load

        if not (folder / MODEL).exists():
            load(vectors)


def _prepare(
    db: sqlite3.Connection, folder: Path, engine: Engine | None, vectors: str | None
) -> None:
    """Makes the tables in a new file; an error for one that holds something else, or otherwise."""
    with db:
        db.execute(_BEGIN)
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("INSERT INTO setting VALUES (?, ?)", (ENGINE, engine or "fts5"))
        elif why := unusable(db):
            raise sqlite3.DatabaseError(why)
        for statement in filter(str.strip, origins.TABLES.split(";")):
            db.execute(statement)
        has = settings(db)
        if vectors is not None and VECTORS not in has:
            db.execute("INSERT INTO setting VALUES (?, ?)", (VECTORS, vectors))
            following.note_all(db, VECTORS)
        for name, wanted in ((ENGINE, engine), (VECTORS, vectors)):
            if wanted is not None and has.get(name, wanted) != wanted:
                raise LacyError("E100", path=folder, what=name, has=has[name], wanted=wanted)


def settings(db: sqlite3.Connection) -> dict[str, str]:
    """How an index was made: its engine, and the name of its vectors if it has some."""
    return dict(db.execute("SELECT name, value FROM setting").fetchall())


def _followers(db: sqlite3.Connection, folder: Path) -> dict[str, following.Follower]:
    """Who follows the file."""
    has, found = settings(db), dict[str, following.Follower]()
    if has[ENGINE] == "tantivy":
        from lacy.sources.texts.words_tantivy import Tantivy

        found["tantivy"] = Tantivy(folder, make=True)
    if VECTORS in has:
        from lacy.sources.texts.vectors import Vectors, keep_model

        keep_model(folder, has[VECTORS])
        found[VECTORS] = Vectors(folder)
    return found


def _catch_up(
    db: sqlite3.Connection, followers: Mapping[str, following.Follower], least: int
) -> None:
    """Lets followers do what is pending, where that is not less than ``least``."""
    for name, follower in followers.items():
        if following.waiting(db, name) >= least:
            following.catch_up(db, name, follower)


def unusable(db: sqlite3.Connection) -> str:
    """Why an open file is no index of this version; empty if it is one."""
    [application], [version] = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        return "it is a database, but no index of documents"
    return "" if version == VERSION else f"it has version {version}, not {VERSION}"


def _write(
    db: sqlite3.Connection,
    batch: Sequence[Document],
    finder: Finder,
    report: BuildReport,
    root: Root | None,
) -> None:
    """Writes those of some documents that are new or changed."""
    has = settings(db)
    followers = [name for name in (has[ENGINE], VECTORS if VECTORS in has else "") if name]
    followers = [name for name in followers if name != "fts5"]
    fresh: dict[str, tuple[Document, bytes]] = {}
    moved: list[tuple[int, Document]] = []
    for document in batch:
        why = _problem(document)
        if why:
            report.skipped.append((str(document.id).encode(errors="replace").decode(), why))
            continue
        digest = _digest(document, finder.name)
        name = origins.name_of(db, document, root)
        query = "SELECT id, digest FROM document WHERE name = ?"
        known = db.execute(query, (name,)).fetchone()
        if name not in fresh and known and known[1] == digest:
            report.unchanged += 1
            if not origins.noted(db, known[0], document, root):
                moved.append((known[0], document))
        else:
            fresh[name] = document, digest
            if known:
                origins.saw(db, known[0])
    bare = [document for document, _ in fresh.values() if not document.marks]
    found_in = annotate(bare, finder, lambda *why: report.skipped.append(why)) if bare else {}
    with db:
        db.execute(_BEGIN)
        for number, document in moved:
            origins.note(db, number, document, root)
        for name, (document, digest) in fresh.items():
            found = list(document.marks) or found_in.get(document.id)
            if found is None:
                continue
            replaced = _forget(db, name, followers)
            number = _store(db, replace(document, id=name), digest, found, followers)
            origins.note(db, number, document, root)
            report.replaced += replaced
            report.added += not replaced
        if fresh:
            _count_anew(db)


def _problem(document: Document) -> str:
    """Why a document cannot be used; empty if it can."""
    if not isinstance(document.id, str) or not isinstance(document.text, str):
        return "id or text is no string"
    if not document.text.strip():
        return "empty text"
    relations = [mark.relation for mark in document.marks if mark.relation is not None]
    if not all(isinstance(relation, str) for relation in relations):
        return "the relation of a mark is not a string"
    try:
        f"{document.id}{document.text}{subject_of(document)}{''.join(relations)}".encode()
    except UnicodeEncodeError:
        return "wrong encoding"
    end = len(document.text)
    if not all(0 <= mark.start < mark.end <= end for mark in document.marks):
        return f"a mark outside its {end} characters"
    return ""


def _digest(document: Document, finder: str) -> bytes:
    """What stored passages depend on."""
    marks = [[m.start, m.end, m.reason, m.relation] for m in document.marks] or finder
    content = json.dumps([document.text, subject_of(document), marks])
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def _forget(db: sqlite3.Connection, name: str, followers: Iterable[str]) -> bool:
    """Removes a document; whether it was there."""
    found = db.execute("SELECT id FROM document WHERE name = ?", (name,)).fetchone()
    if found is None:
        return False
    passages = "(SELECT id FROM passage WHERE document = ?)"
    numbers = [n for (n,) in db.execute("SELECT id FROM passage WHERE document = ?", found)]
    for follower in followers:
        following.note(db, follower, numbers)
    db.execute(f"DELETE FROM words WHERE rowid IN {passages}", found)
    db.execute(f"DELETE FROM span WHERE passage IN {passages}", found)
    for table in ("passage", "page"):
        db.execute(f"DELETE FROM {table} WHERE document = ?", found)
    db.execute("DELETE FROM document WHERE id = ?", found)
    db.execute("DELETE FROM origin WHERE document = ?", found)
    _count_anew(db)
    return True


def _count_anew(db: sqlite3.Connection) -> None:
    """Discards the counts of kinds and words, so that the build counts them at its end."""
    db.execute("DELETE FROM kind")


def _store(
    db: sqlite3.Connection,
    document: Document,
    digest: bytes,
    marks: list[Mark],
    followers: Sequence[str],
) -> int:
    """Adds a document with its passages and values; returns its number."""
    text, subject = document.text, subject_of(document)
    row = (document.id, subject, digest, text)
    insert = "INSERT INTO document (name, subject, digest, text) VALUES (?, ?, ?, ?)"
    number = db.execute(insert, row).lastrowid
    pages = document.meta.get("pages")
    given = pages if isinstance(pages, list) else []
    starts = [at for at in given if type(at) is int and 0 <= at <= len(text)]
    db.executemany("INSERT INTO page VALUES (?, ?)", ((number, at) for at in starts))
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
        assert passage is not None
        if "tantivy" not in followers:
            searched = " ".join(words_of(text[start:stop]))
            db.execute("INSERT INTO words (rowid, subject, text) VALUES (?, ?, ?)",
                       (passage, about, searched))  # fmt: skip
        for follower in followers:
            following.note(db, follower, [passage])
        db.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", [(passage, *s) for s in held])
    assert number is not None
    return number
