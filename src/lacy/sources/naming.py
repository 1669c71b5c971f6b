"""Keeps search hits that name the subject, and drops those with the same words in another name."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from lacy.sources.linking import Linker, normal
from lacy.sources.words import Hit


def of_this_name(
    db: sqlite3.Connection, hits: Sequence[Hit], subject: str, others: Collection[str]
) -> list[Hit]:
    """Hits that name the subject.

    A search compares only words: it finds "Ada Love" in "Ada Love-Smith", and "C" in "C++".

    Args:
        db: the index; the caller holds its lock.
        hits: the results of the search, best first.
        subject: the subject of the sentence. Without a capital it is a word, not a name, and every
            passage with it is kept.
        others: subjects of documents whose words are in the sentence as another name.

    Raises:
        sqlite3.Error: the index cannot be read.
    """
    small = subject == subject.lower()
    if small and not others:
        return list(hits)
    who = Linker([subject], threshold=2.0)  # no similarity reaches this
    parts = sorted(normal(subject).split())
    kept = []
    for number, score in hits:
        query = (
            "SELECT subject, substr(text, start + 1, stop - start) FROM passage"
            " JOIN document ON document.id = document WHERE passage.id = ?"
        )
        about, text = db.execute(query, (number,)).fetchone() or ("", "")
        turned = sorted(normal(about).split()) == parts  # "Lovelace Ada"
        # A title is not a sentence: in one, "Yahoo!" would be Yahoo with an exclamation mark.
        named = small or turned or any(map(who.mentioned, (f"{about} was", text)))
        if named and about not in others:
            kept.append((number, score))
    return kept
