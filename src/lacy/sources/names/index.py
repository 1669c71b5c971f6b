"""Find the subject of a text among known names: the first name in its last paragraph.

A paragraph names its subject first; people named later (a spouse, a teacher) are part of the
statement. If several names begin at the same position, the longest is used.

Only complete names count, including their symbols (``boundaries``): "Mara Vell" does not match in
"Mara Vellin", "Mara Vell-Smith" or "Mara Vell Foundation", and "C" does not match in "C++". If the
first name in a paragraph is such a longer, unknown name, the paragraph has no known subject.
Scripts without spaces are searched as plain text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lacy.annotate.grammar import is_unspaced
from lacy.sources.names.boundaries import (
    follows_preposition,
    is_complete_name,
    is_complete_unspaced,
    unify_characters,
)

_WORD = re.compile(r"\w+(?:['.\-]\w+)*\.?")
_ASCII = str.maketrans("’ʼ‐‑−♯", "''---#")
_SPACES = re.compile(r"\s+")
_LEADING = ' \t\n([{"“„‘«‹,;:–—…'
_TRAILING = " \t\n)]}\"”’»›,;:–—….'"
PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Mention:
    """A known name in a text.

    Args:
        start: first character of the name.
        end: the position after its last character.
        name: the name as it is compared; None if it is part of a longer, unknown name.
    """

    start: int
    end: int
    name: str | None


@dataclass(frozen=True, slots=True)
class PartialMatch:
    """A known name that is only part of a longer, unknown name, so the subject is unknown.

    Args:
        paragraph: the paragraph with the longer name.
        start: offset of the known part in the paragraph.
        part: the known part.
    """

    paragraph: str
    start: int
    part: str

    @property
    def why(self) -> str:
        """The reason for messages."""
        return f"{self.part!r} may be part of a longer name in the text"


class NameIndex:
    """An index of names; finding them takes time proportional to the length of the text.

    Args:
        names: the known names; empty ones are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._stored: dict[str, str] = {}
        self._words: dict[tuple[str, ...], tuple[_Core, ...]] = {}
        self._unspaced: list[str] = []
        for name in names:
            known = canonical(name)
            if not known or known in self._stored:
                continue
            self._stored[known] = name
            if is_unspaced(known):
                self._unspaced.append(known)
            elif words := _words_of(known):
                key = tuple(word for word, _, _ in words)
                core, others = _Core.of(known, words), self._words.get(key)
                # Try the longest name first: "C++" before "C".
                cores = sorted((*others, core), key=lambda c: -len(c.text)) if others else [core]
                self._words[key] = tuple(cores)
        self._longest = max(map(len, self._words), default=0)
        self._first = {words[0] for words in self._words}

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.values())

    def __contains__(self, name: str) -> bool:
        return canonical(name) in self._stored

    def stored_spelling(self, name: str) -> str:
        """Return the database's spelling of a name; spaces and Unicode forms may differ."""
        return self._stored.get(canonical(name), name)

    def find(self, text: str) -> str | None:
        """Return the first name in the last paragraph that contains a name, or None."""
        match = self.search(text)
        return match if isinstance(match, str) else None

    def search(self, text: str) -> str | PartialMatch | None:
        """Return the result of ``find``, or the partial match that prevented a result."""
        for paragraph in reversed(PARAGRAPH.split(unify_unicode(text))):
            found = self._first_in(paragraph)
            if isinstance(found, PartialMatch):
                return found
            if found is not None:
                return self._stored[found]
        return None

    def names_in(self, text: str) -> Iterator[str]:
        """Yield all names in a text in reading order."""
        for paragraph in PARAGRAPH.split(unify_unicode(text)):
            for mention in self._mentions(paragraph):
                if mention.name is not None:
                    yield self._stored[mention.name]
            for name in self._unspaced:
                if any(ok for _, ok in _places(paragraph, name)):
                    yield self._stored[name]

    def false_matches(self, text: str) -> set[str]:
        """Return names that a search by words finds by mistake: "C++" if the text has only "C#"."""
        text = unify_unicode(text)
        words, seen = _words_of(text), set()
        for place in range(len(words)):
            for count in range(1, min(self._longest, len(words) - place) + 1):
                key = tuple(word for word, _, _ in words[place : place + count])
                seen |= {core.name for core in self._words.get(key, ())}
        mentioned = {mention.name for mention in self._mentions(text)}
        return {self._stored[name] for name in seen - mentioned}

    def _first_in(self, text: str) -> str | PartialMatch | None:
        best, best_start, partial = None, len(text), None
        for mention in self._mentions(text):
            if mention.name is not None:
                best, best_start = mention.name, mention.start
                break
            part = text[mention.start : mention.end]
            partial = partial or PartialMatch(text, mention.start, part)
            if not follows_preposition(text, mention.start):
                break  # the subject of the paragraph is unknown
        for name in self._unspaced:
            places = list(_places(text, name))
            at = next((place for place, ok in places if ok), -1)
            if places and at < 0:
                partial = partial or PartialMatch(text, places[0][0], name)
            longer = at == best_start and best is not None and len(name) > len(best)
            if at >= 0 and (at < best_start or longer):
                best, best_start = name, at
        return best if best is not None else partial

    def _mentions(self, text: str) -> Iterator[Mention]:
        """Yield mentions in reading order without overlaps; the leftmost longest name wins."""
        words = _words_of(text)
        place = 0
        while place < len(words):
            found = self._longest_at(text, words, place) if words[place][0] in self._first else None
            count, mention = found or (1, None)
            if mention is not None:
                yield mention
            place += count

    def _longest_at(
        self, text: str, words: list[tuple[str, int, int]], place: int
    ) -> tuple[int, Mention] | None:
        """Return the word count and the mention of the longest complete name at a word.

        If no complete name begins there, return a partial match, or None.
        """
        part = None
        for count in range(min(self._longest, len(words) - place), 0, -1):
            group = words[place : place + count]
            for core in self._words.get(tuple(word for word, _, _ in group), ()):
                start, end = group[0][1] - core.lead, group[-1][2] + core.trail
                # Equal words do not suffice: "Vell, Mara" and "Vell Mara" differ in between.
                if start < 0 or _SPACES.sub(" ", text[start:end]) != core.text:
                    continue
                if is_complete_name(text, start, end):
                    return count, Mention(start, end, core.name)
                part = part or (count, Mention(start, end, None))
        return part


