"""Build an index of documents: find their values and write them to the SQLite file.

Documents are identified by their ids: another build adds new documents and replaces changed ones,
in
    transactions of some documents each. An interrupted build leaves only complete documents, and
    the next build continues from there.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lacy._require import require_one_of
from lacy._text import first_line
from lacy.annotate import RULES_VERSION, validated_marks
from lacy.disk import disk_error
from lacy.errors import LacyError
from lacy.sources.texts import origins, schema
from lacy.sources.texts.origins import MissingDocuments, Origin
from lacy.sources.texts.passages import marked_values, search_words, split_passages
from lacy.sources.texts.schema import DerivedIndex, SearchEngine
from lacy.sources.texts.search import count_common
from lacy.sources.texts.subjects import subject_of
from lacy.types import Document, Mark

if TYPE_CHECKING:
    from lacy.annotate import Annotator

BATCH_SIZE = 64
"""Number of documents that are annotated and written together."""

_UPDATE_EVERY = 200
"""Number of batches between two updates of the derived indexes."""

_BUSY_SECONDS = 60.0
"""Seconds to wait while another process is writing."""


@dataclass
class BuildReport:
    """Results of a build; filled while it runs."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each document that could not be used."""
    missing: MissingDocuments = field(default_factory=MissingDocuments)
    """Counts of documents that no longer exist."""


def default_annotator(pipeline: str = "bundled") -> Annotator:
    """Load the annotator for texts without marks: rules on a spaCy pipeline.

    Raises:
        LacyError: E11, spaCy is not installed; E30, no such pipeline.
    """
    from lacy.annotate import Rules, SpacyAnnotator

    # A passage needs its names as values even if an earlier passage contains them.
    rules = Rules(unmark_seen=False, content=False)
    return SpacyAnnotator(pipeline, rules, notify=lambda sentence: None)


def build_index(
    documents: Iterable[Document],
    folder: Path,
    annotator: Annotator | None,
    report: BuildReport,
    *,
    engine: SearchEngine | None = None,
    vectors: str | None = None,
    origin: Origin | None = None,
) -> None:
    """Write documents to the index in ``folder``; see ``Documents.build``."""
    if engine is not None:
        require_one_of("engine", engine, get_args(SearchEngine))
    is_folder = folder.is_dir()
    if folder.exists() and not is_folder:
        raise LacyError("E16", path=folder)
    if is_folder and any(folder.iterdir()) and not (folder / schema.INDEX_FILE).exists():
        raise LacyError("E16", path=folder)
    _check_requirements(folder, engine, vectors)
    rest = iter(documents)
    batch = list(islice(rest, BATCH_SIZE))  # read before creating the folder: this may fail
    folder.mkdir(parents=True, exist_ok=True)
    finder = _ValueFinder(annotator)
    try:
        with closing(
            sqlite3.connect(folder / schema.INDEX_FILE, _BUSY_SECONDS, isolation_level=None)
        ) as db:
            _prepare(db, folder, engine, vectors)
            derived = _open_derived(db, folder)
            for number in count(1):
                if not batch:
                    break
                _write_batch(db, batch, finder, report, origin, list(derived))
                if number % _UPDATE_EVERY == 0:
                    _update_all(db, derived, schema.UPDATE_CHUNK)
                batch = list(islice(rest, BATCH_SIZE))
            if origin is not None and origin.complete:
                remove = partial(_remove, db, derived=list(derived))
                report.missing = origins.remove_missing(db, origin, report.added, remove)
            _update_all(db, derived, 1)
            with db:
                db.execute(schema.BEGIN)
                if not db.execute("SELECT 1 FROM kind").fetchone():
                    rows = schema.count_alternatives(db).items()
                    db.executemany("INSERT INTO kind VALUES (?, ?)", rows)
                    count_common(db)
    except sqlite3.Error as error:
        code = "E19" if disk_error(error) else "E71"
        raise LacyError(code, path=folder / schema.INDEX_FILE, why=str(error)) from error


