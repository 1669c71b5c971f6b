"""Which known name a text is about: the first of its last paragraph, the longest of several.

A paragraph is about whom it names first; whoever is named later (a spouse, a teacher) is part of
what is said.

Names are compared as whole words, so "Mara Vell" is not found in "Mara Vellin". Scripts that write
no spaces are searched as plain text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"\w+(?:['’.\-]\w+)*\.?")
_SPACES = re.compile(r"\s+")
PARAGRAPH = re.compile(r"\n\s*\n")


class NameIndex:
    """Names loaded once, found in texts in time proportional to the text.

    Args:
        names: the known names; empty ones are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._spelled: dict[str, str] = {}
        self._words: dict[tuple[str, ...], list[str]] = {}
        self._unspaced: list[str] = []
        for name in names:
            known = plain(name)
            if not known or known in self._spelled:
                continue
            self._spelled[known] = name
            if _is_unspaced(known):
                self._unspaced.append(known)
            elif words := _keys(known):
                self._words.setdefault(tuple(word for word, _, _ in words), []).append(known)
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
        for paragraph in reversed(PARAGRAPH.split(unicodedata.normalize("NFC", text))):
            found = self._first_in(paragraph)
            if found is not None:
                return self._spelled[found]
        return None

    def _first_in(self, text: str) -> str | None:
        best, best_start = None, len(text)
        for start, _, name in self._mentions(text):
            best, best_start = name, start
            break
        for name in self._unspaced:
            at = text.find(name)
            longer = at == best_start and best is not None and len(name) > len(best)
            if at >= 0 and (at < best_start or longer):
                best, best_start = name, at
        return best

    def _mentions(self, text: str) -> Iterable[tuple[int, int, str]]:
        """Names in reading order, leftmost longest, not overlapping."""
        words = _keys(text)
        place = 0
        while place < len(words):
            found = self._at(text, words, place) if words[place][0] in self._first else None
            if found is None:
                place += 1
                continue
            count, start, end, name = found
            yield start, end, name
            place += count

    def _at(
        self, text: str, words: list[tuple[str, int, int]], place: int
    ) -> tuple[int, int, int, str] | None:
        for count in range(min(self._longest, len(words) - place), 0, -1):
            group = words[place : place + count]
            for name in self._words.get(tuple(word for word, _, _ in group), ()):
                start, end = group[0][1], group[-1][2]
                # Same words are not enough: "Vell, Mara" and "Vell Mara" differ between them.
                if _core(text[start:end]) == _core(name):
                    return count, start, end, name
        return None


def _keys(text: str) -> list[tuple[str, int, int]]:
    """Words with their places; possessive endings and final dots do not count."""
    found = []
    for match in _WORD.finditer(text):
        word = match.group().rstrip(".")
        for ending in ("'s", "’s"):
            word = word.removesuffix(ending)
        if word:
            found.append((word, match.start(), match.start() + len(word)))
    return found


def _core(text: str) -> str:
    """A name without what may stand around its words (brackets, a final dot)."""
    text = _SPACES.sub(" ", text)
    words = _keys(text)
    return text[words[0][1] : words[-1][2]] if words else text


def plain(name: str) -> str:
    """A name as it is compared: in one Unicode form, with single spaces."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", name)).strip()


def _is_unspaced(name: str) -> bool:
    return any(0x0E00 <= ord(c) <= 0x0EFF or 0x2E80 <= ord(c) <= 0xA4CF for c in name)
