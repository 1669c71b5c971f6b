"""Decides whether a name in a text is complete or part of a longer name.

"Paris" must not match in "Paris Hilton", "New York" not in "New York City FC", and "C" not in
"C++". Certainty would need a parser, so the rules err on one side: if a neighbouring word may
belong to the name, it does. A wrong subject gives a wrong fact; no subject only gives no fact.

The rules look at symbols and letters attached to the name, and at the words beside it. A
capitalised word next to a name makes it longer, unless it is a function word that begins a sentence
("When Ada Lovelace"), a title ("Dr. Ada Lovelace") or a verb ("Ada Lovelace Was Born").
"""

from __future__ import annotations

import re
import unicodedata

from lacy.sources.names.function_words import (
    ABBREVIATED,
    AND,
    BEFORE_HAN,
    BEHIND_HAN,
    BRACKETED,
    BYNAMES,
    DATES,
    FOLLOW,
    LEAD,
    LEAD_ABROAD,
    NAMES_OF_SAINTS,
    OF,
    OF_ONE,
    POSTNOMINALS,
    PREPOSITIONS,
    RANKS,
    THING,
    TITLES,
    WITH_FIRST_NAME,
)

_SEEN = 160
"""Characters that are examined on either side of the name."""

_WRAPPED = 50
"""A shorter line was not wrapped because of its length, so the next line is separate."""

_SIGNS = frozenset("+#&@$%/^\\")
_ORNAMENT = re.compile("[©®™℠\u2190-\u21ff\u2500-\u25ff\u2700-\u27bf]")
"""What is no part of a name: trade marks, and arrows, squares and dingbats as marks of a list."""
_MARKUP = "*_~`"
_OPENING = "([{\"“„‘«‹'"
_CLOSING = ")]}\"”’»›'"
_NUMERAL = re.compile(r",?\s+(?:Jr|Sr|II|III|IV|VI{0,3})\b")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
_CHUNK = re.compile(r"\S+")
_WORD = re.compile(r"\w+(?:['.\-]\w+)*")
_BRACKET = re.compile(r"\s*\(([^\W\d]+(?: [^\W\d]+){0,2})\)")
_POSSESSIVE = re.compile(r"'[sS](?![\w\-])")


class _Shadow(dict[int, str | int]):
    """One character for all of a kind: combining marks are parts of words, apostrophes are one."""

    def __missing__(self, code: int) -> str | int:
        character = chr(code)
        kind = unicodedata.category(character)
        if kind[0] == "M" or kind == "Cf":
            found: str | int = "a"
        elif character in "’ʼ＇":
            found = "'"
        elif character in "‐‑−﹣－":
            found = "-"
        elif character == "♯":
            found = "#"
        else:
            found = code
        self[code] = found
        return found


_SHADOW = _Shadow()


def shadow(text: str) -> str:
    """A text of equal length in which variants of a character are replaced by one of them."""
    return text if text.isascii() else text.translate(_SHADOW)


def alone(text: str, start: int, end: int, *, small: bool = False) -> bool:
    """Whether ``text[start:end]`` is a complete name; False in case of doubt.

    Args:
        text: any text.
        start: first character of the name.
        end: the position after its last character.
        small: whether the text has no capitals, so that case carries no information.
    """
    first = max(0, start - _SEEN)
    seen = shadow(text[first : end + _SEEN])
    place = _Place(seen, start - first, end - first, small)
    return place.begins() and place.ends()


def introduced(text: str, start: int) -> bool:
    """Whether a preposition leads to the longer name around ``start``: "in the New York Times".

    Such a name is not the subject of a sentence.
    """
    chunks = shadow(text[max(0, start - _SEEN) : start]).split()
    while chunks and _capital(chunks[-1]) and chunks[-1].lower() not in LEAD:
        chunks.pop()
    while chunks and chunks[-1].lower() in ("the", "a", "an", "its", "his", "her", "their"):
        chunks.pop()
    return bool(chunks) and chunks[-1].lower().lstrip(_OPENING) in PREPOSITIONS


