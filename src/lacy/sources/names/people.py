"""Find a person's known name if a text spells it with other initials or another suffix.

"John Blake, Jr." is "John Blake Jr.", and "Enos Thompson Throop" is "Enos T. Throop". Two names are
of the same person if first and last words are equal without accents and punctuation, the suffixes
are equal, and each further initial of one begins a word of the other or is left out there. A whole
middle name that the other lacks makes two persons ("Mary Ada Love", "Mary Love"), and a name that
fits several known people is of none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lacy.sources.names.function_words import PREPOSITIONS, SENTENCE_STARTERS
from lacy.sources.names.spelling import normalize

_SUFFIXES = frozenset("jr sr ii iii iv esq phd md".split())
_PART = r"(?:[^\W\d_a-z]\.)+|[^\W\d_a-z][\w'’\-]*\.?"
_PARTICLES = r"(?:de|da|di|del|della|van|von|der|den|la|le|al|bin|ibn|y|e)\s+"
_NAME = re.compile(
    rf"(?<!\w)(?:{_PART})(?:,?\s+(?:{_PARTICLES}){{0,2}}(?:{_PART})|(?<=\.)(?:{_PART}))+"
)
_LETTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class _Parts:
    """The words of a name, without its suffix."""

    first: str
    middle: tuple[str, ...]
    last: str
    suffixes: frozenset[str]

    def fits(self, other: _Parts) -> bool:
        """True if both can be names of the same person; first and last words are equal."""
        if self.suffixes != other.suffixes:
            return False
        return _covered(self.middle, other.middle) and _covered(other.middle, self.middle)


class PersonNames:
    """Known names of people by their first and last words.

    Args:
        names: the known names; those of a single word are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._known: dict[tuple[str, str], list[tuple[_Parts, str]]] = defaultdict(list)
        for name in names:
            if parts := _parts(name):
                self._known[parts.first, parts.last].append((parts, name))

    def find(self, text: str) -> str | None:
        """Return the known name of the first person in a text whose name fits one, or None."""
        for match in _NAME.finditer(text):
            words = re.sub(r"['’]s?\Z", "", match.group()).split()
            if words[0].lower() in SENTENCE_STARTERS | PREPOSITIONS:  # "Was John Blake"
                del words[0]
            if (parts := _parts(" ".join(words))) is None:
                continue
            known = self._known.get((parts.first, parts.last), ())
            fitting = {name for other, name in known if parts.fits(other)}
            if len(fitting) == 1:
                return fitting.pop()
        return None


def _parts(name: str) -> _Parts | None:
    """Return the parts of a name of at least two words without its suffix, or None."""
    spelled = re.sub(r"['’]", "", re.sub(r"[.,]", " ", name))
    words = _LETTERS.findall(normalize(spelled))
    suffixes = frozenset(word for word in words[1:] if word in _SUFFIXES)
    rest = [word for word in words if word not in suffixes]
    if len(rest) < 2 or len(rest[-1]) < 2 or (len(rest[0]) < 2 and len(rest) < 3):
        return None
    return _Parts(rest[0], tuple(rest[1:-1]), rest[-1], suffixes)


def _covered(middle: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """True if each whole word is in ``other`` or has its initial there."""
    return all(
        any(o.startswith(word) or word.startswith(o) for o in other if 1 in (len(o), len(word)))
        or word in other
        or (len(word) == 1 and not other)
        for word in middle
    )