def _check_requirements(folder: Path, engine: SearchEngine | None, vectors: str | None) -> None:
    """Raise an error for a missing package or model before the index stores its name."""
    if engine == "tantivy":
        from lacy.sources.texts.tantivy_search import import_tantivy

        import_tantivy()
    if vectors is not None:
        from lacy.sources.texts.vectors import MODEL_FOLDER, load_embeddings

        if not (folder / MODEL_FOLDER).exists():
            load_embeddings(vectors)


def _prepare(
    db: sqlite3.Connection, folder: Path, engine: SearchEngine | None, vectors: str | None
) -> None:
    """Create the tables in a new file; raise an error if content or settings do not match."""
    with db:
        db.execute(schema.BEGIN)
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            schema.create_tables(db, engine or "fts5")
        elif why := schema.format_problem(db):
            raise sqlite3.DatabaseError(why)
        origins.create_origin_tables(db)
        settings = schema.index_settings(db)
        if vectors is not None and schema.VECTORS not in settings:
            db.execute("INSERT INTO setting VALUES (?, ?)", (schema.VECTORS, vectors))
            schema.mark_all_pending(db, schema.VECTORS)
        for name, value in ((schema.ENGINE, engine), (schema.VECTORS, vectors)):
            if value is not None and settings.get(name, value) != value:
                raise LacyError("E100", path=folder, what=name, has=settings[name], wanted=value)


def _open_derived(db: sqlite3.Connection, folder: Path) -> dict[str, DerivedIndex]:
    """Open the derived indexes; return them by name."""
    settings, found = schema.index_settings(db), dict[str, DerivedIndex]()
    if settings[schema.ENGINE] == "tantivy":
        from lacy.sources.texts.tantivy_search import TantivySearch

        found["tantivy"] = TantivySearch(folder, create=True)
    if schema.VECTORS in settings:
        from lacy.sources.texts.vectors import VectorSearch, copy_model

        copy_model(folder, settings[schema.VECTORS])
        found[schema.VECTORS] = VectorSearch(folder)
    return found


def _update_all(db: sqlite3.Connection, derived: Mapping[str, DerivedIndex], minimum: int) -> None:
    for name, index in derived.items():
        schema.update_derived(db, name, index, minimum)


class _ValueFinder:
    """Finds the values in texts without marks; loads the annotator when it is first needed."""

    def __init__(self, annotator: Annotator | None) -> None:
        self.name = f"{getattr(annotator, 'name', '') if annotator else 'bundled'} {RULES_VERSION}"
        self._annotator = annotator

    def find(
        self, documents: Sequence[Document], skip: Callable[[str, str], None]
    ) -> Mapping[str, list[Mark]]:
        """Return marks by document id; call ``skip(id, reason)`` if the annotator fails."""
        if not documents:
            return {}
        try:
            return dict(zip((d.id for d in documents), self._annotate(documents), strict=True))
        except LacyError as error:
            if error.code not in (
                "E31",
                "E50",
            ):  # not about this text: all others would fail as well
                raise
            problem: Exception = error
        except Exception as error:  # a custom annotator may raise anything
            problem = error
        if len(documents) > 1:
            return {k: v for d in documents for k, v in self.find([d], skip).items()}
        skip(documents[0].id, f"{type(problem).__name__}: {first_line(problem)}")
        return {}

    def _annotate(self, documents: Sequence[Document]) -> list[list[Mark]]:
        if self._annotator is None:
            self._annotator = default_annotator()
        texts = [document.text for document in documents]
        more: list[Any] = []
        if getattr(self._annotator, "uses_subjects", False):
            more = [[subject_of(document) or None for document in documents]]
        return validated_marks(texts, self._annotator.annotate(texts, *more), self.name)


