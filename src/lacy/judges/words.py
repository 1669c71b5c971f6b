"""Content words, names and numbers of facts and passages."""

from __future__ import annotations

import re
from functools import lru_cache

from lacy._text import normalized_words

STOP_WORDS = frozenset(
    "a about after all also although among an and any are as at be became because been before "
    "being between both but by can could did do does during each for from had has have he her "
    "hers him his how i in into is it its known many may more most much no not of on one or other "
    "others our out over own same she several so some such than that the their them there these "
    "they this those through to under until up us was we well were what when where which while "
    "who whom whose why will with would you your".split()
)

MAX_FACT_CHARACTERS = 4_000
"""A longer fact is cut here: it is not atomic, and judging must take bounded time."""

_CAPITAL = re.compile(r"\b[^\W\d_a-z]\w*")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_MARK = re.compile(r"</?s>")


def plain_passage(passage: str) -> str:
    """Return a passage without FActScore's sentence marks (``<s>``, ``</s>``)."""
    return _MARK.sub(" ", passage)


def content_words(text: str) -> list[str]:
    """Return the words of a text that are not stop words, normalised, in their order."""
    return [word for word in normalized_words(text) if word not in STOP_WORDS]


def names_and_numbers(text: str) -> set[str]:
    """Return the capitalised words (except the first word) and the numbers of a text, normalised.

    The first word of a sentence is capitalised anyway, so it counts only if it is a number.
    """
    first = len(text) - len(text.lstrip())
    found = [m.group() for m in _CAPITAL.finditer(text) if m.start() > first]
    found += _NUMBER.findall(text)
    return {word for part in found for word in content_words(part)}


@lru_cache(maxsize=512)
def passage_words(passages: tuple[str, ...]) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """Return the content words of each passage, and of all of them together."""
    each = tuple(frozenset(content_words(plain_passage(passage))) for passage in passages)
    return each, frozenset().union(*each)