class _Place:
    """A name and the text around it (in the form that ``shadow`` returns)."""

    def __init__(self, text: str, start: int, end: int, small: bool) -> None:
        self.before, self.name, self.rest = text[:start], text[start:end], text[end:]
        self.single = not re.search(r"\s", self.name.strip())
        self.small = small

    # ------------------------------------------------------------------------------ its end

    def ends(self) -> bool:
        """Whether the text that follows does not belong to the name."""
        rest, owner = self.rest, _POSSESSIVE.match(self.rest)
        if owner:
            rest = rest[2:]
        if not rest:
            return True
        if not rest[0].isspace():
            attached = self._attached(rest)
            if attached is not None:
                return attached
            rest = rest[1:]
        return not self._goes_on(rest, bool(owner))

    def _attached(self, rest: str) -> bool | None:
        """Whether characters attached to the name's end are not part of it; None: words decide."""
        sign, behind = rest[0], rest[1:]
        if sign == "'":
            if re.search(r"(?:^|[\s(])['‘]", self.before[-60:]):
                return True
            touching = behind[:1].isalnum()
            return False if touching or _capital(behind.lstrip()[:1]) else None
        if sign == ".":
            return self._dot(rest)
        if sign in "!?":
            behind = rest.lstrip("!?")
            return not (behind[:1].isalnum() or behind.lstrip()[:1].islower())
        if sign in "-–":
            if sign == "–":
                return not behind[:1].isalnum()
            return bool(re.match(r"--+\w", rest))
        if sign == ",":
            return self._comma(rest)
        if sign in _MARKUP:
            run = rest[: len(rest) - len(rest.lstrip(sign))]
            return self.before.count(run) % 2 == 1
        if sign in ":·•・":
            return not behind[:1].isalnum() or (sign == ":" and not behind[:1].isdigit())
        return not _is_sign(sign) and not (sign.isalnum() or sign == "_")

    def _dot(self, rest: str) -> bool:
        """A final dot ends a sentence, unless it is an abbreviation's."""
        behind = rest.lstrip(".")
        if behind[:1].isalnum():
            return False
        last = re.split(r"[\s.]", self.name)[-1].lower()
        if len(rest) - len(behind) > 1 or not (len(last) == 1 or last in ABBREVIATED):
            return True
        word = _first_word(behind)
        return not _capital(word) or word.lower() in LEAD

    def _comma(self, rest: str) -> bool:
        """Paris is not "Paris, Texas"; Charles may well be "Charles, Duke of York"."""
        if _NUMERAL.match(rest) or (rest[1:2].isdigit() and self.name[-1:].isdigit()):
            return False
        word = _first_word(rest[1:])
        low = word.lower()
        if not self.single or self.small or not _capital(word) or word[0].isdigit():
            return True
        owner = bool(re.match(rf"\W*{re.escape(word)}'s\b", rest)) or low.endswith("'s")
        return owner or any(low in some for some in (LEAD, FOLLOW, RANKS, TITLES, DATES))

    def _goes_on(self, rest: str, owner: bool) -> bool:
        """Whether the words after the name are part of it."""
        gap = rest[: len(rest) - len(rest.lstrip())]
        line = (self.before + self.name).rpartition("\n")[2]
        if "\t" in gap or gap.count("\n") > 1 or ("\n" in gap and len(line) < _WRAPPED):
            return False
        chunks = rest.split(maxsplit=6)[:6]
        if not chunks:
            return False
        first = chunks[0]
        if _joins(first):
            return len(chunks) > 1 and _capital(chunks[1])
        if first[0] in "+#" or re.match(r"\.\w", first):  # "C ++", "Visual Basic .NET"
            return True
        word = _first_word(first)
        if first[0] == "(":
            return self.single and self._told_apart(rest)
        if first[0] in _OPENING:
            return self.single and first[0] not in "[{" and _capital(word)
        if not first[0].isalnum():
            return False
        low = word.lower()
        if self.small:
            return self._small_goes_on(low, word != low)
        if not _capital(word):
            return self._joined(chunks, low, owner)
        if word[0].isdigit():
            return not owner
        ends = not self.single and (owner or word in POSTNOMINALS)
        return not (ends or low in FOLLOW)

    def _told_apart(self, rest: str) -> bool:
        """Whether a bracket disambiguates the name: "Paris (Texas)", "Mercury (planet)"."""
        inside = _BRACKET.match(rest)
        if inside is None or inside[1].isupper():  # none of few words; "the United Nations (UN)"
            return False
        return inside[1].split()[0].lower() not in BRACKETED

    def _joined(self, chunks: list[str], low: str, owner: bool) -> bool:
        """Whether a small word leads on to the rest of the name: "Catherine of Aragon"."""
        if owner:
            return low in THING  # "McDonald's was"
        if low not in OF and low not in ("the", *AND):
            return False
        place = 1
        while place < len(chunks) and chunks[place].lower() in (*OF, "the"):
            place += 1
        if place == len(chunks) or not _capital(chunks[place]):
            return False
        if low in AND:
            return self.single
        if low == "the":
            return self.single or _first_word(chunks[place]).lower() in BYNAMES
        return True

    def _small_goes_on(self, low: str, capital: bool) -> bool:
        """In a text without capitals, only words that cannot begin a name may follow."""
        return not capital and low not in FOLLOW and low not in LEAD

    # ---------------------------------------------------------------------------- its beginning

    def begins(self) -> bool:
        """Whether the text before the name does not belong to it."""
        before = self.before
        if not before:
            return True
        if before[-1].isspace():
            return not self._began_before(before)
        sign, front = before[-1], before[:-1]
        if sign == "'":
            return not front[-1:].isalnum()
        if sign == ".":
            return front[-1:] == "."
        if sign in "-–":
            dash = re.search(r"\w--+$", before) if sign == "-" else None
            return bool(dash) or not (front[-1:].isalnum() or self.name[:1].isdigit())
        if sign in _MARKUP and sign != "_":
            run = before[len(before.rstrip(sign)) :]
            return run in self.rest or before.count(run) % 2 == 0
        if sign in "·•・":
            return not front[-1:].isalnum()
        return not _is_sign(sign) and not (sign.isalnum() or sign == "_")

    def _began_before(self, before: str) -> bool:
        """Whether the words before the name are part of it."""
        front = before.rstrip()
        gap, line = before[len(front) :], front.rpartition("\n")[2]
        if not front or "\t" in gap or gap.count("\n") > 1:
            return False
        if "\n" in gap and (len(line) < _WRAPPED or line[-1] in ".!?:;"):
            return False
        chunks = front.split()
        last = chunks.pop()
        word = last.lstrip(_OPENING + _MARKUP)
        low = word.lower()
        if self.small:
            return word[-1:].isalnum() and low not in LEAD and low not in FOLLOW
        if _joins(last):
            return bool(chunks) and _capital(chunks[-1])
        if not word or not (word[-1].isalnum() or word[-1] == "'"):
            return self._after_sign(word or last, chunks)
        if word[-1] == "'":
            return _capital(word) and (self.single or len(word) <= 3)
        if re.search(r"'s$", low):
            return self.single and _capital(word)
        if low in WITH_FIRST_NAME and word == low:
            return True
        if low in (*OF, "the", *AND) and word == low:
            return self._led_here(chunks, low)
        if not _capital(word):
            return False
        if word.isdigit():
            front_word = chunks[-1].lower() if chunks else ""
            leads = any(front_word in some for some in (PREPOSITIONS, DATES, LEAD_ABROAD))
            dated = leads or front_word[-1:] == ","
            return not dated
        if low in LEAD:
            return False
        return self.single or not any(low in some for some in (TITLES, DATES, LEAD_ABROAD))

    def _after_sign(self, word: str, chunks: list[str]) -> bool:
        """Whether a name continues across a symbol: "St. Paul", "Yahoo! Japan", "Paris, Texas"."""
        sign, base = word[-1], word.rstrip(".!?,'\"”)+#*&$%")
        low = base.lower()
        if sign == "." and word.count(".") - base.count(".") == 1:
            if low in TITLES:
                return self.single
            return bool(_INITIALS.fullmatch(base)) or low in NAMES_OF_SAINTS
        if _is_sign(sign):  # "C# Music Awards"
            return _capital(base) and low not in LEAD
        if not self.single or not _capital(base):
            return False
        if sign == ",":
            if low in LEAD or base[-1:].isdigit() or low in DATES or low in FOLLOW:
                return False
            return not introduced(" ".join([*chunks, ""]), _SEEN)
        return sign in '!?"”' and low not in LEAD

    def _led_here(self, chunks: list[str], low: str) -> bool:
        """Whether a small word comes from the rest of the name: "University of Paris"."""
        while chunks and chunks[-1].lower() in (*OF, "the") and low not in AND:
            low = "of" if chunks[-1].lower() in OF else low
            chunks.pop()
        if not chunks or not _capital(chunks[-1]) or not chunks[-1][-1].isalnum():
            return False
        word = chunks[-1].lstrip(_OPENING + _MARKUP)
        own = not self.single and word.lower() in OF_ONE
        if own or word.lower() in LEAD or word.isdigit():
            return False
        return self.single if low in ("the", *AND) else True


