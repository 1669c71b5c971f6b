"""Format text for people: suggestions for mistyped words, numbers, durations, error messages."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

_WORD = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\w)|\d+(?:\.\d+)?)(?!\w)|\w+")

SURROGATE = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which cannot be written as UTF-8."""


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that is most similar to ``word``, or None.

    Args:
        word: the word as typed; case is ignored unless a word matches with the same case.
        known: the valid words.
        cutoff: minimum similarity, between 0 and 1.
    """
    words = list(known)
    for typed in (word, word.lower()):
        if found := difflib.get_close_matches(typed, words, 1, cutoff):
            return found[0]
    return None


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'lacy'?"``, or "" if no known word is similar."""
    found = closest(word, known, cutoff=cutoff)
    return f"; did you mean {found!r}?" if found else ""


def format_value(value: Any) -> str:
    """Format a value for a table: thousands separators, four significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def format_duration(seconds: float) -> str:
    """Format a duration: ``42 s``, ``3 min 20 s``, ``5 h 12 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_bytes(count: float) -> str:
    """Format a size: ``12 MB``, ``3.4 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()[:200]


def json_safe(value: Any) -> Any:
    """Return the value with NaN and infinities replaced by None, because JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def without_accents(text: str) -> str:
    """Return a text without accents and other combining marks: "Rabu" for "Rabú"."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c))


def normalized_words(text: str) -> list[str]:
    """Split a text into words without case, accents, punctuation and possessive endings.

    Numbers such as 1,234.5 stay whole.
    """
    plain = re.sub(r"['’]s\b", "", without_accents(text.casefold()))
    return [word.replace(",", "") for word in _WORD.findall(plain)]