@dataclass(frozen=True, slots=True)
class _Core:
    """A name without surrounding brackets and final dot, but with its symbols.

    ``lead`` and ``trail`` are the numbers of characters before its first and after its last word.
    """

    text: str
    name: str
    lead: int
    trail: int

    @classmethod
    def of(cls, name: str, words: list[tuple[str, int, int]]) -> _Core:
        first, last = words[0][1], words[-1][2]
        start = first - len(name[:first].lstrip(_LEADING))
        behind = name[last:]
        end = last + len(behind if _POSSESSIVE_END.match(behind) else behind.rstrip(_TRAILING))
        return cls(name[start:end], name, first - start, end - last)


_POSSESSIVE_END = re.compile(r"'[sS]$")
"""An ending that may be part of the name: McDonald's."""


def _words_of(text: str) -> list[tuple[str, int, int]]:
    """Return ``(word, start, end)`` of each word without possessive ending and final dot."""
    found = []
    for match in _WORD.finditer(unify_characters(text)):
        word = text[match.start() : match.end()].rstrip(".")
        word = word.removesuffix("'s")
        if word:
            found.append((word, match.start(), match.start() + len(word)))
    return found


def _places(text: str, name: str) -> Iterator[tuple[int, bool]]:
    """Yield each position of a name in an unspaced text, and True if it is complete there."""
    at = text.find(name)
    while at >= 0:
        yield at, is_complete_unspaced(text, at, at + len(name))
        at = text.find(name, at + 1)


def unify_unicode(text: str) -> str:
    """Return a text in Unicode normal form C, with ASCII apostrophes and hyphens."""
    text = unicodedata.normalize("NFC", text)
    return text if text.isascii() else text.translate(_ASCII)


def canonical(name: str) -> str:
    """Return a name in one Unicode form, with single spaces and ASCII apostrophes."""
    return " ".join(unify_unicode(name).split())


def subject_key(name: str) -> str:
    """Return the key shared by all spellings of a subject.

    Case is ignored only in names of several words: "ADA LOVELACE" and "Ada Lovelace" are the same
    subject, but "Turkey" and "turkey" are two.
    """
    known = canonical(name)
    return known.casefold() if " " in known else known
