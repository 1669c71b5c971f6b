"""Keeps search hits that name the subject, and drops those with the same words in another name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Sequence

from lacy.sources.names import PREPOSITIONS, SENTENCE_STARTERS, EntityLinker, normalize
from lacy.sources.texts.passages import STOP
from lacy.sources.texts.words import Hit

_PRONOUNS = frozenset("he she it they his her its their".split())
_AROUND = "([{\"“„‘«‹'*_~`)]}”’»›.,;:!?…"
_VERSION = re.compile(r"\d[\w.]*\w|\d")


def one_word(paragraph: str) -> str:
    """The name of one word that the last sentence is about, or "".

    It stands at the beginning ("Henry was", "The GPT-4 was", "When was Henry"), with its number
    ("Windows 95"). "Poets were" gives "Poets", which is no name; ``of_this_name`` knows.
    """
    sentences = [part for part in STOP.split(paragraph.strip()) if part.strip()]
    words = sentences[-1].split() if sentences else []
    if words and words[0].lower() in _PRONOUNS and len(sentences) > 1:
        words = sentences[0].split()
    if not any(character.islower() for word in words for character in word):
        return ""  # capitals tell nothing
    for place, word in enumerate(words):
        bare = re.sub(r"['’]s$", "", word.strip(_AROUND))
        low = bare.lower()
        if low in PREPOSITIONS or bare.isdigit():
            return ""
        if low in SENTENCE_STARTERS:
            continue
        if bare == low:
            return ""
        more = words[place + 1].strip(_AROUND) if place + 1 < len(words) else ""
        return f"{bare} {more}" if bare == word and _VERSION.fullmatch(more) else bare
    return ""


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
    plain_word = subject.isalpha() and subject[1:] == subject[1:].lower()
    capital = re.compile(rf"(?<!\w)(?:{re.escape(subject)}|{re.escape(subject.upper())})(?!\w)")
    if small and not others:
        return list(hits)
    who = EntityLinker([subject], threshold=2.0)  # no similarity reaches this
    parts = sorted(normalize(subject).split())
    kept = []
    for number, score in hits:
        query = (
            "SELECT subject, substr(text, start + 1, stop - start) FROM passage"
            " JOIN document ON document.id = document WHERE passage.id = ?"
        )
        about, text = db.execute(query, (number,)).fetchone() or ("", "")
        turned = sorted(normalize(about).split()) == parts  # "Lovelace Ada"
        # A title is not a sentence: in one, "Yahoo!" would be Yahoo with an exclamation mark.
        named = small or turned or any(map(who.mentions_known_name, (f"{about} was", text)))
        if not named and plain_word:  # "Poets" for poets, but not Henry for Henry VIII
            named = not capital.search(f"{about} {text}")
        if named and about not in others:
            kept.append((number, score))
    return kept
