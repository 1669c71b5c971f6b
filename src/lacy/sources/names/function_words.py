"""Word lists that tell if a name continues at the word or Chinese character beside it.

``function_words.toml`` contains the lists and explains them.
"""

from __future__ import annotations

import tomllib
from importlib import resources

_FILE = resources.files(__package__) / "function_words.toml"
_LISTS: dict[str, str] = tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _words(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


PREPOSITIONS = _words("prepositions")
LEAD = PREPOSITIONS | _words("lead")
LEAD_ABROAD = _words("lead_abroad")
BRACKETED = _words("bracketed")
THING = _words("thing")
FOLLOW = THING | _words("follow")
DATE_WORDS = _words("date_words")
TITLES = _words("titles")
RANKS = _words("ranks")
POSTNOMINALS = _words("postnominals")
OF = _words("of")
OF_ONE = _words("of_one")
WITH_FIRST_NAME = _words("with_first_name")
AND = ("and",)
BYNAMES = _words("bynames")
NAMES_OF_SAINTS = _words("names_of_saints")
ABBREVIATED = NAMES_OF_SAINTS | _words("abbreviated")
BEHIND_HAN = frozenset(_LISTS["behind_han"])
BEFORE_HAN = frozenset(_LISTS["before_han"])

SENTENCE_STARTERS = LEAD | FOLLOW | LEAD_ABROAD | DATE_WORDS | TITLES
"""Words that may begin a sentence before its subject."""
