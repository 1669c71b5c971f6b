"""Records where the documents of an index come from, and removes those that no longer exist.

When an index is built again from a folder, documents that the folder no longer contains are
removed: those whose file was deleted, and those that are no longer in their file. Documents from
elsewhere stay. Documents that could not be read this time (no permission, a damaged file, a missing
package) also stay. If nearly everything seems to be missing, a disk may not be mounted, so nothing
is removed unless the caller insists.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from lacy.types import Document

Gone = Literal["auto", "keep", "remove"]
"""What to do with documents that no longer exist: ``auto`` removes them unless nearly all of a
folder's documents are missing."""

LOOKED_AT = 20_000
"""Most files whose existence is checked when an index is opened (about a tenth of a second)."""

_AT_ONCE = 200
"""Documents removed per transaction."""

_FEW = 50
"""Fewest missing documents that count as nearly all, if a tenth or less is left."""

TABLES = """
CREATE TABLE IF NOT EXISTS origin (
  document INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, root BLOB NOT NULL, file BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS origin_root ON origin (root);
CREATE INDEX IF NOT EXISTS origin_file ON origin (file);
CREATE TEMP TABLE IF NOT EXISTS seen (document INTEGER PRIMARY KEY);
"""
"""Missing in indexes of lacy 0.1.0, so created when they are built again. Paths are stored as
bytes because they may not be valid UTF-8."""

_TAIL = re.compile(r"(?::\d+)*(?:#\d+)*\Z")


@dataclass(frozen=True, slots=True)
class Root:
    """The source of one build.

    Args:
        place: absolute path of a folder or file, with links resolved, or ``hf:owner/name``.
        gone: what to do with its documents that no longer exist.
        unread: files and folders that could not be read this time; filled while reading.
        whole: whether everything is read; otherwise no document counts as missing.
    """

    place: str
    gone: Gone = "auto"
    unread: Collection[str] = ()
    whole: bool = True

    @classmethod
    def of(
        cls, source: str, gone: Gone = "auto", unread: Collection[str] = (), *, whole: bool = True
    ) -> Root:
        """The root for a source as given to ``lacy.read``."""
        place = source if source.startswith("hf:") else os.path.realpath(source)
        return cls(place, gone, unread, whole)


@dataclass
class Lost:
    """Documents that no longer exist."""

    removed: int = 0
    kept: int = 0
    """Kept because nearly all of a folder's documents are missing, or at the caller's request."""
    unread: int = 0
    """Kept because their files could not be read this time."""
    elsewhere: int = 0
    """Kept because they come from other folders."""
    names: tuple[str, ...] = ()
    """Names of some documents that were removed or kept."""


def key_of(document: Document) -> str:
    """The identity of a document: its file and the place in it, or its own id."""
    head = _TAIL.sub("", document.id)
    file = document.file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if file and (file == head or file.replace(os.sep, "/").endswith("/" + head)):
        return f"{_text(document.file)}{document.id[len(head) :]}"
    return f"={document.id}"


def name_of(db: sqlite3.Connection, document: Document, root: Root | None) -> str:
    """The name of a document in the index.

    This is its id unless a document of another file has it: files in two folders may have the same
    name.
    """
    key = key_of(document)
    query = "SELECT name FROM document JOIN origin ON document = document.id WHERE key = ?"
    if known := db.execute(query, (key,)).fetchone():
        return str(known[0])
    if _free(db, document.id, key):
        return document.id
    folder = Path(root.place if root else document.file).name or "other"
    name = f"{folder}/{document.id}"
    number = 2
    while not _free(db, name, key):
        name, number = f"{folder}/{document.id}#{number}", number + 1
    return name


def _free(db: sqlite3.Connection, name: str, key: str) -> bool:
    """Whether a name is free: unused, or used by a document of unknown origin or a deleted file."""
    query = (
        "SELECT key, file FROM document LEFT JOIN origin ON document = document.id WHERE name = ?"
    )
    found = db.execute(query, (name,)).fetchone()
    if found is None or found[0] is None or found[0] == key:
        return True
    other, file = found
    files = not other.startswith("=") and not key.startswith("=")
    return files and not os.path.lexists(file)


def noted(db: sqlite3.Connection, number: int, document: Document, root: Root | None) -> bool:
    """Whether the origin of a document is already recorded; marks the document as seen."""
    saw(db, number)
    query = "SELECT document, key, root, file FROM origin WHERE document = ?"
    return bool(db.execute(query, (number,)).fetchone() == _row(number, document, root))


def _row(number: int, document: Document, root: Root | None) -> tuple[int, str, bytes, bytes]:
    place = os.fsencode(root.place if root else "")
    return number, key_of(document), place, os.fsencode(document.file)


