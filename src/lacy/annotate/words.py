"""The word lists of the rules, read once from ``keywords.json``; compared in lower case."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def word_list(name: str) -> frozenset[str]:
    """``professions``, ``nationalities``, ``titles``, ``joiners`` or ``function_words``.

    ``joiners`` stand inside names ("University *of* Pavia"); the others speak for themselves.
    """
    text = resources.files(__package__).joinpath("keywords.json").read_text(encoding="utf-8")
    return frozenset(word.lower() for word in json.loads(text)[name])
