"""Where the documents of an index come from, and which of them are no longer there.

An index follows the folders it was built from. When one is built again, documents that it no longer
gives are removed: those whose file is gone, and those whose file no longer holds them. Documents
from elsewhere stay. What could not be read this time (a folder without rights, a damaged file, a
package that is missing) is no proof that it is gone; and where nearly everything seems to be gone,
a disk may not be mounted: then nothing is removed unless the caller insists.
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
"""What becomes of documents that are no longer there: ``auto`` removes them unless nearly all of a
folder's are gone."""

LOOKED_AT = 20_000
"""Files looked for when an index is opened; it takes about a tenth of a second."""

_AT_ONCE = 200
"""Documents removed in a transaction."""

_FEW = 50
"""Fewest lost documents that count as nearly all where a tenth or less is left."""

TABLES = """
CREATE TABLE IF NOT EXISTS origin (
  document INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, root BLOB NOT NULL, file BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS origin_root ON origin (root);
CREATE INDEX IF NOT EXISTS origin_file ON origin (file);
CREATE TEMP TABLE IF NOT EXISTS seen (document INTEGER PRIMARY KEY);
"""
"""Not in indices of lacy 0.1.0, hence made when they are built again. Paths are bytes, as they are
for the system: their text may be no UTF-8."""

_TAIL = re.compile(r"(?::\d+)*(?:#\d+)*\Z")


@dataclass(frozen=True, slots=True)
class Root:
    """What one build reads.

    Args:
        place: a folder's or file's absolute path without links, or ``hf:owner/name``.
        gone: what becomes of its documents that are no longer there.
        unread: files and folders that could not be read this time; filled while reading.
        whole: whether all of it is read; else nothing can be said to be gone.
    """

    place: str
    gone: Gone = "auto"
    unread: Collection[str] = ()
    whole: bool = True

    @classmethod
    def of(
        cls, source: str, gone: Gone = "auto", unread: Collection[str] = (), *, whole: bool = True
    ) -> Root:
        """The root of what ``lacy.read`` is given."""
        place = source if source.startswith("hf:") else os.path.realpath(source)
        return cls(place, gone, unread, whole)


@dataclass
class Lost:
    """Documents that are no longer there."""

    removed: int = 0
    kept: int = 0
    """Nearly all of a folder's, or the caller wants to keep them."""
    unread: int = 0
    """Of files that could not be read this time; they stay."""
    elsewhere: int = 0
    """Of other folders; they stay."""
    names: tuple[str, ...] = ()
    """Some of those removed, or kept."""


def key_of(document: Document) -> str:
    """What a document is known by: its file and place in it, or an id of its own."""
    head = _TAIL.sub("", document.id)
    file = document.file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if file and (file == head or file.replace(os.sep, "/").endswith("/" + head)):
        return f"{_text(document.file)}{document.id[len(head) :]}"
    return f"={document.id}"


def name_of(db: sqlite3.Connection, document: Document, root: Root | None) -> str:
    """The name under which a document stands, or will stand, in the index.

    Its id, unless another file has that: files of two folders may have one name.
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
    """Whether nobody else has a name: only one of unknown origin, or of a file that went, may."""
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
    """Whether it is known already where a document comes from; notes that it was seen."""
    saw(db, number)
    query = "SELECT document, key, root, file FROM origin WHERE document = ?"
    return bool(db.execute(query, (number,)).fetchone() == _row(number, document, root))


def _row(number: int, document: Document, root: Root | None) -> tuple[int, str, bytes, bytes]:
    place = os.fsencode(root.place if root else "")
    return number, key_of(document), place, os.fsencode(document.file)


def note(db: sqlite3.Connection, number: int, document: Document, root: Root | None) -> None:
    """Notes where a document comes from and that it was seen; in the caller's transaction."""
    row = _row(number, document, root)
    db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?)", row)
    saw(db, number)


def saw(db: sqlite3.Connection, number: int) -> None:
    """Notes that a document is still there."""
    db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))


def remove_gone(
    db: sqlite3.Connection, root: Root, added: int, forget: Callable[[str], object]
) -> Lost:
    """Removes a root's documents that were not seen, and says what stays.

    Args:
        db: the index; every document that is there has been noted as seen.
        root: what was read, to its end.
        added: how many documents are new.
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
    """Name, file and whether it was seen, of each document of a root.

    Files in the folder that were built by themselves, and may be none that the folder gives (a
    hidden one), are documents of it only if they were seen or are no longer there.
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
    """Names of documents whose file is gone and whose words were seen in another file."""
    query = (
        "SELECT name, file FROM document JOIN origin ON origin.document = document.id"
        " WHERE length(file) AND document.id NOT IN seen AND digest IN"
        " (SELECT digest FROM document JOIN seen ON seen.document = document.id)"
    )
    return {name for name, file in db.execute(query) if not os.path.lexists(file)}


def _unread(file: str, unread: Collection[str]) -> bool:
    """Whether a file, or a folder that it is in, could not be read."""
    if not file or not unread:
        return False
    return any(str(place) in unread for place in (file, *map(str, Path(file).parents)))


def count_of(folder: Path, root: Root) -> int:
    """How many documents an index has from a root; 0 where there is no index."""
    from lacy.sources.index import FILE

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
    """Files that an index was made from and that are no longer there; not all are looked for."""
    if not _has(db):
        return []
    query = "SELECT DISTINCT file FROM origin WHERE length(file) LIMIT ?"
    files = (file for (file,) in db.execute(query, (LOOKED_AT,)))
    return [os.fsdecode(file) for file in files if not os.path.lexists(file)]


def _has(db: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'origin'"
    return db.execute(query).fetchone() is not None


def _text(path: str) -> str:
    """A path as text; bytes of it that are not UTF-8 are written in hexadecimal."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