def _write_batch(
    db: sqlite3.Connection,
    batch: Sequence[Document],
    finder: _ValueFinder,
    report: BuildReport,
    origin: Origin | None,
    derived: Sequence[str],
) -> None:
    """Write the new and changed documents of a batch."""
    new: dict[str, tuple[Document, bytes]] = {}
    moved: list[tuple[int, Document]] = []
    for document in batch:
        if why := _problem(document):
            report.skipped.append((str(document.id).encode(errors="replace").decode(), why))
            continue
        digest = _digest(document, finder.name)
        name = origins.unique_name(db, document, origin)
        query = "SELECT id, digest FROM document WHERE name = ?"
        known = db.execute(query, (name,)).fetchone()
        if name not in new and known and known[1] == digest:
            report.unchanged += 1
            if not origins.is_recorded(db, known[0], document, origin):
                moved.append((known[0], document))
        else:
            new[name] = document, digest
            if known:
                origins.mark_seen(db, known[0])
    unmarked = [document for document, _ in new.values() if not document.marks]
    found = finder.find(unmarked, lambda *why: report.skipped.append(why))
    with db:
        db.execute(schema.BEGIN)
        for number, document in moved:
            origins.record(db, number, document, origin)
        for name, (document, digest) in new.items():
            marks = list(document.marks) or found.get(document.id)
            if marks is None:
                continue
            replaced = _remove(db, name, derived)
            number = _insert(db, replace(document, id=name), digest, marks, derived)
            origins.record(db, number, document, origin)
            report.replaced += replaced
            report.added += not replaced
        if new:
            _clear_counts(db)


def _problem(document: Document) -> str:
    """Return why a document cannot be used, or ""."""
    if not isinstance(document.id, str) or not isinstance(document.text, str):
        return "id or text is not a string"
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
    """Return a digest of everything that influences the stored passages."""
    marks = [[m.start, m.end, m.reason, m.relation] for m in document.marks] or finder
    content = json.dumps([document.text, subject_of(document), marks])
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def _remove(db: sqlite3.Connection, name: str, derived: Iterable[str]) -> bool:
    """Remove a document; return True if it existed."""
    found = db.execute("SELECT id FROM document WHERE name = ?", (name,)).fetchone()
    if found is None:
        return False
    passages = "SELECT id FROM passage WHERE document = ?"
    numbers = [number for (number,) in db.execute(passages, found)]
    for index in derived:
        schema.mark_pending(db, index, numbers)
    for condition in (
        f"words WHERE rowid IN ({passages})", f"span WHERE passage IN ({passages})",
        "passage WHERE document = ?", "page WHERE document = ?", "document WHERE id = ?",
        "origin WHERE document = ?",
    ):  # fmt: skip
        db.execute(f"DELETE FROM {condition}", found)
    _clear_counts(db)
    return True


def _clear_counts(db: sqlite3.Connection) -> None:
    """Delete the counts of kinds; the end of the build counts kinds and words again."""
    db.execute("DELETE FROM kind")


def _insert(
    db: sqlite3.Connection,
    document: Document,
    digest: bytes,
    marks: list[Mark],
    derived: Sequence[str],
) -> int:
    """Add a document with its passages and values; return its number."""
    text, subject = document.text, subject_of(document)
    row = (document.id, subject, digest, text)
    insert = "INSERT INTO document (name, subject, digest, text) VALUES (?, ?, ?, ?)"
    number = db.execute(insert, row).lastrowid
    assert number is not None
    pages = document.meta.get("pages")
    starts = [at for at in pages if type(at) is int] if isinstance(pages, list) else []
    rows = ((number, at) for at in starts if 0 <= at <= len(text))
    db.executemany("INSERT INTO page VALUES (?, ?)", rows)
    found = marked_values(text, marks, subject)
    subject_words, at = " ".join(search_words(subject)), 0
    for place, (start, stop) in enumerate(split_passages(text, [mark for mark, _ in found]), 1):
        spans = []
        while at < len(found) and found[at][0].start < stop:
            mark, value = found[at]
            spans.append((mark.start, mark.end, mark.relation or mark.reason, value))
            at += 1
        if not spans:
            continue
        insert = "INSERT INTO passage (document, number, start, stop) VALUES (?, ?, ?, ?)"
        passage = db.execute(insert, (number, place, start, stop)).lastrowid
        assert passage is not None
        if "tantivy" not in derived:
            words = " ".join(search_words(text[start:stop]))
            db.execute("INSERT INTO words (rowid, subject, text) VALUES (?, ?, ?)",
                       (passage, subject_words, words))  # fmt: skip
        for index in derived:
            schema.mark_pending(db, index, [passage])
        db.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", [(passage, *s) for s in spans])
    return number
