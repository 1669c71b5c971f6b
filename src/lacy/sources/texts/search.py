"""Search passages by words with SQLite's full-text search (FTS5, ranked by bm25).

The time of a query grows with the rows that it touches: for each query, bm25 counts the rows of
    every word and ranks every matching row. Therefore words in more than ``MAX_SHARE`` of the
    passages are ignored (a word in half of the passages has bm25 weight zero anyway). If no subject
    is named, the rarest words select about ``MAX_RANKED`` rows to rank, and the other words only
    influence the rank.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

TOKENIZE = "porter unicode61 remove_diacritics 2"
MAX_SHARE = 0.25
"""Words in a larger share of the passages are ignored because they carry little information."""

_COMMON_SHARE = 0.01
"""A build stores the row counts of words in a larger share of the passages."""

MAX_RANKED = 8_000
"""Approximate number of rows that are ranked if no subject is named."""

SUBJECT_WEIGHT = 4.0
"""Weight of a word in the document's subject, relative to a word in its text."""

_CACHE_SIZE = 65_536
"""Number of words for which the row count is cached."""

Hit = tuple[int, float]
"""A passage's number and its score; higher is better."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The lower-case words of a search."""

    words: Sequence[str]
    """Words of the sentence so far; passages that match more of them rank higher."""
    subject: Sequence[str] = ()
    """Words of the subject, which must all match; empty if no subject is named."""
    documents_about: Sequence[str] = ()
    """All spellings of the subject to which documents are restricted; empty for all documents."""


class WordSearch(Protocol):
    """A search by words in the passages of an index."""

    def find(self, query: SearchQuery, limit: int) -> list[Hit]:
        """Return the best passages, best first."""
        ...

    def refresh(self) -> None:
        """Load the changes of other processes."""
        ...

    def close(self) -> None:
        """Close the index."""
        ...


class FtsSearch:
    """Full-text search (FTS5) in the index's own file.

    Args:
        db: the open index; the caller holds its lock.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._stemmer = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._stemmer.execute(
            f"CREATE VIRTUAL TABLE word USING fts5 (text, tokenize = '{TOKENIZE}')"
        )
        self._stemmer.execute("CREATE VIRTUAL TABLE stem USING fts5vocab (word, instance)")
        self._count = lru_cache(_CACHE_SIZE)(self._count_rows)
        self.refresh()

    def refresh(self) -> None:
        """Load the stored row counts of common words, and the number of passages."""
        self._count.cache_clear()
        self._common = dict(self._db.execute("SELECT term, rows FROM common").fetchall())
        [self._passages] = self._db.execute("SELECT COUNT(*) FROM passage").fetchone()

    def close(self) -> None:
        """Close the stemmer."""
        self._stemmer.close()

    def find(self, query: SearchQuery, limit: int) -> list[Hit]:
        """Return the best passages, best first."""
        words = self._distinctive(query.words)
        if not query.subject:
            return self._find_by_words(words or self._rarest(query.words), limit)
        phrase = f'"{" ".join(query.subject)}"'
        more = "".join(f' OR "{word}"' for word in words)
        if query.documents_about:
            match = f"subject : {phrase} AND ({phrase}{more})"
            return self._match(match, limit, query.documents_about)
        found = self._match(f"{phrase} AND ({phrase}{more})", limit)
        if found:
            return found
        every = _joined(query.subject, "AND")  # "Lovelace, Ada"
        return self._match(f'({every}) AND ("{query.subject[0]}"{more})', limit)

    def _find_by_words(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Find passages if no subject is named; ``words`` begins with the rarest word."""
        if not words:
            return []
        all_words = _joined(words, "OR")
        entry, rows = 0, 0
        while entry < len(words) and rows + self._count(words[entry]) <= MAX_RANKED:
            rows += self._count(words[entry])
            entry += 1
        if entry == len(words):
            return self._match(all_words, limit)
        found: list[Hit] = []
        if entry:
            found = self._match(f"({_joined(words[:entry], 'OR')}) AND ({all_words})", limit)
        elif len(words) > 1:  # even the rarest word is frequent
            found = self._match(f"({_joined(words[:2], 'AND')}) AND ({all_words})", limit)
        if len(found) >= limit:
            return found
        return self._match(f"({_joined(words[: entry + 1], 'OR')}) AND ({all_words})", limit)

    def _match(self, query: str, limit: int, about: Sequence[str] = ()) -> list[Hit]:
        # Safe from injection: every word is quoted, and the query itself is a bound value.
        join = where = ""
        values: list[str | int | float] = [SUBJECT_WEIGHT, query]
        if about:
            join = (
                " JOIN passage ON passage.id = words.rowid"
                " JOIN document ON document.id = passage.document"
            )
            where = f" AND document.subject IN ({', '.join('?' * len(about))})"
            values += about
        rows = self._db.execute(
            f"SELECT words.rowid, -bm25(words, ?, 1.0) AS score FROM words{join}"
            f" WHERE words MATCH ?{where} ORDER BY score DESC, words.rowid LIMIT ?",
            (*values, limit),
        )
        return rows.fetchall()

    def _distinctive(self, words: Sequence[str]) -> list[str]:
        """Return the words that occur, but not in too many passages, the rarest first."""
        counted = sorted((self._count(word), place, word) for place, word in enumerate(words))
        return [word for count, _, word in counted if 0 < count <= MAX_SHARE * self._passages]

    def _rarest(self, words: Sequence[str]) -> list[str]:
        """Return the rarest words; used if all words are in many passages."""
        return sorted(filter(self._count, words), key=self._count)[:1]

    def _count_rows(self, word: str) -> int:
        """Return the number of passages that contain a word."""
        return min(map(self._look_up, self._stem(word)), default=0)

    def _look_up(self, stem: str) -> int:
        if stem in self._common:
            return self._common[stem]
        found = self._db.execute("SELECT doc FROM vocabulary WHERE term = ?", (stem,)).fetchone()
        return found[0] if found else 0

    def _stem(self, word: str) -> list[str]:
        """Return the stems of a word by indexing it; FTS5 has no other access to its stemmer."""
        self._stemmer.execute("DELETE FROM word")
        self._stemmer.execute("INSERT INTO word VALUES (?)", (word,))
        return [stem for (stem,) in self._stemmer.execute("SELECT term FROM stem")]


def count_common(db: sqlite3.Connection) -> None:
    """Store the row counts of common words in the caller's transaction."""
    [passages] = db.execute("SELECT COUNT(*) FROM passage").fetchone()
    db.execute("DELETE FROM common")
    insert = "INSERT INTO common SELECT term, doc FROM vocabulary WHERE doc > ?"
    db.execute(insert, (_COMMON_SHARE * passages,))


def _joined(words: Sequence[str], operator: str) -> str:
    return f" {operator} ".join(f'"{word}"' for word in words)
