"""Read stored labels of an LLM judge in the LMLM format into documents with marks.

LMLM (arXiv 2505.15962) writes a look-up before each fact: ``born on [dblookup('Ralph Earl',
'Birth Date') -> May 11, 1751] May 11, 1751``. The paper's "LLM judge" method (arXiv 2602.12005,
§5.1) delegates these values. ``read_labels`` removes the look-ups from the text and searches for
each value after its look-up, because the judge does not always put the two side by side and
sometimes rewords the value. ``LabelReport`` counts how each value was found.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from lacy._parse import parse_json
from lacy.annotate.protocol import merge_marks
from lacy.errors import LacyError
from lacy.types import Document, Mark

OPENING = "[dblookup("
CLOSING_QUOTE = {"'": "'", '"': '"', "\u2018": "\u2019", "\u201c": "\u201d"}
OPENING_QUOTE = re.compile(rf"\s*([{''.join(CLOSING_QUOTE)}])")
ARROW = re.compile(rf"([{''.join(CLOSING_QUOTE.values())}])\s*\)\s*\]?\s*(?:->|=>|\u2192)[^\S\n]*")
WORD = re.compile(r"\w+")
WINDOW = 200
"""Number of characters after a look-up that may contain its value: a sentence or two (ours)."""

MAX_LOOKUP = 2_000
"""Longest look-up in characters (our choice)."""

MAX_BRACKETS = 20
"""Maximum number of brackets that are tried as the end of a look-up."""


@dataclass
class LabelReport:
    """Counts of look-ups by how their value was found in the text."""

    documents: int = 0
    lookups: int = 0
    at_once: int = 0
    """The value follows its look-up verbatim."""
    reordered: int = 0
    """The same words follow in another order: ``May 8, 1980`` for ``8 May 1980``."""
    later: int = 0
    """Verbatim, but further on in the same line (within ``WINDOW`` characters)."""
    other_case: int = 0
    """Further on and in different letter case."""
    in_parts: int = 0
    """The value is a list, and at least one of its items was found."""
    restored: int = 0
    """The judge had left the value out of the text; it was restored (also counted above)."""
    lost: int = 0
    """Not found; nothing is marked."""
    broken: int = 0
    """Look-ups that do not follow the format; removed from the text."""
    overlapping: int = 0
    """Found, but it overlaps another value."""

    @property
    def verbatim_share(self) -> float:
        """Share of look-ups directly followed by their value; 0.0 if there are no look-ups."""
        return (self.at_once + self.later) / self.lookups if self.lookups else 0.0

    def __str__(self) -> str:
        counts = (f"{f.name} {getattr(self, f.name)}" for f in fields(self))
        return f"{', '.join(counts)}; verbatim {self.verbatim_share:.1%}"


class Lookup(NamedTuple):
    """One ``[dblookup('entity', 'relation') -> value]``; ``at`` is its offset in the clean text."""

    at: int
    entity: str
    relation: str
    value: str


def read_labels(
    path: str | Path, *, limit: int | None = None, report: LabelReport | None = None
) -> Iterator[Document]:
    """Read stored judge labels.

    Args:
        path: LMLM's JSON (``{"examples": [{"annotated_text": ...}]}``), a JSON list, or JSON lines.
        limit: stop after this many documents.
        report: filled with counts while the documents are read.

    Yields:
        Documents whose text has no look-ups and whose marks have the reason ``VALUE`` and the
        judge's relation. ``meta["title"]`` is the heading of the original text, if it has one.

    Raises:
        LacyError: E13, no such file; E32, no examples in this format.
    """
    path = Path(path)
    report = LabelReport() if report is None else report
    found = 0
    for number, example in enumerate(_examples(path)):
        if limit is not None and found >= limit:
            return
        annotated = example.get("annotated_text") if isinstance(example, dict) else None
        if not isinstance(annotated, str) or not annotated.strip():
            continue
        text, marks = parse_labels(annotated, report)
        title = _title(example)
        meta = {"title": title} if title else {}
        found += 1
        yield Document(f"{path.stem}:{number}", text, meta, tuple(marks))
    if not found:
        raise LacyError("E32", path=path, why="no example has an 'annotated_text'")


def parse_labels(annotated: str, report: LabelReport | None = None) -> tuple[str, list[Mark]]:
    """Remove the look-ups from an annotated text and find their values.

    Returns:
        The clean text, and the marks (sorted, without overlaps) of the values in it.
    """
    report = LabelReport() if report is None else report
    text, lookups = _without_lookups(annotated, report)
    marks: list[Mark] = []
    taken = bytearray(len(text))
    for lookup in lookups:
        for start, end in _find_value(text, lookup, report):
            if any(taken[start:end]):
                report.overlapping += 1
                continue
            taken[start:end] = b"\1" * (end - start)
            marks.append(Mark(start, end, "VALUE", lookup.relation))
    report.documents += 1
    report.lookups += len(lookups)
    return text, merge_marks(marks)


def _examples(path: Path) -> list[Any]:
    if not path.is_file():
        raise LacyError("E13", path=path, do="name a file of stored labels (LMLM's JSON)")
    try:
        raw = path.read_text(encoding="utf-8-sig")
        try:
            content = parse_json(raw)
        except ValueError:
            content = [parse_json(line) for line in raw.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise LacyError("E32", path=path, why=str(error)) from None
    if isinstance(content, dict):
        content = content.get("examples", [content])
    if not isinstance(content, list):
        raise LacyError("E32", path=path, why="'examples' is not a list")
    return content


def _title(example: dict[str, Any]) -> str | None:
    """Return the heading of the original text: a short first line before an empty line."""
    original = example.get("text")
    if not isinstance(original, str):
        return None
    heading, gap, _ = original.partition("\n\n")
    return heading if gap and "\n" not in heading and len(heading) <= 120 else None


def _without_lookups(annotated: str, report: LabelReport) -> tuple[str, list[Lookup]]:
    """Return the text without look-ups, and the look-ups with their offsets in it."""
    pieces: list[str] = []
    lookups: list[Lookup] = []
    length = at = 0
    last = " "  # the last character so far; a text's start counts as a space
    while True:
        opening = annotated.find(OPENING, at)
        if opening < 0 and annotated.endswith(OPENING[:-1]):  # cut off in its name
            annotated = annotated.removesuffix(OPENING[:-1])
            report.broken += 1
        piece = annotated[at:] if opening < 0 else annotated[at:opening]
        piece = piece.replace("( ", "(")  # the format leaves a space where a look-up was removed
        if at and last in " (\n":
            piece = piece.removeprefix(" ")
        pieces.append(piece)
        length += len(piece)
        last = piece[-1:] or last
        if opening < 0:
            return "".join(pieces), lookups
        parsed = _parse_lookup(annotated, opening)
        if parsed is None:
            report.broken += 1
            at = _malformed_end(annotated, opening)
            continue
        entity, relation, value, at = parsed
        rest = annotated[at : at + WINDOW]
        value = _unquoted(value, rest)
        lookups.append(Lookup(length, entity, relation, value))
        if rest[:1] in {",", ".", ";", ")"} and value not in rest:
            pieces.append(value)
            length += len(value)
            last = value[-1:] or last
            report.restored += 1


def _parse_lookup(annotated: str, opening: int) -> tuple[str, str, str, int] | None:
    """Return entity, relation, value and end of the look-up at ``opening``; None if malformed.

    A look-up ends before the next look-up or an empty line. Each step continues where the previous
    one stopped, so even a text full of incomplete look-ups takes linear time.
    """
    start = opening + len(OPENING)
    limit = min(len(annotated), opening + MAX_LOOKUP)
    for mark in (OPENING, "\n\n"):
        place = annotated.find(mark, start, limit)
        limit = place if place >= 0 else limit
    arguments = _parse_arguments(annotated, start, limit)
    if arguments is None:
        return None
    entity, relation, begin = arguments
    end = _closing_bracket(annotated, begin, limit)
    if end is None:
        return None
    return entity, relation, " ".join(annotated[begin:end].split()), end + 1


def _parse_arguments(text: str, start: int, limit: int) -> tuple[str, str, int] | None:
    """Return the entity, the relation and the value's start; names may contain quotation marks."""
    quote = OPENING_QUOTE.match(text, start, limit)
    if quote is None:
        return None
    between = {
        second: re.compile(rf"{CLOSING_QUOTE[quote[1]]}\s*,\s*{first}").search(
            text, quote.end(), limit
        )
        for first, second in CLOSING_QUOTE.items()
    }
    for arrow in ARROW.finditer(text, quote.end(), limit):
        comma = between[arrow[1]]
        if comma is not None and comma.end() <= arrow.start():
            entity = text[quote.end() : comma.start()]
            return entity, text[comma.end() : arrow.start()], arrow.end()
    return None


