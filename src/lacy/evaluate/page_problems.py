"""Count pages on which scores mean less than they seem: repeated, empty, or in another language.

They stay in every mean, and their number is reported beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lacy.results import Result
from lacy.types import Document

_ENGLISH = frozenset(
    "the of and in to a an was is for on with as by from at he she it his her".split()
)
"""Frequent words of English; about a third of all words of an English text."""

_FEWEST_WORDS = 20
"""Texts with fewer words are not judged."""

_LEAST_SHARE = 0.01
"""Texts with a smaller share of these words are in another language. All of 10,801 English texts of
Wikipedia have more."""

PROBLEMS = ("articles_repeated", "articles_empty", "articles_foreign")
"""Names of the counts."""


def page_problems(articles: Sequence[Document]) -> dict[str, int]:
    """Return the number of articles with each problem (``PROBLEMS``).

    Repeated articles have the title of an earlier one, or its text where they have no title. Empty
    ones have no words. Foreign ones are not in English, so names and dates are found less reliably.
    """
    keys = [str(a.meta.get("title") or a.text).casefold().strip() for a in articles]
    counts = (
        len(keys) - len(set(keys)),
        sum(not a.text.strip() for a in articles),
        sum(not is_english(a.text) for a in articles),
    )
    return dict(zip(PROBLEMS, counts, strict=True))


def is_english(text: str) -> bool:
    """False if a text of at least 20 words has hardly any frequent English word."""
    words = re.findall(r"[^\W\d_]+", text[:20_000].casefold())
    if len(words) < _FEWEST_WORDS:
        # Scripts without spaces have few words but many characters.
        return len(text.strip()) < 4 * _FEWEST_WORDS or bool(_ENGLISH & set(words))
    return sum(word in _ENGLISH for word in words) / len(words) >= _LEAST_SHARE


def problem_results(
    problems: Mapping[str, int], articles: int, seed: int, source: str
) -> list[Result]:
    """Return the counts as results; ``articles`` is the number of all."""
    conditions = {"group": "articles", "source": source}
    return [
        Result(name, number, number, number, articles, "articles", seed, conditions)
        for name, number in problems.items()
    ]
