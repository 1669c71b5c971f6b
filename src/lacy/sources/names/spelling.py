"""Normalize the spelling of names, and compute how similar two names are.

Normalization removes punctuation: dots of initials, apostrophes, hyphens between words, commas,
quotes and brackets. Other symbols are kept: "C", "C#" and "C++" are three names, "Yahoo!" is not
"Yahoo", and ".NET" is not "NET".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

EDITS = 2
"""Maximum number of edits between similar names. So if a name is cut into three parts, at least
one part is free of edits, and a search for the parts finds it."""

_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h",
     "'": "", "’": "", "‘": "", "ʼ": "", "`": "", "™": "", "®": "", "©": "", "¡": "", "¿": "",
     "♯": "#", "−": "-", "‐": "-", "‑": "-", "–": " ", "—": " ", "_": " "}
)  # fmt: skip
_COMMA = re.compile(r"(?<!\d),|,(?!\d)")
_DOTS = re.compile(r"(\w?)(\.+)(?=(\w?))")
_AND = re.compile(r"(?<=\s)&(?=\s)")
_HYPHENS = re.compile("-+")
_PUNCTUATION = re.compile(r"[,;:\"“”„«»‹›()\[\]{}<>|…·•・\\=~^]+")
_SIGN = re.compile(r"[^\w\s]")
_ROMAN = re.compile(r"(?=.)m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})|.*\d.*")
"""A Roman or Arabic number; "Vidic" and "Civil" do not match."""


def normalize(name: str, *, keep_order: bool = False) -> str:
    """Return a name in lower case without accents and punctuation.

    Args:
        name: the name in any spelling.
        keep_order: do not swap the parts around a comma, as in "Paris, Texas"; by default,
            "Last, First" becomes "First Last".
    """
    if name.isascii() and name.isalnum():  # fast path for most words
        return name.lower()
    text = name
    if text.count(",") == 1 and _COMMA.search(text) and not keep_order:
        last, first = text.split(",")
        text = f"{first} {last}"
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.casefold())
    text = (
        "".join(c for c in text if c.isspace() or _is_visible(c))
        if not text.isprintable()
        else text
    )
    if not text.isascii():
        text = "".join(c for c in text if not unicodedata.combining(c))
    text = text.casefold().translate(_LETTERS)
    text = _PUNCTUATION.sub(" ", text)
    text = _HYPHENS.sub(_replace_hyphen, _DOTS.sub(_remove_dot, text))
    text = _AND.sub("and", text)
    return " ".join(_join_initials(text.split()))


def _is_visible(character: str) -> bool:
    """True unless a character is a control character or an invisible mark."""
    return unicodedata.category(character)[0] != "C"


def _remove_dot(match: re.Match[str]) -> str:
    """Remove dots, except in ".NET" and "3.5"."""
    before, dots, after = match.groups()
    number = before.isdigit() and after.isdigit()
    leads = not before and bool(after)
    return before + ("." if len(dots) == 1 and (number or leads) else "")


def _replace_hyphen(match: re.Match[str]) -> str:
    """Replace hyphens between words by spaces; keep those that are symbols ("C--", "A-", "-5")."""
    before = match.string[: match.start()][-1:]
    after = match.string[match.end() :][:1]
    ends = (before.isalnum() or before in tuple("+#*!?")) and not after.strip()
    begins = not before.strip() and after.isdigit()
    return match.group() if ends or begins else " "


def _join_initials(words: list[str]) -> Iterator[str]:
    """Join adjacent single letters into one word: "J R R" becomes "JRR"."""
    letters = ""
    for word in words:
        if len(word) == 1 and word.isalpha():
            letters += word
            continue
        if letters:
            yield letters
            letters = ""
        yield word
    if letters:
        yield letters


def similarity(one: str, other: str) -> float:
    """Return ``1 - edits / letters`` of two normalized names, or 0 if they must be different names.

    An edit inserts, deletes or replaces a letter, or swaps two adjacent letters. Names are
    different if their numbers, symbols, word counts or first letters differ, or if a word of up to
    three letters differs.
    """
    words, others = one.split(), other.split()
    if len(words) != len(others):
        return 0.0
    edits = 0
    for a, b in zip(words, others, strict=True):
        if a == b:
            continue
        if a[0] != b[0] or min(len(a), len(b)) <= 3 or _ROMAN.fullmatch(a) or _ROMAN.fullmatch(b):
            return 0.0
        if _SIGN.findall(a) != _SIGN.findall(b):
            return 0.0
        edits += _distance(a, b)
        if edits > EDITS:
            return 0.0
    return 1.0 - edits / max(len(one), len(other))


def signature(form: str) -> str:
    """Return word count and first letters, which similar names have in common."""
    words = form.split()
    return f"={len(words)}{''.join(word[0] for word in words)}="


def _distance(a: str, b: str) -> int:
    """Return the edit distance of two words (optimal string alignment), capped at ``EDITS + 1``."""
    if abs(len(a) - len(b)) > EDITS:
        return EDITS + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > EDITS:
            return EDITS + 1
    return row[-1]