def note(db: sqlite3.Connection, number: int, document: Document, root: Root | None) -> None:
    """Records a document's origin and marks it as seen, in the caller's transaction."""
    row = _row(number, document, root)
    db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?)", row)
    saw(db, number)


def saw(db: sqlite3.Connection, number: int) -> None:
    """Marks a document as seen."""
    db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))


def remove_gone(
    db: sqlite3.Connection, root: Root, added: int, forget: Callable[[str], object]
) -> Lost:
    """Removes a root's documents that were not seen, and reports which ones stay.

    Args:
        db: the index; every existing document has been marked as seen.
        root: the source, which has been read to its end.
        added: the number of new documents.
        forget: removes a document by its name.
    """
    known = _known(db, root)
    absent = [(name, file) for name, file, seen in known if not seen]
    gone = [name for name, file in absent if not _unread(file, root.unread)]
    lost = Lost(unread=len(absent) - len(gone), names=tuple(gone[:20]))
    left = len(known) - len(absent) - added
    nearly_all = (left <= 0 and 2 * added < len(gone)) or (
        len(gone) >= _FEW and 10 * (left + added) <= len(gone)
    )
    if root.gone == "keep" or (root.gone == "auto" and nearly_all):
        lost.kept = len(gone)
        gone = []
    elsewhere = _moved(db) - {name for name, _, _ in known}
    gone += sorted(elsewhere)
    lost.names = tuple(gone[:20]) or lost.names
    lost.removed = len(gone)
    rest = iter(gone)
    while some := list(islice(rest, _AT_ONCE)):
        with db:
            db.execute("BEGIN IMMEDIATE")
            for name in some:
                forget(name)
    total = db.execute("SELECT COUNT(*) FROM document").fetchone()[0]
    lost.elsewhere = total - len(known) + lost.removed - len(elsewhere)
    return lost


def _known(db: sqlite3.Connection, root: Root) -> list[tuple[str, str, bool]]:
    """Name, file, and whether it was seen, for each document of a root.

    Files in the folder that were indexed separately, and might not be read as part of the folder (a
    hidden file), count as its documents only if they were seen or no longer exist.
    """
    place = os.fsencode(root.place)
    inside = place.rstrip(b"/") + b"/"
    query = (
        "SELECT name, file, seen.document IS NOT NULL, root = ? FROM origin"
        " JOIN document ON document.id = origin.document"
        " LEFT JOIN seen ON seen.document = origin.document"
        " WHERE root = ? OR file = ? OR (file > ? AND file < ?) ORDER BY name"
    )
    values = (place, place, place, inside, inside[:-1] + b"0")  # 0 follows / in ASCII
    found = db.execute(query, values).fetchall()
    read = {file for _, file, seen, _ in found if seen}
    return [
        (name, os.fsdecode(file), bool(seen))
        for name, file, seen, own in found
        if seen or own or file in read or not os.path.lexists(file)
    ]


def _moved(db: sqlite3.Connection) -> set[str]:
    """Names of documents whose file no longer exists and whose text was seen in another file."""
    query = (
        "SELECT name, file FROM document JOIN origin ON origin.document = document.id"
        " WHERE length(file) AND document.id NOT IN seen AND digest IN"
        " (SELECT digest FROM document JOIN seen ON seen.document = document.id)"
    )
    return {name for name, file in db.execute(query) if not os.path.lexists(file)}


def _unread(file: str, unread: Collection[str]) -> bool:
    """Whether a file or one of its parent folders could not be read."""
    if not file or not unread:
        return False
    return any(str(place) in unread for place in (file, *map(str, Path(file).parents)))


def count_of(folder: Path, root: Root) -> int:
    """Number of documents from a root in an index; 0 if there is no index."""
    from lacy.sources.texts.index import FILE

    if not (folder / FILE).is_file():
        return 0
    try:
        with closing(
            sqlite3.connect(f"{(folder / FILE).resolve().as_uri()}?mode=ro", uri=True)
        ) as db:
            if not _has(db):
                return 0
            db.execute("CREATE TEMP TABLE seen (document INTEGER PRIMARY KEY)")
            return len(_known(db, root))
    except sqlite3.Error:
        return 0


def missing(db: sqlite3.Connection) -> list[str]:
    """Files of an index that no longer exist; not all files are checked."""
    if not _has(db):
        return []
    query = "SELECT DISTINCT file FROM origin WHERE length(file) LIMIT ?"
    files = (file for (file,) in db.execute(query, (LOOKED_AT,)))
    return [os.fsdecode(file) for file in files if not os.path.lexists(file)]


def _has(db: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'origin'"
    return db.execute(query).fetchone() is not None


def _text(path: str) -> str:
    """A path as text; bytes that are not UTF-8 are written in hexadecimal."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
