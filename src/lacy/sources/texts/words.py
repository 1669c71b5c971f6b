"""Passages that hold the words that are looked for, by SQLite's full-text search (FTS5, bm25).

What costs time is how many rows a query touches: bm25 counts the rows of every word each time it
is asked, and ranks every row that matches. So a word that stands in more than ``COMMON`` of the
passages is left out (in half of them its bm25 weight is zero anyway); and where nobody is named,
the rarest words say which rows are ranked, at most about ``RANKED``, and the others only how.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

TOKENIZE = "porter unicode61 remove_diacritics 2"
COMMON = 0.25
"""Share of passages above which a word says too little."""

STORED = 0.01
"""Words of more than this share of the passages have their number stored when an index is made."""

RANKED = 8_000
"""About how many rows are ranked where nobody is named."""

SUBJECT_WEIGHT = 4.0
"""How much more a word counts in whom a text is about than in the text."""

_KNOWN = 65_536
"""Words whose numbers are kept in memory."""

Hit = tuple[int, float]
"""A passage's number and its score; more is better."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, as lower-case words."""

    said: Sequence[str]
    """Words of the sentence so far: the more of them the better."""
    named: Sequence[str] = ()
    """The subject's words, which must be there; empty if nobody is named."""
    about: Sequence[str] = ()
    """Only texts about exactly this one, in all spellings; empty if nobody is known."""


class Words(Protocol):
    """A search for words over the passages of an index."""

    def find(self, wanted: Wanted, limit: int) -> list[Hit]:
        """The best passages, best first."""
        ...

    def refresh(self) -> None:
        """Sees what others have written since."""
        ...

    def close(self) -> None:
        """Lets go of files."""
        ...


class Fts:
    """FTS5 in the index's own file.

    Args:
        db: the open index; who calls holds its lock.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._stems = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._stems.execute(f"CREATE VIRTUAL TABLE word USING fts5 (said, tokenize = '{TOKENIZE}')")
        self._stems.execute("CREATE VIRTUAL TABLE stem USING fts5vocab (word, instance)")
        self.refresh()

    def refresh(self) -> None:
        """Counts again: the stored numbers of common words, and of passages."""
        self._rows: dict[str, int] = {}
        self._common = dict(self._db.execute("SELECT term, rows FROM common").fetchall())
        [self._passages] = self._db.execute("SELECT COUNT(*) FROM passage").fetchone()

    def close(self) -> None:
        """Lets go of the memory."""
        self._stems.close()

    def find(self, wanted: Wanted, limit: int) -> list[Hit]:
        """The best passages, best first."""
        said = self._telling(wanted.said)
        if not wanted.named:
            return self._about_nobody(said or self._rarest(wanted.said), limit)
        phrase = f'"{" ".join(wanted.named)}"'
        more = "".join(f" OR {_quoted(word)}" for word in said)
        if wanted.about:
            return self._match(f"subject : {phrase} AND ({phrase}{more})", limit, wanted.about)
        found = self._match(f"{phrase} AND ({phrase}{more})", limit)
        every = " AND ".join(map(_quoted, wanted.named))  # "Lovelace, Ada"
        return found or self._match(f"({every}) AND ({_quoted(wanted.named[0])}{more})", limit)

    def _about_nobody(self, said: Sequence[str], limit: int) -> list[Hit]:
        """Passages by their words alone; ``said`` begins with the rarest."""
        if not said:
            return []
        every = _any(said)
        entry, rows = 0, 0
        while entry < len(said) and rows + self._count(said[entry]) <= RANKED:
            rows += self._count(said[entry])
            entry += 1
        if entry == len(said):
            return self._match(every, limit)
        found: list[Hit] = []
        if entry:
            found = self._match(f"({_any(said[:entry])}) AND ({every})", limit)
        elif len(said) > 1:  # even the rarest is frequent
            found = self._match(f"({_all(said[:2])}) AND ({every})", limit)
        if len(found) >= limit:
            return found
        return self._match(f"({_any(said[: entry + 1])}) AND ({every})", limit)

    def _match(self, query: str, limit: int, about: Sequence[str] = ()) -> list[Hit]:
        # Every word of the query was quoted; it is bound like all other values.
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

    def _telling(self, words: Sequence[str]) -> list[str]:
        """Words that are in some passages, but not in too many, the rarest first."""
        counted = sorted((self._count(word), place, word) for place, word in enumerate(words))
        return [word for count, _, word in counted if 0 < count <= COMMON * self._passages]

    def _rarest(self, words: Sequence[str]) -> list[str]:
        """The rarest of words that all are in many passages."""
        return sorted(filter(self._count, words), key=self._count)[:1]

    def _count(self, word: str) -> int:
        """In how many passages a word stands."""
        known = self._rows.get(word)
        if known is None:
            if len(self._rows) >= _KNOWN:
                self._rows.clear()
            known = self._rows[word] = min(map(self._look_up, self._stem(word)), default=0)
        return known

    def _look_up(self, stem: str) -> int:
        if stem in self._common:
            return self._common[stem]
        found = self._db.execute("SELECT doc FROM vocabulary WHERE term = ?", (stem,)).fetchone()
        return found[0] if found else 0

    def _stem(self, word: str) -> list[str]:
        """What FTS5 makes of a word: its own stemmer can be asked in no other way."""
        self._stems.execute("DELETE FROM word")
        self._stems.execute("INSERT INTO word VALUES (?)", (word,))
        return [stem for (stem,) in self._stems.execute("SELECT term FROM stem")]


def count_common(db: sqlite3.Connection) -> None:
    """Stores the numbers of the words that many passages hold; the caller's transaction."""
    [passages] = db.execute("SELECT COUNT(*) FROM passage").fetchone()
    db.execute("DELETE FROM common")
    db.execute(
        "INSERT INTO common SELECT term, doc FROM vocabulary WHERE doc > ?", (STORED * passages,)
    )


def _quoted(word: str) -> str:
    return f'"{word}"'


def _any(words: Sequence[str]) -> str:
    return " OR ".join(map(_quoted, words))


def _all(words: Sequence[str]) -> str:
    return " AND ".join(map(_quoted, words))
