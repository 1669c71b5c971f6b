"""Texts cut into passages, the values in them, and the words they are found by.

A passage is about three sentences; it never goes over a paragraph's end, nor ends inside a value.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from lacy.annotate.protocol import settle
from lacy.sources.text import clean
from lacy.types import Document, Mark

SENTENCES = 3
"""Sentences of a passage."""

LONGEST = 1_200
"""Characters of a passage; longer ones are cut at a space."""

MAX_VALUE = 120
"""Characters above which a mark is no value that could be said in a sentence."""

STOP = re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？][”’」』）]*\s*|\n\s*\n")
EMPTY_LINE = re.compile(r"\n\s*\n")
_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(
    r"\b[^\W\d_a-z]\w*(?:['’\-‐‑–]\w+)*\.?"
    r"(?: (?:(?:of|the|de|da|di|du|von|van|der|den|bin|al) ){0,2}"
    r"[^\W\d_a-z]\w*(?:['’\-‐‑–]\w+)*\.?)+"
)
_ENDED = re.compile(r"(?<=\w\w\w)\. |(?<=\w\w\w)\.$")
"""A sentence's end in a run of capitalised words; "J. S. Bach" has none inside."""

_ARTICLES = {"the", "a", "an", "in", "on", "at"}


def cut(text: str, marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Passages of a text as ``[start, stop)``, without gaps.

    Args:
        text: any text.
        marks: sorted, not overlapping; no passage ends inside one.
    """
    starts = [mark.start for mark in marks]

    def safe(at: int) -> int:
        """``at``, or the end of the mark that it lies in."""
        place = bisect_left(starts, at) - 1
        return max(at, marks[place].end) if place >= 0 else at

    begin = count = 0
    for match in STOP.finditer(text):
        count += 1
        end = match.end()
        if (count < SENTENCES and not EMPTY_LINE.search(match.group())) or safe(end) != end:
            continue
        yield from _short(text, begin, end, safe)
        begin, count = end, 0
    if begin < len(text):
        yield from _short(text, begin, len(text), safe)


def _short(
    text: str, begin: int, end: int, safe: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    while end - begin > LONGEST:
        space = text.rfind(" ", begin + LONGEST // 2, begin + LONGEST)
        at = safe(space + 1 if space >= 0 else begin + LONGEST)
        if at >= end:
            break
        yield begin, at
        begin = at
    yield begin, end


def values(text: str, marks: Iterable[Mark], subject: str = "") -> list[tuple[Mark, str]]:
    """The marks that hold a value, without spaces around it, and the value as it is said."""
    found = []
    for mark in settle(marks):
        raw = text[mark.start : mark.end]
        value = clean(raw)
        if mark.reason == "CONTENT" or not 0 < len(value) <= MAX_VALUE or value == subject:
            continue
        start = mark.start + len(raw) - len(raw.lstrip())
        found.append((replace(mark, start=start, end=start + len(raw.strip())), value))
    return found


def plain(name: str) -> str:
    """A name by which subjects are compared."""
    return clean(unicodedata.normalize("NFC", name))


def subject_of(document: Document) -> str:
    """Whom or what a document is about: its title, else whom its text names first; or ""."""
    for key in ("person", "title", "subject"):
        named = document.meta.get(key)
        if isinstance(named, str) and plain(named):
            return plain(named)
    return first_name(document.text)


def first_name(text: str) -> str:
    """The first run of capitalised words in the first line of a text, or ""."""
    line = next((line for line in text[:2_000].splitlines() if line.strip()), "")
    for match in _NAME.finditer(plain(line)):
        name = match.group()
        first, _, rest = name.partition(" ")
        if first.lower() in _ARTICLES:
            name, first = rest, rest
        if " " in name and first[:1].isupper():
            return name
    return ""


def names_around(text: str, spans: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Whole names of which rules found a part ("CBC" and "One" of "CBC Radio One"), by that part.

    A name is a run of capitalised words; an article at its beginning may begin a sentence and is
    left out.
    """
    runs = []
    for match in _NAME.finditer(text):
        start = match.start()
        for piece in _ENDED.split(match.group()):
            first = piece.partition(" ")[0]
            left = (len(first) + 1) * (first.lower() in _ARTICLES)
            runs.append((start + left, start + len(piece)))
            start += len(piece) + 2
    return {
        (a, b): clean(text[start:end])
        for a, b in spans
        for start, end in runs
        if start <= a and b <= end and (start, end) != (a, b)
    }


def words_of(text: str) -> list[str]:
    """The words that a text is found by; characters of unspaced scripts stand alone."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        found += word if any(map(_unspaced, word)) else [word]
    return found


def _unspaced(character: str) -> bool:
    return 0x0E00 <= ord(character) <= 0x0EFF or 0x2E80 <= ord(character) <= 0xA4CF
