"""Load the words and phrasings of the made-up world from ``language.toml``."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

_FILE = resources.files(__package__) / "language.toml"
LANGUAGE: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _words(name: str) -> list[str]:
    words: str = LANGUAGE["values"][name]
    return words.split()


FIRST_NAMES = _words("first_names")
SURNAME_STARTS = _words("surname_starts")
SURNAME_MIDDLES = ["", "a", "e", "i", "o", "an", "en", "in", "or", "ar"]
SURNAME_ENDS = _words("surname_ends")
PLACE_STARTS = _words("place_starts")
PLACE_ENDS = _words("place_ends")
TRADES = _words("trades")
AWARDS = _words("awards")
AWARD_QUALITIES = _words("award_qualities")
FIELDS = [" ".join(field.split()) for field in LANGUAGE["values"]["fields"].split(",")]
"""Fields of study of one or two words; several share their first word."""