def _closing_bracket(text: str, begin: int, limit: int) -> int | None:
    """Return the position of the bracket that closes the look-up with a value at ``begin``.

    Prefers the first bracket that the value follows, then the first unbalanced bracket, then the
    first bracket.
    """
    brackets = re.finditer(r"\]", text[begin:limit])
    places = [match.start() for match in itertools.islice(brackets, MAX_BRACKETS)]
    for place in places:
        value = text[begin : begin + place].strip()
        after = begin + place + 1
        if value and (text.startswith(value, after) or text.startswith(" " + value, after)):
            return begin + place
    for number, place in enumerate(places):
        if text.count("[", begin, begin + place) <= number:
            return begin + place
    return begin + places[0] if places else None


def _malformed_end(text: str, opening: int) -> int:
    """Return the end of a malformed look-up: its bracket, or else the end of its line."""
    start = opening + len(OPENING)
    limit = _line_end(text, opening)
    following = text.find(OPENING, start, limit)
    limit = following if following >= 0 else limit
    bracket = text.find("]", start, limit)
    return bracket + 1 if bracket >= 0 else limit


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _find_value(text: str, lookup: Lookup, report: LabelReport) -> list[tuple[int, int]]:
    """Return the value's ranges in the clean text; count in ``report`` how it was found."""
    value, at = lookup.value, lookup.at
    if not value:
        report.lost += 1
        return []
    if text.startswith(value, at) and _cuts_no_word(text, at, at + len(value)):
        report.at_once += 1
        return [(at, at + len(value))]
    if (same := _same_words(text, at, value)) is not None:
        report.reordered += 1
        return [same]
    end = min(_line_end(text, at), at + WINDOW)
    if (place := find_words(text, value, at, end)) is not None:
        report.later += 1
        return [place]
    if (place := find_words(text, value, at, end, re.IGNORECASE)) is not None:
        report.other_case += 1
        return [place]
    parts = [part.strip() for part in re.split(r"[,;]\s+| and ", value)]
    places: list[tuple[int, int]] = []
    for part in parts if len(parts) > 1 else ():
        if len(part) > 1 and (place := find_words(text, part, at, end)) is not None:
            places.append(place)
    if places:
        report.in_parts += 1
    else:
        report.lost += 1
    return places


