"""Find the subject of a document or sentence, and keep only search hits that name it."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Collection, Sequence

from lacy.annotate.grammar import capitalised_runs
from lacy.errors import one_line
from lacy.sources.names import PREPOSITIONS, SENTENCE_STARTERS, EntityLinker, normalize
from lacy.sources.texts.passages import EMPTY_LINE, LEADING_WORDS, SENTENCE_END
from lacy.sources.texts.search import Hit
from lacy.types import Document

_PRONOUNS = frozenset("he she it they his her its their".split())
_SURROUNDING = "([{\"“„‘«‹'*_~`)]}”’»›.,;:!?…"
_VERSION = re.compile(r"\d[\w.]*\w|\d")


def clean_name(name: str) -> str:
    """Return a name in one line and one Unicode form, as subjects are compared."""
    return one_line(unicodedata.normalize("NFC", name))


def last_paragraph(text: str) -> str:
    """Return the last paragraph of a text."""
    return EMPTY_LINE.split(text)[-1]


def last_sentence(text: str) -> str:
    """Return the unfinished last sentence of a text."""
    paragraph = last_paragraph(text)
    ends = [match.end() for match in SENTENCE_END.finditer(paragraph)]
    return paragraph[ends[-1] if ends else 0 :]


def subject_of(document: Document) -> str:
    """Return a document's subject: its title, or else the first name in its text, or ""."""
    for key in ("person", "title", "subject"):
        value = document.meta.get(key)
        if isinstance(value, str) and clean_name(value):
            return clean_name(value)
    return first_name(document.text)


def first_name(text: str) -> str:
    """Return the first run of capitalised words in the first line of a text, or ""."""
    line = clean_name(next((line for line in text[:2_000].splitlines() if line.strip()), ""))
    for start, end in capitalised_runs(line):
        name = line[start:end]
        first, _, rest = name.partition(" ")
        if first.lower() in LEADING_WORDS:
            name, first = rest, rest
        if " " in name and first[:1].isupper():
            return name
    return ""


def single_word_name(paragraph: str) -> str:
    """Return the name of one word that is the subject of the last sentence, or "".

    It is at the beginning ("Henry was", "The GPT-4 was", "When was Henry"), with its number
    ("Windows 95"). "Poets were" gives "Poets", which is no name; ``hits_naming`` drops it.
    """
    sentences = [part for part in SENTENCE_END.split(paragraph.strip()) if part.strip()]
    words = sentences[-1].split() if sentences else []
    if words and words[0].lower() in _PRONOUNS and len(sentences) > 1:
        words = sentences[0].split()
    if not any(character.islower() for word in words for character in word):
        return ""  # a text in capitals: case carries no information
    for place, word in enumerate(words):
        name = re.sub(r"['’]s$", "", word.strip(_SURROUNDING))
        low = name.lower()
        if low in PREPOSITIONS or name.isdigit():
            return ""
        if low in SENTENCE_STARTERS:
            continue
        if name == low:
            return ""
        number = words[place + 1].strip(_SURROUNDING) if place + 1 < len(words) else ""
        return f"{name} {number}" if name == word and _VERSION.fullmatch(number) else name
    return ""


def hits_naming(
    db: sqlite3.Connection, hits: Sequence[Hit], subject: str, others: Collection[str]
) -> list[Hit]:
    """Return the hits that name the subject.

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
    is_word = subject == subject.lower()
    may_be_plural = subject.isalpha() and subject[1:] == subject[1:].lower()
    capital = re.compile(rf"(?<!\w)(?:{re.escape(subject)}|{re.escape(subject.upper())})(?!\w)")
    if is_word and not others:
        return list(hits)
    linker = EntityLinker([subject], threshold=2.0)  # no similarity reaches this
    parts = sorted(normalize(subject).split())
    kept = []
    for number, score in hits:
        query = (
            "SELECT subject, substr(text, start + 1, stop - start) FROM passage"
            " JOIN document ON document.id = document WHERE passage.id = ?"
        )
        about, text = db.execute(query, (number,)).fetchone() or ("", "")
        is_reordered = sorted(normalize(about).split()) == parts  # "Lovelace Ada"
        # A title is not a sentence: in one, "Yahoo!" would be Yahoo with an exclamation mark.
        named = (
            is_word or is_reordered or any(map(linker.mentions_known_name, (f"{about} was", text)))
        )
        if not named and may_be_plural:  # "Poets" for poets, but not Henry for Henry VIII
            named = not capital.search(f"{about} {text}")
        if named and about not in others:
            kept.append((number, score))
    return kept
