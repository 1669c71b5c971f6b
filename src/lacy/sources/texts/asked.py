"""Find the subject of a question and the passages that may answer it.

A question names its subject once, and often with another spelling than the document's title. And
all passages of the document about it may answer, so they are ranked by the question's other words,
although words such as "born" are too frequent in a collection of biographies to search for.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence

from lacy._text import normalized_words
from lacy.sources.names import EntityLinker, PersonNames
from lacy.sources.texts.search import Hit

_STEM = 4
"""Words are compared by this number of letters: "born" and "borne", "marry" and "marriage"."""

_QUESTION_WORDS = frozenset(
    "the and was were are did does has had have can who whom whose what which when where how many"
    " much that this".split()
)


class AskedNames:
    """Finds known names that a question spells in another way.

    Args:
        names: the subjects of the documents. They are indexed when the first name is looked up.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._finders: tuple[PersonNames, EntityLinker] | None = None

    def find(self, question: str) -> str | None:
        """Return the subject of a question, or None if no name or several are similar."""
        if self._finders is None:
            names = list(self._names)
            self._finders = PersonNames(names), EntityLinker(names)
        people, linker = self._finders
        if person := people.find(question):
            return person
        link, _ = linker.find(question)
        return link.name if link else None


def rank_by_question(
    db: sqlite3.Connection, hits: Sequence[Hit], question: str, subject: str
) -> list[Hit]:
    """Return passages about a subject with those first that have rare words of the question.

    Otherwise they keep the order of the document.

    Args:
        db: the index; the caller holds its lock.
        hits: the passages.
        question: the question.
        subject: its subject, whose name does not count.
    """
    ignored = _QUESTION_WORDS.union(normalized_words(subject))
    words = (w for w in normalized_words(question) if len(w) > 2 and w not in ignored)
    stems = {word[:_STEM] for word in words}
    found = []
    for number, _ in hits:
        query = "SELECT substr(text, start + 1, stop - start) FROM passage JOIN document ON"
        row = db.execute(f"{query} document.id = document WHERE passage.id = ?", (number,))
        text = normalized_words((row.fetchone() or ("",))[0])
        found.append({s for s in stems if any(word.startswith(s) for word in text)})
    counts = {s: sum(s in has for has in found) for s in stems}
    weight = [sum(math.log(len(hits) / counts[s]) for s in sorted(has)) for has in found]
    order = sorted(range(len(hits)), key=lambda n: (-weight[n], hits[n][0]))
    return [hits[n] for n in order]


def with_first_passage(
    db: sqlite3.Connection, hits: Sequence[Hit], about: Sequence[str]
) -> list[Hit]:
    """Return hits with the first passage of a document about the subject as the second.

    That passage says what the subject is, often without any word of the question.

    Args:
        db: the index; the caller holds its lock.
        hits: passages about the subject, best first.
        about: all spellings of the subject.
    """
    places = ", ".join("?" * len(about))
    query = (
        "SELECT passage.id FROM passage JOIN document ON document.id = document"
        f" WHERE number = 1 AND subject IN ({places}) ORDER BY passage.id LIMIT 1"
    )
    row = db.execute(query, tuple(about)).fetchone()
    if row is None:
        return list(hits)
    others = [hit for hit in hits if hit[0] != row[0]]
    first = next((hit for hit in hits if hit[0] == row[0]), (row[0], 0.0))
    return [*others[:1], first, *others[1:]] if list(hits[:1]) != [first] else list(hits)
