"""Pages by title: from a mapping, a file, an index of lacy, or the original's database."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from lacy._text import without_accents
from lacy.corpus import read
from lacy.errors import LacyError
from lacy.factscore.passages import split_page
from lacy.sources.db.stores import open_read_only
from lacy.sources.texts import Documents

TitleMatch = Literal["exact", "normal"]
"""How a topic finds its page. ``exact``: the title must be equal, as in the original. ``normal``:
case, accents, underscores and quotation marks do not count, and a topic without "(musician)" finds
the only page that has such an ending."""

_SEPARATOR = "####SPECIAL####SEPARATOR####"
"""What stands between the passages of a page in the original's database."""

_ENDING = re.compile(r"\s*\([^()]*\)$")
NEAREST = 3
"""Number of similar titles that are shown."""


class PageStore(Protocol):
    """A source of pages."""

    name: str
    compared_prefix: int
    """Number of first letters by which titles are preselected for comparisons; 0 for none."""

    def passages_of(self, title: str) -> tuple[str, ...]:
        """Return the passages of the page with exactly this title; empty if there is none."""
        ...

    def titles(self, start: str = "") -> Iterable[str]:
        """Return the titles that begin with ``start``."""
        ...


class MappedPages:
    """Pages in memory.

    Args:
        pages: by title, a page's text or its passages.
        name: how scores name them.
    """

    compared_prefix = 0

    def __init__(self, pages: Mapping[str, str | Iterable[str]], name: str = "pages") -> None:
        self.name = name
        self._pages = dict(pages)
        self._split: dict[str, tuple[str, ...]] = {}

    def passages_of(self, title: str) -> tuple[str, ...]:
        """Return the passages of a page; a text is split when it is first asked for."""
        if title not in self._pages:
            return ()
        if title not in self._split:
            page = self._pages[title]
            found = split_page(page) if isinstance(page, str) else tuple(page)
            self._split[title] = tuple(passage for passage in found if passage.strip())
        return self._split[title]

    def titles(self, start: str = "") -> Iterable[str]:
        """Return the titles that begin with ``start``."""
        return [title for title in self._pages if title.startswith(start)]


class IndexedPages:
    """The documents of an index that ``lacy source build`` wrote, by their subjects."""

    compared_prefix = 0

    def __init__(self, path: str | Path) -> None:
        self._documents = Documents(path)
        self.name = str(path)

    def passages_of(self, title: str) -> tuple[str, ...]:
        """Return the passages of all documents about a subject."""
        texts = self._documents.texts_about(title)
        return tuple(passage for text in texts for passage in split_page(text))

    def titles(self, start: str = "") -> Iterable[str]:
        """Return the subjects that begin with ``start``."""
        return [title for title in self._documents.subjects() if title.startswith(start)]


class DatabasePages:
    """The original's SQLite file (``enwiki-20230401.db``): a table ``documents (title, text)``."""

    compared_prefix = 3

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        try:
            self._db = open_read_only(Path(path))
            self._db.execute("SELECT title, text FROM documents LIMIT 1").fetchone()
        except sqlite3.Error as error:
            why = f"it has no table documents (title, text): {error}"
            raise LacyError("E226", path=path, why=why) from error

    def passages_of(self, title: str) -> tuple[str, ...]:
        """Return the passages of a page."""
        row = self._db.execute("SELECT text FROM documents WHERE title = ?", (title,)).fetchone()
        if row is None or not isinstance(row[0], str):
            return ()
        if _SEPARATOR in row[0]:
            return tuple(part for part in row[0].split(_SEPARATOR) if part.strip())
        return split_page(row[0]) if "</s>" not in row[0] else (row[0],)

    def titles(self, start: str = "") -> Iterable[str]:
        """Return the titles that begin with ``start``."""
        query = "SELECT title FROM documents WHERE title >= ? AND title < ?"
        rows = self._db.execute(query, (start, f"{start}\U0010ffff"))
        return [title for (title,) in rows]


def open_pages(path: str | Path) -> PageStore:
    """Open pages.

    Args:
        path: a file of ``{title, text}`` (JSON lines, CSV, Parquet, compressed too; rows with the
            same title are the passages of one page, and ``topic`` takes precedence over ``title``),
            a folder of texts, an index of ``lacy source build``, or the original's database.

    Raises:
        LacyError: E13, no such file; E226, it contains no pages with titles.
    """
    path = Path(path)
    if path.is_file() and _is_sqlite(path):
        return DatabasePages(path)
    if path.is_dir() and (path / "documents.sqlite").is_file():
        return IndexedPages(path)
    pages: dict[str, list[str]] = {}
    untitled = 0
    for document in read(path):
        title = document.meta.get("topic") or document.meta.get("title")
        if isinstance(title, str) and title.strip():
            pages.setdefault(title.strip(), []).append(document.text)
        else:
            untitled += 1
    if not pages:
        why = f"none of its {untitled:,} texts has a title"
        raise LacyError("E226", path=path, why=why)
    # One row is a whole page; several rows are passages, which stay as they are.
    return MappedPages(
        {title: rows[0] if len(rows) == 1 else rows for title, rows in pages.items()}, str(path)
    )


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


class TitledPages:
    """Finds pages by topic, and the nearest titles where there is none.

    Args:
        store: the pages.
        match: how topics are compared with titles.
    """

    def __init__(self, store: PageStore, match: TitleMatch = "exact") -> None:
        self.store, self.match = store, match
        self._known: dict[str, _Titles] = {}

    def find(self, topic: str) -> tuple[str, tuple[str, ...]]:
        """Return the title and passages of a topic's page; ``("", ())`` if it has none."""
        if found := self.store.passages_of(topic):
            return topic, found
        if self.match == "normal":
            titles = self._titles(topic).equal(topic)
            if len(titles) == 1:
                return titles[0], self.store.passages_of(titles[0])
        return "", ()

    def nearest(self, topic: str) -> list[str]:
        """Return the titles that are most similar to a topic, at most ``NEAREST``."""
        return self._titles(topic).nearest(topic)[:NEAREST]

    def _titles(self, topic: str) -> _Titles:
        """Return the titles to compare with, of a large store only those with the same start."""
        start = topic[: self.store.compared_prefix]
        if start not in self._known:
            self._known[start] = _Titles(self.store.titles(start))
        return self._known[start]


class _Titles:
    """Titles by their normal form, and by what is before an ending in brackets."""

    def __init__(self, titles: Iterable[str]) -> None:
        self._normal: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}
        for title in titles:
            self._normal.setdefault(_normal(title), []).append(title)
            bare = _ENDING.sub("", title)
            if bare != title:
                self._bare.setdefault(_normal(bare), []).append(title)

    def equal(self, topic: str) -> list[str]:
        key = _normal(topic)
        return self._normal.get(key) or self._bare.get(key) or []

    def nearest(self, topic: str) -> list[str]:
        if found := self.equal(topic):
            return found
        close = difflib.get_close_matches(_normal(topic), self._normal, NEAREST, 0.75)
        return [title for key in close for title in self._normal[key]]


def _normal(title: str) -> str:
    plain = without_accents(title.replace("_", " ")).casefold()
    return " ".join(re.sub(r"[\"'“”‘’.,]", "", plain).split())
