"""Finds the subject of a text among known names: the first name in its last paragraph.

The subject of a paragraph is what it names first; people named later (a spouse, a teacher) are part
of the statement. If several names begin at one place, the longest counts.

Only complete names count, including their symbols (``boundaries``): "Mara Vell" is not
found in "Mara Vellin", "Mara Vell-Smith" or "Mara Vell Foundation", nor "C" in "C++". If the first
name in a paragraph is such a longer, unknown name, the paragraph has no known subject. Scripts that
write no spaces are searched as plain text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lacy.sources.names.boundaries import alone, alone_unspaced, introduced, shadow

_WORD = re.compile(r"\w+(?:['.\-]\w+)*\.?")
_ALIKE = str.maketrans("’ʼ‐‑−♯", "''---#")
_SPACES = re.compile(r"\s+")
_AROUND = ' \t\n([{"“„‘«‹,;:–—…'
_BEHIND = " \t\n)]}\"”’»›,;:–—….'"
PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Mention:
    """A known name in a text.

    Args:
        start: first character of the name.
        end: the position after its last character.
        name: its compared form; None if it is part of a longer, unknown name.
    """

    start: int
    end: int
    name: str | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A text without a known subject, because a known name is only part of a longer name in it.

    Args:
        paragraph: the paragraph with the longer name.
        start: where the known part of the name begins in it.
        part: the known part.
    """

    paragraph: str
    start: int
    part: str

    @property
    def why(self) -> str:
        """The reason, for messages."""
        return f"{self.part!r} may be a part of a longer name in the text"


class NameIndex:
    """Names loaded once, found in texts in time proportional to the text.

    Args:
        names: the known names; empty ones are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._spelled: dict[str, str] = {}
        self._words: dict[tuple[str, ...], tuple[_Core, ...]] = {}
        self._unspaced: list[str] = []
        for name in names:
            known = plain(name)
            if not known or known in self._spelled:
                continue
            self._spelled[known] = name
            if _is_unspaced(known):
                self._unspaced.append(known)
            elif words := _keys(known):
                key = tuple(word for word, _, _ in words)
                core, others = _Core.of(known, words), self._words.get(key)
                # "C++" before "C": the longest that stands there counts.
                cores = sorted((*others, core), key=lambda c: -len(c.text)) if others else [core]
                self._words[key] = tuple(cores)
        self._longest = max(map(len, self._words), default=0)
        self._first = {words[0] for words in self._words}

    def __len__(self) -> int:
        return len(self._spelled)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spelled.values())

    def __contains__(self, name: str) -> bool:
        return plain(name) in self._spelled

    def spelled(self, name: str) -> str:
        """The name as the database spells it (spaces and Unicode forms may differ)."""
        return self._spelled.get(plain(name), name)

    def find(self, text: str) -> str | None:
        """The name that the last paragraph with a name mentions first, or None.

        Of overlapping names the longest counts.
        """
        found = self.search(text)
        return found if isinstance(found, str) else None

    def search(self, text: str) -> str | Doubt | None:
        """The result of ``find``, or why it found nothing."""
        for paragraph in reversed(PARAGRAPH.split(alike(text))):
            found = self._first_in(paragraph)
            if isinstance(found, Doubt):
                return found
            if found is not None:
                return self._spelled[found]
        return None

    def names_in(self, text: str) -> Iterator[str]:
        """All names that a text mentions, in reading order."""
        for paragraph in PARAGRAPH.split(alike(text)):
            for mention in self._mentions(paragraph):
                if mention.name is not None:
                    yield self._spelled[mention.name]
            for name in self._unspaced:
                if any(ok for _, ok in _places(paragraph, name)):
                    yield self._spelled[name]

    def others(self, text: str) -> set[str]:
        """Names whose words are in a text, but only as another name: "C++" if it has "C#"."""
        text = alike(text)
        words, seen = _keys(text), set()
        for place in range(len(words)):
            for count in range(1, min(self._longest, len(words) - place) + 1):
                key = tuple(word for word, _, _ in words[place : place + count])
                seen |= {core.name for core in self._words.get(key, ())}
        there = {mention.name for mention in self._mentions(text)}
        return {self._spelled[name] for name in seen - there}

    def _first_in(self, text: str) -> str | Doubt | None:
        best, best_start, doubt = None, len(text), None
        for mention in self._mentions(text):
            if mention.name is not None:
                best, best_start = mention.name, mention.start
                break
            part = text[mention.start : mention.end]
            doubt = doubt or Doubt(text, mention.start, part)
            if not introduced(text, mention.start):
                break  # the subject of the paragraph is unknown
        for name in self._unspaced:
            places = list(_places(text, name))
            at = next((place for place, ok in places if ok), -1)
            if places and at < 0:
                doubt = doubt or Doubt(text, places[0][0], name)
            longer = at == best_start and best is not None and len(name) > len(best)
            if at >= 0 and (at < best_start or longer):
                best, best_start = name, at
        return best if best is not None else doubt

    def _mentions(self, text: str) -> Iterator[Mention]:
        """Names in reading order, leftmost longest, not overlapping."""
        words = _keys(text)
        place = 0
        while place < len(words):
            found = self._at(text, words, place) if words[place][0] in self._first else None
            count, mention = found or (1, None)
            if mention is not None:
                yield mention
            place += count

    def _at(
        self, text: str, words: list[tuple[str, int, int]], place: int
    ) -> tuple[int, Mention] | None:
        """The longest complete name at a word, or else part of a longer one, with its words."""
        part = None
        for count in range(min(self._longest, len(words) - place), 0, -1):
            group = words[place : place + count]
            for core in self._words.get(tuple(word for word, _, _ in group), ()):
                start, end = group[0][1] - core.lead, group[-1][2] + core.trail
                # Same words are not enough: "Vell, Mara" and "Vell Mara" differ between them.
                if start < 0 or _SPACES.sub(" ", text[start:end]) != core.text:
                    continue
                if alone(text, start, end):
                    return count, Mention(start, end, core.name)
                part = part or (count, Mention(start, end, None))
        return part


@dataclass(frozen=True, slots=True)
class _Core:
    """A name without surrounding characters (brackets, a final dot), but with its symbols.

    ``lead`` and ``trail`` are the numbers of characters before its first word and after its last.
    """

    text: str
    name: str
    lead: int
    trail: int

    @classmethod
    def of(cls, name: str, words: list[tuple[str, int, int]]) -> _Core:
        first, last = words[0][1], words[-1][2]
        start = first - len(name[:first].lstrip(_AROUND))
        behind = name[last:]
        end = last + len(behind if _OWN.match(behind) else behind.rstrip(_BEHIND))
        return cls(name[start:end], name, first - start, end - last)


_OWN = re.compile(r"'[sS]$")
"""An ending that is part of the name: McDonald's."""


