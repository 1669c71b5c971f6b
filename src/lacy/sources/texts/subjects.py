"""Find the subject of a document or sentence, and keep only search hits that name it."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Collection, Sequence

from lacy._text import without_accents
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
    """Return a name on one line in canonical Unicode form, so that subjects can be compared."""
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
    """Return a document's subject: its title, else the first name in its text, else ""."""
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
    """Return the single-word name that is the subject of the last sentence, or "".

    The name begins the sentence ("Henry was", "The GPT-4 was", "When was Henry") and includes its
    number ("Windows 95"). "Poets were" returns "Poets", which is not a name; ``hits_naming`` drops
    it.
    """
    sentences = [part for part in SENTENCE_END.split(paragraph.strip()) if part.strip()]
    words = sentences[-1].split() if sentences else []
    if words and words[0].lower() in _PRONOUNS and len(sentences) > 1:
        words = sentences[0].split()
    if not any(character.islower() for word in words for character in word):
        return ""  # the text is in capitals, so case carries no information
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
    """Return the hits that really name the subject.

    A search compares only words, so it finds "Ada Love" in "Ada Love-Smith", and "C" in "C++".

    Args:
        db: the index; the caller holds its lock.
        hits: the results of the search, best first.
        subject: the subject of the sentence. Without a capital, it is a word and not a name, and
            every passage that contains it is kept.
        others: subjects of documents that the sentence contains only as part of another name.

    Raises:
        sqlite3.Error: the index cannot be read.
    """
    is_word = subject == subject.lower()
    may_be_plural = subject.isalpha() and subject[1:] == subject[1:].lower()
    capital = re.compile(rf"(?<!\w)(?:{re.escape(subject)}|{re.escape(subject.upper())})(?!\w)")
    if is_word and not others:
        return list(hits)
    linker = EntityLinker([subject], threshold=2.0)  # unreachable: disables matching by similarity
    plain = without_accents(subject)
    plain_linker = EntityLinker([plain], threshold=2.0)
    parts = sorted(normalize(subject).split())
    kept = []
    for number, score in hits:
        query = (
            "SELECT subject, substr(text, start + 1, stop - start) FROM passage"
            " JOIN document ON document.id = document WHERE passage.id = ?"
        )
        about, text = db.execute(query, (number,)).fetchone() or ("", "")
        is_reordered = sorted(normalize(about).split()) == parts  # "Lovelace Ada"
        # Compare titles as a whole: in a sentence, "Yahoo!" would be Yahoo with an exclamation
        # mark.
        in_text = linker.mentions_known_name(text) or (
            " " in plain and plain_linker.mentions_known_name(without_accents(text))
        )
        named = is_word or is_reordered or in_text or linker.mentions_known_name(f"{about} was")
        if (
            not named and may_be_plural
        ):  # "Poets" matches poets, but "Henry" must not match Henry VIII
            named = not capital.search(f"{about} {text}")
        if named and (in_text or about not in others):
            kept.append((number, score))
    return kept
