"""Patterns for names: initials, particles, hyphens, apostrophes, ampersands and suffixes.

``capitalised_runs`` finds runs of capitalised words that may be one name; ``joined_names`` finds
words joined by a particle, initial or suffix. Repetitions are bounded or possessive, so matching
takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CAPITAL = r"[^\W\d_a-z]"
_APOSTROPHE = "['\u2018\u2019\u02bb\u02bc\u02bf]"
NAME_SIGN = re.compile(r"(?<=\w)[\u2018\u02bb\u02bc\u02bf](?=\w)|(?<=[A-Z])&(?=[A-Z])")
"""Signs that only names have: apostrophes that are letters ("Hawai\u02bbi", which spaCy splits),
and "&" between capitals ("AT&T")."""

_INSIDE = (
    "upon|on|sur|au|aux|le|la|les|de|du|des|en|sous|under|in|by|the|am|an|der|da|do|e|y|al|el|of"
    "|and|und"
)
_ARABIC = "al|el|ad|as|ash|at|ul|ur"
_PARTICLE = (
    "van|von|vom|zu|zum|zur|der|den|de|del|della|delle|degli|dei|da|das|dos|du|des|di|la|le|bin"
    "|ibn|ben|bint|abu|af|av|ter|upon|sur"
)

_WORD = rf"""(?:
    (?:(?:{_ARABIC})-|[dl]{_APOSTROPHE})?{_CAPITAL}\w{{0,40}}+(?:
        {_APOSTROPHE}(?!s\b)\w{{1,40}}+
      | [-\u2010](?:(?:{_INSIDE})[-\u2010]){{0,3}}{_CAPITAL}\w{{0,40}}+
      | &{_CAPITAL}\w{{0,40}}+
    ){{0,6}}
)"""
_LINK = rf"""(?:
    \ (?:(?:{_PARTICLE})\ ){{1,3}}+
  | \ (?:(?:{_PARTICLE})\ )?(?=(?:{_ARABIC})-{_CAPITAL})
  | \ &(?:amp;)?\ | \ ?{_APOSTROPHE}?[nN]{_APOSTROPHE}\ | \ am\ (?=Main\b|Rhein\b|Inn\b|See\b)
)"""
_SENTENCE = "The|He|She|It|They|In|On|At|A|An|This|His|Her|But|And|For|After|When|As|From|By|With"
_INITIALS = rf"(?:(?<![\w°º])(?<![°º]\ )(?:[A-Z]\.\ ?){{1,4}}(?!(?:{_SENTENCE})\b))"
_IRISH = rf"(?:[OD]{_APOSTROPHE}{_CAPITAL}\w{{1,40}}+)"
_TITLE = r"(?:(?:Mrs?|Ms|Dr|Prof|Rev|Hon|Gen|Col|Lt|Maj|Capt|Sgt|Adm|Gov|Sen|Ste?|Mt|Ft|Fr)\b\.?\ )"
_SUFFIX = r"""(?:
    ,?\ (?:Jr|Sr)\b\.?
  | \ (?:II|III|IV|VI{0,3}|IX|XI{0,3}|XIV|XVI{0,3}|XIX|XX)\b(?!\.\w)
  | \ I(?=\ of\b|[,;)]|\ (?:died|reigned|became|granted)\b)
  | ,?\ (?:Inc|Ltd|Corp|Co|Bros)\b\.?
  | \ (?:plc|PLC|LLC|LLP|GmbH|AG|S\.A\.)(?!\w)
  | ,\ D\.?C\b\.?
)"""
_WITH_AND = (
    "Bosnia and Herzegovina|Trinidad and Tobago|Antigua and Barbuda|Saint Kitts and Nevis"
    "|Saint Vincent and the Grenadines|São Tomé and Príncipe|Newfoundland and Labrador"
    "|Tyne and Wear|Turks and Caicos Islands|Wallis and Futuna|Saint Pierre and Miquelon"
).replace(" ", r"\ ")

_JOINED = re.compile(
    rf"""\b(?:
        {_WITH_AND}
      | {_INITIALS}?{_WORD}(?:\ {_INITIALS})?(?:\ {_WORD})?\ {_IRISH}
      | {_CAPITAL}\w{{1,40}}+-{_CAPITAL}\w{{1,40}}+\ {_WORD}
      | {_INITIALS}{_WORD}(?:\ {_WORD}){{0,2}}(?:{_SUFFIX})?
      | (?:{_TITLE}){{0,2}}{_INITIALS}?{_WORD}
        (?:{_LINK}{_INITIALS}?{_WORD}){{0,5}}(?:{_SUFFIX}){{0,2}}
    )""",
    re.VERBOSE,
)
_SIMPLE = re.compile(rf"{_CAPITAL}\w*")

_RUN_WORD = rf"""{_CAPITAL}\w{{0,60}}+
    (?:(?:{_APOSTROPHE}(?!s\b)|{_APOSTROPHE}(?=s\ {_CAPITAL})|-)\w{{1,60}}+){{0,8}}+\.?"""
_RUN = re.compile(
    rf"""\b{_RUN_WORD}
    (?:\ (?:(?:of|the|and\ the|{_PARTICLE}|{_ARABIC})\ ){{0,3}}(?:&\ )?{_RUN_WORD}){{1,24}}""",
    re.VERBOSE,
)
_ENDED = re.compile(r"(?<=\w\w\w)\. |(?<=\w\w\w)\.$")
"""A sentence end in a run of capitalised words; "J. S. Bach" contains none."""

_LEADING = ' \t\n"“”„‘«»,;:'
_TRAILING = ' \t\n"“”„‘«»,;:([{–—-'
_OPENING = {")": "(", "]": "[", "}": "{"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_POSSESSIVE = re.compile(r"['’]s$")


def joined_names(text: str) -> Iterator[tuple[int, int]]:
    """Yield ``[start, end)`` of each name with a particle, initial or suffix, in order."""
    for match in _JOINED.finditer(text):
        if not _SIMPLE.fullmatch(match.group()):
            yield match.span()


def capitalised_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield ``[start, end)`` of runs of at least two capitalised words within one sentence."""
    for match in _RUN.finditer(text):
        start = match.start()
        for piece in _ENDED.split(match.group()):
            yield start, start + len(piece)
            start += len(piece) + 2


def trim_value(text: str, start: int, end: int) -> tuple[int, int]:
    """Return ``[start, end)`` of a value without surrounding punctuation.

    Quotation marks, unpaired brackets and punctuation are removed, and so is a possessive 's,
    unless the text never uses the name without it ("McDonald's").
    """
    while start < end and (text[start] in _LEADING or text[start] in _OPENING):
        start += 1
    value = text[start:end]
    while value and (
        value[-1] in _TRAILING
        or (value[-1] in _OPENING and value.count(value[-1]) > value.count(_OPENING[value[-1]]))
    ):
        value = value[:-1]
    if value[:1] in _PAIRS and _PAIRS[value[0]] not in value:
        value, start = value[1:], start + 1
    possessive = _POSSESSIVE.search(value)
    if possessive and possessive.start():
        bare = value[: possessive.start()]
        if re.search(rf"\b{re.escape(bare)}\b(?!['’]s\b)", text):
            value = bare
    return start, start + len(value)