def _keys(text: str) -> list[tuple[str, int, int]]:
    """Words with their places; possessive endings and final dots do not count."""
    found = []
    for match in _WORD.finditer(shadow(text)):
        word = text[match.start() : match.end()].rstrip(".")
        word = word.removesuffix("'s")
        if word:
            found.append((word, match.start(), match.start() + len(word)))
    return found


def _places(text: str, name: str) -> Iterator[tuple[int, bool]]:
    """Positions of a name in a text without spaces, and whether the name is complete there."""
    at = text.find(name)
    while at >= 0:
        yield at, alone_unspaced(text, at, at + len(name))
        at = text.find(name, at + 1)


def alike(text: str) -> str:
    """A text in one Unicode normal form, with ASCII apostrophes and hyphens."""
    text = unicodedata.normalize("NFC", text)
    return text if text.isascii() else text.translate(_ALIKE)


def plain(name: str) -> str:
    """A name as it is compared: in one Unicode form, with single spaces and ASCII apostrophes."""
    return " ".join(alike(name).split())


def same(name: str) -> str:
    """A form shared by all names of one subject: ``plain``; names of several words ignore case.

    "Turkey" and "turkey" are two subjects; "ADA LOVELACE" and "Ada Lovelace" are one.
    """
    known = plain(name)
    return known.casefold() if " " in known else known


def _is_unspaced(name: str) -> bool:
    return not name.isascii() and any(
        0x0E00 <= ord(c) <= 0x0EFF or 0x2E80 <= ord(c) <= 0xA4CF for c in name
    )
