"""Report what a reading pass read, skipped, ignored or changed, and where."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lacy.errors import one_line

MAX_PLACES = 20
"""Maximum number of places that a report lists per reason; all are counted."""

_INCOMPLETE = ("unreadable", "no reader", "damaged", "truncated", "unpacks", "blank", "encrypted")
"""A reason with one of these prefixes means that part of the file may not have been read."""

_LINE = re.compile(r":\d+\Z")

MAX_KINDS = 30
"""Maximum number of file kinds that a report counts separately."""


class Occurrences(dict[str, list[str]]):
    """The first places by reason; ``counts`` has the total number per reason."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def add(self, reason: str, place: str, detail: str = "") -> None:
        """Count a place."""
        self.counts[reason] += 1
        places = self.setdefault(reason, [])
        if len(places) < MAX_PLACES:
            places.append(one_line(f"{place}: {detail}" if detail else place))


@dataclass
class ReadReport:
    """Counts and places of what ``read`` read and skipped; filled while it runs."""

    documents: int = 0
    characters: int = 0
    places: Occurrences = field(default_factory=Occurrences)
    """Unusable lines, rows and files by reason, as ``file:line: detail``."""
    renamed: int = 0
    """Number of documents with a repeated id; they got a new one (``id#2``)."""
    fields: list[str] = field(default_factory=list)
    """Names of the fields in the first row."""
    ignored: Occurrences = field(default_factory=Occurrences)
    """Files of a folder that are not read, by kind (a suffix, ``dead link``, ``pipe``, ...)."""
    notes: Occurrences = field(default_factory=Occurrences)
    """Remarks about data that were changed while reading: a guessed encoding, a dropped cell."""

    incomplete: set[str] = field(default_factory=set)
    """Files and folders that could not be read, or only in part."""

    @property
    def skipped(self) -> Counter[str]:
        """Return the number of unusable lines, rows and files by reason."""
        return self.places.counts

    def skip(self, reason: str, place: str, detail: str = "") -> None:
        """Count an unusable line, row or file."""
        self.places.add(reason, place, detail)
        if reason.startswith(_INCOMPLETE):
            self.incomplete.add(os.path.realpath(_LINE.sub("", place)))

    def ignore(self, kind: str, path: Path) -> None:
        """Count a file of a kind that is not read."""
        many = len(self.ignored) >= MAX_KINDS and kind not in self.ignored
        self.ignored.add("other kinds" if many else kind, str(path))

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Yield a sentence and the first places for all that was skipped, ignored or changed."""
        parts = {"skipped": self.places, "not read": self.ignored, "note": self.notes}
        for label, found in parts.items():
            for reason, count in found.counts.most_common():
                yield f"{label}: {count:,} x {reason}", found[reason]

    def summary(self) -> str:
        """Return one line: how much was read, what was skipped, and where it first occurred."""
        parts = [f"{self.documents:,} documents, {self.characters:,} characters"]
        parts += (f"{line} (first: {places[0]})" for line, places in self.lines())
        if self.renamed:
            parts.append(f"{self.renamed:,} ids had been seen before and were changed")
        return "; ".join(parts)