def _unquoted(value: str, rest: str) -> str:
    """Return a value without quotation marks that the judge added."""
    close = CLOSING_QUOTE.get(value[:1])
    quoted = len(value) > 2 and close is not None and value.endswith(close)
    return value[1:-1].strip() if quoted and value not in rest else value


def _cuts_no_word(text: str, start: int, end: int) -> bool:
    """True if ``[start, end)`` begins and ends at word boundaries."""
    before = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
    after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
    return not before and not after


def find_words(
    text: str, value: str, start: int = 0, end: int | None = None, flags: int = 0
) -> tuple[int, int] | None:
    """Return the first occurrence of ``value`` as whole words in ``[start, end)``, or None."""
    pattern = re.compile(re.escape(value), flags)
    reach = len(text) if end is None else end + len(value)
    for match in pattern.finditer(text, start, reach):
        if _cuts_no_word(text, *match.span()):
            return match.span()
    return None


def _same_words(text: str, at: int, value: str) -> tuple[int, int] | None:
    """Return the range of the next words if they are the value's words in another order."""
    wanted = sorted(WORD.findall(value))
    if len(wanted) < 2:
        return None
    words = []
    for match in WORD.finditer(text, at, at + 2 * len(value) + 8):
        words.append(match)
        if len(words) == len(wanted):
            break
    if not words or words[0].start() - at > 1 or sorted(w[0] for w in words) != wanted:
        return None
    return words[0].start(), words[-1].end()
