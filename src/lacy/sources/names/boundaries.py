"""Decide if a name in a text is complete or part of a longer name.

"Paris" must not match in "Paris Hilton", "New York" not in "New York City FC", and "C" not in
"C++". Certainty would require a parser, so the rules are cautious: if a neighbouring word may
belong to the name, they assume that it does. A wrong subject leads to a wrong fact; a missed
subject only to no fact.

The rules examine symbols and letters attached to the name, and the words beside it. A capitalised
word beside a name is part of it, unless it is a function word that begins a sentence ("When Ada
Lovelace"), a title ("Dr. Ada Lovelace") or a verb ("Ada Lovelace Was Born").
"""

from __future__ import annotations

import re
import unicodedata

from lacy.sources.names import function_words as words

_CONTEXT = 160
"""Number of characters examined on either side of the name."""

_WRAP_WIDTH = 50
"""A shorter line did not end because of wrapping, so the next line does not continue it."""

_SYMBOLS = frozenset("+#&@$%/^\\")
_AFTER_COMMA = words.LEAD | words.FOLLOW | words.RANKS | words.TITLES | words.DATE_WORDS
"""Words that do not continue a name after a comma."""
_BEFORE_NUMBER = words.PREPOSITIONS | words.DATE_WORDS | words.LEAD_ABROAD
"""If one of these precedes a number, the number is not part of a name: "In 1835 Ada Lovelace"."""
_NOT_IN_LONG_NAMES = words.TITLES | words.DATE_WORDS | words.LEAD_ABROAD
"""Capitalised words that are not part of a name of several words after them."""
_ORNAMENT = re.compile("[©®™℠\u2190-\u21ff\u2500-\u25ff\u2700-\u27bf]")
"""Symbols that are not part of a name: trademark signs; arrows and dingbats used as bullets."""
_MARKUP = "*_~`"
_OPENING = "([{\"“„‘«‹'"
_NUMERAL = re.compile(r",?\s+(?:Jr|Sr|II|III|IV|VI{0,3})\b")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
_WORD = re.compile(r"\w+(?:['.\-]\w+)*")
_BRACKET = re.compile(r"\s*\(([^\W\d]+(?: [^\W\d]+){0,2})\)")
_POSSESSIVE = re.compile(r"'[sS](?![\w\-])")


class _UnifiedCharacters(dict[int, str | int]):
    """Translation table: variants of apostrophes and hyphens become one; marks become letters."""

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


_UNIFIED = _UnifiedCharacters()


def unify_characters(text: str) -> str:
    """Return a text of equal length in which all variants of a character are replaced by one."""
    return text if text.isascii() else text.translate(_UNIFIED)


def is_complete_name(text: str, start: int, end: int, *, lower_case: bool = False) -> bool:
    """True if ``text[start:end]`` is a complete name; False if in doubt.

    Args:
        text: any text.
        start: first character of the name.
        end: the position after its last character.
        lower_case: True if the text has no capitals, so case carries no information.
    """
    first = max(0, start - _CONTEXT)
    near = unify_characters(text[first : end + _CONTEXT])
    name = _NameInContext(near, start - first, end - first, lower_case)
    return name.starts() and name.ends()


def follows_preposition(text: str, start: int) -> bool:
    """True if a preposition precedes the longer name around ``start``: "in the New York Times".

    Such a name is not the subject of a sentence.
    """
    chunks = unify_characters(text[max(0, start - _CONTEXT) : start]).split()
    while chunks and _may_be_name(chunks[-1]) and chunks[-1].lower() not in words.LEAD:
        chunks.pop()
    while chunks and chunks[-1].lower() in ("the", "a", "an", "its", "his", "her", "their"):
        chunks.pop()
    return bool(chunks) and chunks[-1].lower().lstrip(_OPENING) in words.PREPOSITIONS


