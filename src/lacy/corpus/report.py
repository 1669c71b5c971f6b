"""Report of a reading pass: how much was read, what was skipped, left out or changed, and where."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lacy.errors import one_line

PLACES_KEPT = 20
"""Places kept per reason in a report; all are counted."""

_UNREAD = ("unreadable", "no reader", "damaged", "truncated", "unpacks", "blank", "encrypted")
"""Prefixes of reasons that mean that a file may contain more than was read."""

_LINE = re.compile(r":\d+\Z")

KINDS_KEPT = 30
"""Kinds of files that a report counts separately."""


class Places(dict[str, list[str]]):
    """Reasons, each with its count (``counts``) and the first places."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def add(self, reason: str, place: str, detail: str = "") -> None:
        """Counts a place."""
        self.counts[reason] += 1
        kept = self.setdefault(reason, [])
        if len(kept) < PLACES_KEPT:
            kept.append(one_line(f"{place}: {detail}" if detail else place))


@dataclass
class ReadReport:
    """What was read and what was left out, filled while ``read`` runs."""

    documents: int = 0
    characters: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> how many lines, rows or files could not be used."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the first places, as ``file:line: detail``."""
    renamed: int = 0
    """Documents whose id had been seen before; they were given a new one (``id#2``)."""
    fields: list[str] = field(default_factory=list)
    """Names of the fields in the first row."""
    left: Places = field(default_factory=Places)
    """Files of a folder that are not read, by their kind: an ending, ``dead link``, ``pipe`` ..."""
    notes: Places = field(default_factory=Places)
    """Data that were read with changes: a guessed encoding, a cell that was left out."""

    unread: set[str] = field(default_factory=set)
    """Files and folders that could not be read this time, or only in part."""

    def skip(self, reason: str, place: str, detail: str = "") -> None:
        """Counts a line, row or file that could not be used."""
        self.skipped[reason] += 1
        if reason.startswith(_UNREAD):
            self.unread.add(os.path.realpath(_LINE.sub("", place)))
        kept = self.places.setdefault(reason, [])
        if len(kept) < PLACES_KEPT:
            kept.append(one_line(f"{place}: {detail}" if detail else place))

    def leave(self, kind: str, path: Path) -> None:
        """Counts a file of a kind that is not read."""
        many = len(self.left) >= KINDS_KEPT and kind not in self.left
        self.left.add("other kinds" if many else kind, str(path))

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Sentences about what was skipped, left out or changed, each with its first places."""
        for reason, count in self.skipped.most_common():
            yield f"skipped: {count:,} x {reason}", self.places[reason]
        for kind, count in self.left.counts.most_common():
            yield f"not read: {count:,} x {kind}", self.left[kind]
        for reason, count in self.notes.counts.most_common():
            yield f"note: {count:,} x {reason}", self.notes[reason]

    def summary(self) -> str:
        """One line: how much was read, what was skipped and where first."""
        parts = [f"{self.documents:,} documents, {self.characters:,} characters"]
        parts += (f"{line} (first: {places[0]})" for line, places in self.lines())
        if self.renamed:
            parts.append(f"{self.renamed:,} ids had been seen before and were changed")
        return "; ".join(parts)
