"""Texts cut into passages, the values in them, and the words they are found by.

A passage is about three sentences; it never goes over a paragraph's end, nor ends inside a value.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from lacy.annotate import merge_marks
from lacy.annotate.grammar import capitalised_runs, extend_value
from lacy.errors import one_line
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
    for mark in merge_marks(marks):
        raw = text[mark.start : mark.end]
        value = one_line(raw)
        if mark.reason == "CONTENT" or not 0 < len(value) <= MAX_VALUE or value == subject:
            continue
        start = mark.start + len(raw) - len(raw.lstrip())
        found.append((replace(mark, start=start, end=start + len(raw.strip())), value))
    return found


def plain(name: str) -> str:
    """A name by which subjects are compared."""
    return one_line(unicodedata.normalize("NFC", name))


def subject_of(document: Document) -> str:
    """Whom or what a document is about: its title, else whom its text names first; or ""."""
    for key in ("person", "title", "subject"):
        named = document.meta.get(key)
        if isinstance(named, str) and plain(named):
            return plain(named)
    return first_name(document.text)


def first_name(text: str) -> str:
    """The first run of capitalised words in the first line of a text, or ""."""
    line = plain(next((line for line in text[:2_000].splitlines() if line.strip()), ""))
    for start, end in capitalised_runs(line):
        name = line[start:end]
        first, _, rest = name.partition(" ")
        if first.lower() in _ARTICLES:
            name, first = rest, rest
        if " " in name and first[:1].isupper():
            return name
    return ""


def wider(text: str, spans: Iterable[tuple[int, int, str]]) -> dict[tuple[int, int], str]:
    """Alternative forms of values, by their positions.

    A part of a name is completed ("One" in "CBC Radio One"): a name is a run of capitalised words,
    without an article at its beginning, which may begin a sentence. A number or date is extended by
    the words that qualify it ("about 40 km", "before 1450", "the 1890s").

    Args:
        text: a passage.
        spans: start, end and kind of each value; kinds that no rule assigns are not changed.
    """
    names = [_without_article(text, *run) for run in capitalised_runs(text)]
    found = {}
    for a, b, kind in spans:
        if kind == "ENTITY":
            place = next(((s, e) for s, e in names if s <= a and b <= e), (a, b))
        elif kind in ("DATE", "NUMBER"):
            place = extend_value(text, a, b, date=kind == "DATE")
        else:
            continue
        if place != (a, b):
            found[a, b] = one_line(text[slice(*place)])
    return found


def _without_article(text: str, start: int, end: int) -> tuple[int, int]:
    first = text[start:end].partition(" ")[0]
    return start + (len(first) + 1) * (first.lower() in _ARTICLES), end


def words_of(text: str) -> list[str]:
    """The words that a text is found by; characters of unspaced scripts stand alone."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        found += word if any(map(_unspaced, word)) else [word]
    return found


def _unspaced(character: str) -> bool:
    return 0x0E00 <= ord(character) <= 0x0EFF or 0x2E80 <= ord(character) <= 0xA4CF