class _NameInContext:
    """A name and the text around it, as returned by ``unify_characters``."""

    def __init__(self, text: str, start: int, end: int, lower_case: bool) -> None:
        self.before, self.name, self.rest = text[:start], text[start:end], text[end:]
        self.single = not re.search(r"\s", self.name.strip())
        self.lower_case = lower_case

    # ------------------------------------------------------------------------------ its end

    def ends(self) -> bool:
        """True if the text that follows does not belong to the name."""
        rest, possessive = self.rest, _POSSESSIVE.match(self.rest)
        if possessive:
            rest = rest[2:]
        if not rest:
            return True
        if not rest[0].isspace():
            attached = self._symbol_ends_name(rest)
            if attached is not None:
                return attached
            rest = rest[1:]
        return not self._may_continue(rest, bool(possessive))

    def _symbol_ends_name(self, rest: str) -> bool | None:
        """True if the symbol after the name is not part of it; None if later words must decide."""
        sign, behind = rest[0], rest[1:]
        if sign == "'":
            if re.search(r"(?:^|[\s(])['‘]", self.before[-60:]):
                return True
            touching = behind[:1].isalnum()
            return False if touching or _may_be_name(behind.lstrip()[:1]) else None
        if sign == ".":
            return self._dot_ends_sentence(rest)
        if sign in "!?":
            behind = rest.lstrip("!?")
            return not (behind[:1].isalnum() or behind.lstrip()[:1].islower())
        if sign in "-–":
            if sign == "–":
                return not behind[:1].isalnum()
            return bool(re.match(r"--+\w", rest))
        if sign == ",":
            return self._comma_ends_name(rest)
        if sign in _MARKUP:
            run = rest[: len(rest) - len(rest.lstrip(sign))]
            return self.before.count(run) % 2 == 1
        if sign in ":·•・":
            return not behind[:1].isalnum() or (sign == ":" and not behind[:1].isdigit())
        return not _is_name_symbol(sign) and not (sign.isalnum() or sign == "_")

    def _dot_ends_sentence(self, rest: str) -> bool:
        """True if a dot after the name ends the sentence, not an abbreviation."""
        behind = rest.lstrip(".")
        if behind[:1].isalnum():
            return False
        last = re.split(r"[\s.]", self.name)[-1].lower()
        if len(rest) - len(behind) > 1 or not (len(last) == 1 or last in words.ABBREVIATED):
            return True
        word = _first_word(behind)
        return not _may_be_name(word) or word.lower() in words.LEAD

    def _comma_ends_name(self, rest: str) -> bool:
        """True if a comma ends the name: "Charles, Duke of York", but not "Paris, Texas"."""
        if _NUMERAL.match(rest) or (rest[1:2].isdigit() and self.name[-1:].isdigit()):
            return False
        word = _first_word(rest[1:])
        low = word.lower()
        if not self.single or self.lower_case or not _may_be_name(word) or word[0].isdigit():
            return True
        possessive = re.match(rf"\W*{re.escape(word)}'s\b", rest) or low.endswith("'s")
        return bool(possessive) or low in _AFTER_COMMA

    def _may_continue(self, rest: str, possessive: bool) -> bool:
        """True if the words after the name may be part of it."""
        gap = rest[: len(rest) - len(rest.lstrip())]
        line = (self.before + self.name).rpartition("\n")[2]
        if "\t" in gap or gap.count("\n") > 1 or ("\n" in gap and len(line) < _WRAP_WIDTH):
            return False
        chunks = rest.split(maxsplit=6)[:6]
        if not chunks:
            return False
        first = chunks[0]
        if _is_joiner(first):
            return len(chunks) > 1 and _may_be_name(chunks[1])
        if first[0] in "+#" or re.match(r"\.\w", first):  # "C ++", "Visual Basic .NET"
            return True
        word = _first_word(first)
        if first[0] == "(":
            return self.single and self._is_disambiguated(rest)
        if first[0] in _OPENING:
            return self.single and first[0] not in "[{" and _may_be_name(word)
        if not first[0].isalnum():
            return False
        low = word.lower()
        if self.lower_case:
            return word == low and low not in words.FOLLOW and low not in words.LEAD
        if not _may_be_name(word):
            return self._continues_with_particle(chunks, low, possessive)
        if word[0].isdigit():
            return not possessive
        ends = not self.single and (possessive or word in words.POSTNOMINALS)
        return not (ends or low in words.FOLLOW)

    def _is_disambiguated(self, rest: str) -> bool:
        """True if a bracket disambiguates the name: "Paris (Texas)", "Mercury (planet)"."""
        inside = _BRACKET.match(rest)
        if inside is None or inside[1].isupper():  # no short bracket; "the United Nations (UN)"
            return False
        return inside[1].split()[0].lower() not in words.BRACKETED

    def _continues_with_particle(self, chunks: list[str], low: str, possessive: bool) -> bool:
        """True if a lower-case word continues the name: "Catherine of Aragon"."""
        if possessive:
            return low in words.THING  # "McDonald's was"
        if low not in words.OF and low not in ("the", *words.AND):
            return False
        place = 1
        while place < len(chunks) and chunks[place].lower() in (*words.OF, "the"):
            place += 1
        if place == len(chunks) or not _may_be_name(chunks[place]):
            return False
        if low in words.AND:
            return self.single
        if low == "the":
            return self.single or _first_word(chunks[place]).lower() in words.BYNAMES
        return True

    # ------------------------------------------------------------------------------- its start

    def starts(self) -> bool:
        """True if the text before the name does not belong to it."""
        before = self.before
        if not before:
            return True
        if before[-1].isspace():
            return not self._started_before(before)
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
        return not _is_name_symbol(sign) and not (sign.isalnum() or sign == "_")

    def _started_before(self, before: str) -> bool:
        """True if the name may begin with the words before it."""
        front = before.rstrip()
        gap, line = before[len(front) :], front.rpartition("\n")[2]
        if not front or "\t" in gap or gap.count("\n") > 1:
            return False
        if "\n" in gap and (len(line) < _WRAP_WIDTH or line[-1] in ".!?:;"):
            return False
        chunks = front.split()
        last = chunks.pop()
        word = last.lstrip(_OPENING + _MARKUP)
        low = word.lower()
        if self.lower_case:
            return word[-1:].isalnum() and low not in words.LEAD and low not in words.FOLLOW
        if _is_joiner(last):
            return bool(chunks) and _may_be_name(chunks[-1])
        if not word or not (word[-1].isalnum() or word[-1] == "'"):
            return self._continues_across_symbol(word or last, chunks)
        if word[-1] == "'":
            return _may_be_name(word) and (self.single or len(word) <= 3)
        if re.search(r"'s$", low):
            return self.single and _may_be_name(word)
        if low in words.WITH_FIRST_NAME and word == low:
            return True
        if low in (*words.OF, "the", *words.AND) and word == low:
            return self._follows_particle(chunks, low)
        if not _may_be_name(word):
            return False
        if word.isdigit():
            front_word = chunks[-1].lower() if chunks else ""
            is_date = front_word in _BEFORE_NUMBER or front_word[-1:] == ","
            return not is_date
        if low in words.LEAD:
            return False
        return self.single or low not in _NOT_IN_LONG_NAMES

    def _continues_across_symbol(self, word: str, chunks: list[str]) -> bool:
        """True if a name continues across a symbol: "St. Paul", "Yahoo! Japan", "Paris, Texas"."""
        sign, base = word[-1], word.rstrip(".!?,'\"”)+#*&$%")
        low = base.lower()
        if sign == "." and word.count(".") - base.count(".") == 1:
            if low in words.TITLES:
                return self.single
            return bool(_INITIALS.fullmatch(base)) or low in words.NAMES_OF_SAINTS
        if _is_name_symbol(sign):  # "C# Music Awards"
            return _may_be_name(base) and low not in words.LEAD
        if not self.single or not _may_be_name(base):
            return False
        if sign == ",":
            if base[-1:].isdigit() or low in words.LEAD | words.DATE_WORDS | words.FOLLOW:
                return False
            return not follows_preposition(" ".join([*chunks, ""]), _CONTEXT)
        return sign in '!?"”' and low not in words.LEAD

    def _follows_particle(self, chunks: list[str], low: str) -> bool:
        """True if a lower-case word joins the name to earlier words: "University of Paris"."""
        while chunks and chunks[-1].lower() in (*words.OF, "the") and low not in words.AND:
            low = "of" if chunks[-1].lower() in words.OF else low
            chunks.pop()
        if not chunks or not _may_be_name(chunks[-1]) or not chunks[-1][-1].isalnum():
            return False
        word = chunks[-1].lstrip(_OPENING + _MARKUP)
        own = not self.single and word.lower() in words.OF_ONE
        if own or word.lower() in words.LEAD or word.isdigit():
            return False
        return self.single if low in ("the", *words.AND) else True


