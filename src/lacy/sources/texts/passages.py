"""Split texts into passages; find the values in a passage and the words to search it by.

A passage has about three sentences. It ends at the end of a paragraph at the latest, and never
inside a value.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from lacy.annotate import merge_marks
from lacy.annotate.grammar import capitalised_runs, extend_value, is_unspaced, trim_value
from lacy.errors import one_line
from lacy.types import Mark

SENTENCES_PER_PASSAGE = 3

LONGEST_PASSAGE = 1_200
"""Maximum characters of a passage; longer ones are split at a space."""

LONGEST_MARK = 120
"""Maximum characters of a mark; longer ones do not fit into a sentence and are ignored."""

SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？][”’」』）]*\s*|\n\s*\n")
EMPTY_LINE = re.compile(r"\n\s*\n")
LEADING_WORDS = frozenset({"the", "a", "an", "in", "on", "at"})
_WORD = re.compile(r"[^\W_]+")


def split_passages(text: str, marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Yield ``[start, stop)`` of each passage of a text, without gaps.

    Args:
        text: any text.
        marks: sorted marks without overlaps; no passage ends inside a mark.
    """
    starts = [mark.start for mark in marks]

    def outside_marks(at: int) -> int:
        """Return ``at``, or the end of the mark that contains it."""
        place = bisect_left(starts, at) - 1
        return max(at, marks[place].end) if place >= 0 else at

    begin = count = 0
    for match in SENTENCE_END.finditer(text):
        count += 1
        end = match.end()
        is_last = count >= SENTENCES_PER_PASSAGE or EMPTY_LINE.search(match.group())
        if not is_last or outside_marks(end) != end:
            continue
        yield from _split_long(text, begin, end, outside_marks)
        begin, count = end, 0
    if begin < len(text):
        yield from _split_long(text, begin, len(text), outside_marks)


def _split_long(
    text: str, begin: int, end: int, outside_marks: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    while end - begin > LONGEST_PASSAGE:
        space = text.rfind(" ", begin + LONGEST_PASSAGE // 2, begin + LONGEST_PASSAGE)
        at = outside_marks(space + 1 if space >= 0 else begin + LONGEST_PASSAGE)
        if at >= end:
            break
        yield begin, at
        begin = at
    yield begin, end


def marked_values(text: str, marks: Iterable[Mark], subject: str = "") -> list[tuple[Mark, str]]:
    """Return ``(mark, value)`` for each mark that contains a value, trimmed (``trim_value``)."""
    found = []
    for mark in merge_marks(marks):
        start, end = trim_value(text, mark.start, mark.end)
        value = one_line(text[start:end])
        if mark.reason == "CONTENT" or not 0 < len(value) <= LONGEST_MARK or value == subject:
            continue
        found.append((replace(mark, start=start, end=end), value))
    return found


def extended_values(text: str, spans: Iterable[tuple[int, int, str]]) -> dict[tuple[int, int], str]:
    """Return extended forms of values by their positions.

    A part of a name is extended to the whole name ("One" to "CBC Radio One"): a run of capitalised
    words without a leading article, because the article may only begin the sentence. A number or
    date is extended by its qualifiers ("about 40 km", "before 1450", "the 1890s").

    Args:
        text: a passage.
        spans: start, end and kind of each value; only kinds that the rules assign are extended.
    """
    names = [_without_article(text, *run) for run in capitalised_runs(text)]
    found = {}
    for a, b, kind in spans:
        if kind == "ENTITY":
            place = next(((s, e) for s, e in names if s <= a and b <= e), (a, b))
            place = trim_value(text, *place)
        elif kind in ("DATE", "NUMBER"):
            place = extend_value(text, a, b, date=kind == "DATE")
        else:
            continue
        if place != (a, b):
            found[a, b] = one_line(text[slice(*place)])
    return found


def _without_article(text: str, start: int, end: int) -> tuple[int, int]:
    first = text[start:end].partition(" ")[0]
    return start + (len(first) + 1) * (first.lower() in LEADING_WORDS), end


def search_words(text: str) -> list[str]:
    """Return the words to search a text by; in scripts without spaces, each character is a word."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        found += word if is_unspaced(word) else [word]
    return found
