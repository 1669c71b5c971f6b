"""Read the notation of encyclopedias: life dates in brackets, definitions, and places in a row.

"Marie Curie (Warsaw, 7 November 1867 – 4 July 1934) was a Polish physicist and chemist" says when
and where she was born, but only to readers who know the notation. A small model does not, so the
brackets are spelled out before it reads a passage, and the words after "was a" are taken as they
stand if a question asks what someone is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lacy._text import MONTHS, normalized_words

_BRACKETS = re.compile(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_LIFE = re.compile(
    r"(?P<birth>[^;–—]*?\b(?:\d{4}|(?:ca?\.|circa) ?\d{3,4})(?:(?!\s[-–—]\s)[^;–—])*?)"
    r"\s*(?:\s[-–—]\s|[–—]|-\s)\s*(?P<death>[^;–—]*?\b\d{3,4}\b[^;–—]*)"
)
_OTHER_PERIOD = re.compile(
    r"\b(?:reign|ruled|r\.|active|fl\.|flourished|served|office|season|b\.|d\.)", re.IGNORECASE
)
_FIRST_PART = 400
"""Number of characters of a passage in which its definition and life dates are searched."""

_COPULA = re.compile(
    r"(?P<verb>\b(?:is|was|are|were))\s+(?:(?:also|now|currently|probably)\s+)?"
    r"(?P<article>an?|the|one of the|among the)\s+",
)
_SENTENCE_END = re.compile(
    r"(?<=[^\W\d_]{3})[.!?]\s+(?=[A-Z])|[.!?]\s+(?=(?:He|She|They|It|His|Her|The|In|At|As|After)\b)"
)
_DEFINITION_END = re.compile(
    r",?\s+(?:(?:and|but)\s+)?(?:who|whom|whose|which|that|from|in|on|at"
    r"|by|with|since|during|where|when|while|until|before|after|based|born|serving"
    r"|specialis\w+|specializ\w+|appearing|trained|has|had|he|she|they|it|as|to|under|active"
    r"|associated|currently\s+\w+ing)\b"
    r"|,?\s+(?:(?:best|better|widely|perhaps|most)\s+)*(?:known|famous|noted)\s+(?:for|as|by|to|in)\b"
    r"|(?<=[^\W\d_]{3})[.!?](?:\s|\Z)|[.!?]\s+(?:He|She|They|It|His|Her|The|In)\b|[;:]\s|\s[–—-]\s"
    r"|,\s+(?:his|her|of|for|a\s+member|the\s+\w+\s+of)\b"
    r"|,\s+\w+ing\s+(?:his|her|their|the|an?|one)\b"
)
_LONGEST_DEFINITION = 160
_NAME_PART = rf"(?:St\.\s+)?(?!(?:{'|'.join(MONTHS)})\b)[A-ZÀ-ɏ][\w'’\-]*"
_PLACE = (
    rf"{_NAME_PART}(?:\s+(?:(?:of|de|del|di|da|la|le|the|am|an|der|do|dos|sur|en|y|upon)\s+){{0,2}}"
    rf"{_NAME_PART})*"
)
_KINDS = r"county|district|province|region|oblast|parish|prefecture|state|municipality|island"
_PLACES = re.compile(
    r"(?<![\w-])(?:in|at|near|from|of|to)\s+(?:the\s+)?(?:(?:city|town|village)\s+of\s+)?"
    rf"(?P<all>{_PLACE}(?:,\s+(?:{_PLACE}(?:\s+(?:{_KINDS})\b)?))*)"
)
"""A place after a preposition with the regions that contain it: "in Vinga, Arad County"."""
_DATED = re.compile(r"(?P<year>\b\d{4}),?\s+(?=[^\W\d_a-z])")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a passage says that its subject is: "was", "a", "Polish physicist and chemist"."""

    verb: str
    article: str
    words: str
    directness: tuple[int, bool] = (0, True)
    """Higher if little but the name stands before it, and if it is one of many ("a", "an")."""


def spelled_out(passage: str) -> str:
    """Return a passage with its life dates in words: "(born 1867 in Warsaw; died 1934)".

    Only brackets near the beginning that contain two dates or years around a dash are changed.
    """
    for match in _BRACKETS.finditer(passage[:_FIRST_PART]):
        parts = match[1].split("; ")
        for n, part in enumerate(parts):
            life = _LIFE.fullmatch(part.strip())
            if life is None or _OTHER_PERIOD.search(part):
                continue
            birth, death = life["birth"].strip(" ,"), life["death"].strip(" ,")
            parts[n] = f"{_event('born', birth)}; {_event('died', death)}"
            inside = "; ".join(parts)
            return f"{passage[: match.start(1)]}{inside}{passage[match.end(1) :]}"
    return passage


def definition_in(passage: str, subject: str) -> Definition | None:
    """Return what the first sentence of a passage says that its subject is, or None.

    Args:
        passage: a passage of a text about the subject.
        subject: the subject's name; the sentence must begin with a word of it.
    """
    text, count = passage[: 2 * _FIRST_PART], 1
    while count:
        text, count = re.subn(r"\s*\([^()]*\)", "", text)
    copula = _COPULA.search(text)
    if copula is None:
        return None
    before = text[: copula.start()]
    if len(before) > _FIRST_PART or _SENTENCE_END.search(before):
        return None
    if not set(normalized_words(subject)) & set(normalized_words(before)):
        return None
    rest = text[copula.end() :]
    end = _DEFINITION_END.search(rest)
    words = rest[: end.start() if end else len(rest)].strip(" ,.")
    words = re.sub(r",?\s[a-z]+ed\Z", "", words)  # "a member of the band, formed in 1990"
    if len(words) > _LONGEST_DEFINITION:
        words = words[:_LONGEST_DEFINITION].rpartition(",")[0].strip()
    if not re.search(r"(?<![\w-])[a-z][\w-]*", words):
        return None
    others = len(re.findall(r"(?<![\w-])(?:[a-z]{3,}|\d+|In|On|At|As|By|After)(?!\w)", before))
    indefinite = copula["article"] in ("a", "an")
    return Definition(copula["verb"], copula["article"], words, (-others, indefinite))


def places_in(passage: str) -> list[tuple[int, str]]:
    """Return places after prepositions, with their start and the regions that contain them."""
    return [(match.start("all"), match["all"]) for match in _PLACES.finditer(passage)]


def _event(verb: str, text: str) -> str:
    """Return "born 27 May 1862 in Lisburn, Ireland" for "27 May 1862, Lisburn, Ireland"."""
    text = _DATED.sub(r"\g<year> in ", text)
    if re.search(rf"\b{verb}\b", text):
        return text
    is_place = ":" not in text and re.match(_NAME_PART, text)
    return f"{verb} in {text}" if is_place else f"{verb} {text}"