def is_complete_unspaced(text: str, start: int, end: int) -> bool:
    """True if a name is complete in a script without spaces.

    Beside Chinese characters, only a particle or punctuation ends a name; a katakana name must not
    touch other katakana.
    """
    before, behind = text[start - 1 : start], text[end : end + 1]
    if behind and unicodedata.category(behind)[0] == "M":
        return False
    for own, other, allowed in (
        (text[start], before, words.BEFORE_HAN),
        (text[end - 1], behind, words.BEHIND_HAN),
    ):
        if _is_han(own) and _is_han(other) and other not in allowed:
            return False
        if _is_katakana(own) and _is_katakana(other):
            return False
    return True


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or character == "々"


def _is_katakana(character: str) -> bool:
    return "\u30a1" <= character <= "\u30ff"


def _may_be_name(word: str) -> bool:
    """True if a word may be part of a name: it contains a capital or begins with a digit."""
    word = word.lstrip(_OPENING + _MARKUP)
    return word != word.lower() or word[:1].isdigit()


def _first_word(text: str) -> str:
    """Return the first word of a text, without surrounding punctuation."""
    match = _WORD.search(text)
    return match.group() if match else ""


def _is_joiner(chunk: str) -> bool:
    """True if a separate symbol joins the words beside it: "Simon & Garfunkel"."""
    return chunk in ("&", "+", "/") or all(unicodedata.category(c) == "So" for c in chunk)


def _is_name_symbol(character: str) -> bool:
    """True if a symbol attached to a word makes it a different name: "C#", "$5", "Na⁺", "F♭"."""
    if character.isascii():
        return character in _SYMBOLS
    kind = unicodedata.category(character)
    return kind == "Sc" or (kind in ("Sm", "So") and not _ORNAMENT.match(character))