def alone_unspaced(text: str, start: int, end: int) -> bool:
    """Whether a name is complete in a script that writes no spaces.

    Next to Chinese characters, only a particle or punctuation ends a name; a name in katakana must
    not be next to katakana.
    """
    before, behind = text[start - 1 : start], text[end : end + 1]
    if behind and unicodedata.category(behind)[0] == "M":
        return False
    for own, other, allowed in (
        (text[start], before, BEFORE_HAN),
        (text[end - 1], behind, BEHIND_HAN),
    ):
        if _han(own) and _han(other) and other not in allowed:
            return False
        if _katakana(own) and _katakana(other):
            return False
    return True


def _han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or character == "々"


def _katakana(character: str) -> bool:
    return "\u30a1" <= character <= "\u30ff"


def _capital(word: str) -> bool:
    """Whether a word may be part of a name: it has a capital, or begins with a digit."""
    word = word.lstrip(_OPENING + _MARKUP)
    return word != word.lower() or word[:1].isdigit()


def _first_word(text: str) -> str:
    """The first word of a text, without surrounding punctuation."""
    found = _WORD.search(text)
    return found.group() if found else ""


def _joins(chunk: str) -> bool:
    """Whether a separate symbol joins the words beside it: "Simon & Garfunkel"."""
    return chunk in ("&", "+", "/") or all(unicodedata.category(c) == "So" for c in chunk)


def _is_sign(character: str) -> bool:
    """Whether a character that touches a word makes it another: "C#", "$5", "Na⁺", "F♭"."""
    if character.isascii():
        return character in _SIGNS
    kind = unicodedata.category(character)
    return kind == "Sc" or (kind in ("Sm", "So") and not _ORNAMENT.match(character))
