"""The report of a reading pass: what was read, skipped, ignored or changed, and where."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lacy.errors import one_line

MAX_PLACES = 20
"""Number of places listed per reason in a report; all are counted."""

_INCOMPLETE = ("unreadable", "no reader", "damaged", "truncated", "unpacks", "blank", "encrypted")
"""Prefixes of reasons that mean that a file may contain more than was read."""

_LINE = re.compile(r":\d+\Z")

MAX_KINDS = 30
"""Number of kinds of files that a report counts separately."""


class Occurrences(dict[str, list[str]]):
    """The first places of each reason; ``counts`` has their numbers."""

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
    """What was read and what was skipped; filled while ``read`` runs."""

    documents: int = 0
    characters: int = 0
    places: Occurrences = field(default_factory=Occurrences)
    """Lines, rows and files that could not be used, by reason, as ``file:line: detail``."""
    renamed: int = 0
    """Documents whose id had been used before; they got a new one (``id#2``)."""
    fields: list[str] = field(default_factory=list)
    """Names of the fields in the first row."""
    ignored: Occurrences = field(default_factory=Occurrences)
    """Files of a folder that are not read, by kind: a suffix, ``dead link``, ``pipe`` ..."""
    notes: Occurrences = field(default_factory=Occurrences)
    """Data that were read with changes: a guessed encoding, a dropped cell."""

    incomplete: set[str] = field(default_factory=set)
    """Files and folders that could not be read this time, or only in part."""

    @property
    def skipped(self) -> Counter[str]:
        """Number of lines, rows or files that could not be used, by reason."""
        return self.places.counts

    def skip(self, reason: str, place: str, detail: str = "") -> None:
        """Count a line, row or file that could not be used."""
        self.places.add(reason, place, detail)
        if reason.startswith(_INCOMPLETE):
            self.incomplete.add(os.path.realpath(_LINE.sub("", place)))

    def ignore(self, kind: str, path: Path) -> None:
        """Count a file of a kind that is not read."""
        many = len(self.ignored) >= MAX_KINDS and kind not in self.ignored
        self.ignored.add("other kinds" if many else kind, str(path))

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Yield sentences about what was skipped, ignored or changed, with the first places."""
        parts = {"skipped": self.places, "not read": self.ignored, "note": self.notes}
        for label, found in parts.items():
            for reason, count in found.counts.most_common():
                yield f"{label}: {count:,} x {reason}", found[reason]

    def summary(self) -> str:
        """Summarise in one line how much was read, and what was skipped and where first."""
        parts = [f"{self.documents:,} documents, {self.characters:,} characters"]
        parts += (f"{line} (first: {places[0]})" for line, places in self.lines())
        if self.renamed:
            parts.append(f"{self.renamed:,} ids had been seen before and were changed")
        return "; ".join(parts)
