"""Record where the documents of an index come from, and remove those that no longer exist.

When an index is built again from a folder, documents that the folder no longer contains are
removed, because their file was deleted or their file no longer contains them. Documents from other
places stay, and so do documents that could not be read this time (no permission, a damaged file, a
missing package). If nearly everything seems to be missing, a disk may not be mounted, so nothing is
removed unless the caller insists.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

from lacy.sources.texts.schema import INDEX_FILE
from lacy.types import Document

IfMissing = Literal["auto", "keep", "remove"]
"""Treatment of documents that no longer exist: ``auto`` removes them unless nearly all documents
of a folder are missing."""

_MOST_FILES = 20_000
"""Maximum number of files whose existence is checked when an index is opened (about 0.1 s)."""

_PER_TRANSACTION = 200
"""Number of documents removed per transaction."""

_MANY = 50
"""At least this many documents must be missing, and at most a tenth left, to be "nearly all"."""

_TABLES = """
CREATE TABLE IF NOT EXISTS origin (
  document INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, root BLOB NOT NULL, file BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS origin_root ON origin (root);
CREATE INDEX IF NOT EXISTS origin_file ON origin (file);
CREATE TEMP TABLE IF NOT EXISTS seen (document INTEGER PRIMARY KEY);
"""
"""Created on demand, because indexes of lacy 0.1.0 do not have these tables. Paths are stored as
bytes because they may not be valid UTF-8."""

_TAIL = re.compile(r"(?::\d+)*(?:#\d+)*\Z")


@dataclass
class Origin:
    """The origin of the documents of one build.

    Args:
        source: the path or data set as given to ``lacy.read``.
        if_missing: treatment of its documents that no longer exist.
        unread: files and folders that could not be read this time; filled while reading.
        complete: True if the whole source is read; otherwise no document counts as missing.
    """

    source: str
    if_missing: IfMissing = "auto"
    unread: Collection[str] = ()
    complete: bool = True

    @cached_property
    def place(self) -> str:
        """The absolute path with links resolved, or ``hf:owner/name``."""
        return self.source if self.source.startswith("hf:") else os.path.realpath(self.source)


@dataclass
class MissingDocuments:
    """Counts of documents that a build did not see, by what happened to them."""

    removed: int = 0
    kept: int = 0
    """Kept because nearly all of a folder's documents are missing, or at the caller's request."""
    unread: int = 0
    """Kept because their files could not be read this time."""
    elsewhere: int = 0
    """Kept because they come from other folders."""
    names: tuple[str, ...] = ()
    """Names of some documents that were removed or kept."""


def create_origin_tables(db: sqlite3.Connection) -> None:
    """Create the tables that record origins, if needed."""
    for statement in filter(str.strip, _TABLES.split(";")):
        db.execute(statement)


def document_key(document: Document) -> str:
    """Return the identity of a document: its file and position in it, or its own id."""
    head = _TAIL.sub("", document.id)
    file = document.file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if file and (file == head or file.replace(os.sep, "/").endswith("/" + head)):
        return f"{_path_text(document.file)}{document.id[len(head) :]}"
    return f"={document.id}"


def unique_name(db: sqlite3.Connection, document: Document, origin: Origin | None) -> str:
    """Return the name of a document in the index.

    The name is the document's id, unless a document of another file already uses it: files in two
    folders may have the same name.
    """
    key = document_key(document)
    query = "SELECT name FROM document JOIN origin ON document = document.id WHERE key = ?"
    if known := db.execute(query, (key,)).fetchone():
        return str(known[0])
    if _is_free(db, document.id, key):
        return document.id
    folder = Path(origin.place if origin else document.file).name or "other"
    name = f"{folder}/{document.id}"
    number = 2
    while not _is_free(db, name, key):
        name, number = f"{folder}/{document.id}#{number}", number + 1
    return name


def _is_free(db: sqlite3.Connection, name: str, key: str) -> bool:
    """True if no document has this name, or only one of unknown origin or from a deleted file."""
    query = (
        "SELECT key, file FROM document LEFT JOIN origin ON document = document.id WHERE name = ?"
    )
    found = db.execute(query, (name,)).fetchone()
    if found is None or found[0] is None or found[0] == key:
        return True
    other, file = found
    files = not other.startswith("=") and not key.startswith("=")
    return files and not os.path.lexists(file)


def is_recorded(
    db: sqlite3.Connection, number: int, document: Document, origin: Origin | None
) -> bool:
    """Mark a document as seen, and return True if its origin is already recorded."""
    mark_seen(db, number)
    query = "SELECT document, key, root, file FROM origin WHERE document = ?"
    return bool(db.execute(query, (number,)).fetchone() == _row(number, document, origin))


def _row(number: int, document: Document, origin: Origin | None) -> tuple[int, str, bytes, bytes]:
    place = os.fsencode(origin.place if origin else "")
    return number, document_key(document), place, os.fsencode(document.file)


def record(db: sqlite3.Connection, number: int, document: Document, origin: Origin | None) -> None:
    """Record a document's origin and mark it as seen in the caller's transaction."""
    row = _row(number, document, origin)
    db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?)", row)
    mark_seen(db, number)


def mark_seen(db: sqlite3.Connection, number: int) -> None:
    """Mark a document as seen in this build."""
    db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))


def remove_missing(
    db: sqlite3.Connection, origin: Origin, added: int, remove: Callable[[str], object]
) -> MissingDocuments:
    """Remove documents of an origin that were not seen; return counts of missing documents.

    Args:
        db: the index; all existing documents have been marked as seen.
        origin: the origin; it has been read to its end.
        added: number of new documents.
        remove: removes a document by its name.
    """
    known = _documents_of(db, origin)
    absent = [(name, file) for name, file, seen in known if not seen]
    missing = [name for name, file in absent if not _is_unread(file, origin.unread)]
    report = MissingDocuments(unread=len(absent) - len(missing), names=tuple(missing[:20]))
    left = len(known) - len(absent) - added
    nearly_all = (left <= 0 and 2 * added < len(missing)) or (
        len(missing) >= _MANY and 10 * (left + added) <= len(missing)
    )
    if origin.if_missing == "keep" or (origin.if_missing == "auto" and nearly_all):
        report.kept = len(missing)
        missing = []
    elsewhere = _moved(db) - {name for name, _, _ in known}
    missing += sorted(elsewhere)
    report.names = tuple(missing[:20]) or report.names
    report.removed = len(missing)
    rest = iter(missing)
    while some := list(islice(rest, _PER_TRANSACTION)):
        with db:
            db.execute("BEGIN IMMEDIATE")
            for name in some:
                remove(name)
    total = db.execute("SELECT COUNT(*) FROM document").fetchone()[0]
    report.elsewhere = total - len(known) + report.removed - len(elsewhere)
    return report


def _documents_of(db: sqlite3.Connection, origin: Origin) -> list[tuple[str, str, bool]]:
    """Return ``(name, file, seen)`` of each document of an origin.

    A file in the folder that was indexed separately may not be read as part of the folder (for
    example a hidden file). It belongs to the folder only if it was seen or no longer exists.
    """
    place = os.fsencode(origin.place)
    inside = place.rstrip(b"/") + b"/"
    query = (
        "SELECT name, file, seen.document IS NOT NULL, root = ? FROM origin"
        " JOIN document ON document.id = origin.document"
        " LEFT JOIN seen ON seen.document = origin.document"
        " WHERE root = ? OR file = ? OR (file > ? AND file < ?) ORDER BY name"
    )
    values = (place, place, place, inside, inside[:-1] + b"0")  # prefix range: 0 follows / in ASCII
    found = db.execute(query, values).fetchall()
    read = {file for _, file, seen, _ in found if seen}
    return [
        (name, os.fsdecode(file), bool(seen))
        for name, file, seen, own in found
        if seen or own or file in read or not os.path.lexists(file)
    ]


def _moved(db: sqlite3.Connection) -> set[str]:
    """Return names of documents whose file no longer exists but whose text is in another file."""
    query = (
        "SELECT name, file FROM document JOIN origin ON origin.document = document.id"
        " WHERE length(file) AND document.id NOT IN seen AND digest IN"
        " (SELECT digest FROM document JOIN seen ON seen.document = document.id)"
    )
    return {name for name, file in db.execute(query) if not os.path.lexists(file)}


def _is_unread(file: str, unread: Collection[str]) -> bool:
    """True if a file or one of its parent folders could not be read."""
    if not file or not unread:
        return False
    return any(str(place) in unread for place in (file, *map(str, Path(file).parents)))


def count_documents(folder: Path, origin: Origin) -> int:
    """Return the number of documents from an origin in an index; 0 if there is no index."""
    file = folder / INDEX_FILE
    if not file.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            if not _has_origins(db):
                return 0
            db.execute("CREATE TEMP TABLE seen (document INTEGER PRIMARY KEY)")
            return len(_documents_of(db, origin))
    except sqlite3.Error:
        return 0


def missing_files(db: sqlite3.Connection) -> list[str]:
    """Return files of an index that no longer exist; in a large index, not all are checked."""
    if not _has_origins(db):
        return []
    query = "SELECT DISTINCT file FROM origin WHERE length(file) LIMIT ?"
    files = (file for (file,) in db.execute(query, (_MOST_FILES,)))
    return [os.fsdecode(file) for file in files if not os.path.lexists(file)]


def _has_origins(db: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'origin'"
    return db.execute(query).fetchone() is not None


def _path_text(path: str) -> str:
    """Return a path as text; bytes that are not UTF-8 are written in hexadecimal."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
