"""Count right entities and values of generated texts, each against a reference article.

All scores are ratios of sums over articles (see ``metrics.toml``), so the counts per article are
enough to pool articles and to compare conditions article by article.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.entities import (
    ArticleText,
    DateParts,
    Extract,
    default_extract,
    entity_counts,
    find_dates,
    parts_agree,
)
from lacy.types import Answer

ARTICLE_COUNTS = (
    "answers", "entities", "supported", "own_entities", "own_supported", "borrowed_entities",
    "borrowed_supported", "values", "values_stated", "births", "births_right", "calls", "called",
    "tokens",
)  # fmt: skip
"""Names of the counts of one text: the text itself (1); new entities and those of them that the
article contains, in total, own and borrowed; values in an equally long part of the article and
those of them that the text states; whether it states a date of birth and the right one (0 or 1);
calls; tokens from calls; tokens."""

NEAR = 120
"""Number of characters in which the bracket with the date of birth begins."""

_BRACKET = re.compile(r"\(([^()]*)")
_DASH = re.compile(r"[–—]| - ")


def article_counts(
    answers: Sequence[Answer], references: Sequence[str], extract: Extract | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the counts of each text by name (``ARTICLE_COUNTS``).

    Args:
        answers: generated texts with provenance; each begins as its article does.
        references: for each answer, the article about the same subject.
        extract: finds the entities; by default ``default_extract()``.

    Raises:
        ValueError: answers and references differ in number.
    """
    extract = extract or default_extract()
    own, own_right, borrowed, borrowed_right = entity_counts(answers, references, extract).T
    values, stated = _recalled(answers, references, extract)
    births = [_births(a, r) for a, r in zip(answers, references, strict=True)]
    born, born_right = np.asarray(births, float).reshape(-1, 2).T
    return {
        "answers": np.ones(len(answers)),
        "entities": own + borrowed,
        "supported": own_right + borrowed_right,
        "own_entities": own,
        "own_supported": own_right,
        "borrowed_entities": borrowed,
        "borrowed_supported": borrowed_right,
        "values": values,
        "values_stated": stated,
        "births": born,
        "births_right": born_right,
        "calls": np.array([a.calls for a in answers], float),
        "called": np.array([a.called_tokens for a in answers], float),
        "tokens": np.array([a.tokens for a in answers], float),
    }


def birth_date(text: str) -> DateParts | None:
    """Return the date of birth in the bracket after the name; None if there is not exactly one."""
    found = _BRACKET.search(text[:NEAR])
    if found is None:
        return None
    inside = _BRACKET.search(text, found.start())
    assert inside is not None
    born = _DASH.split(inside.group(1))[0]  # the rest is the death
    dates = find_dates(born)
    return next(iter(dates)) if len(dates) == 1 else None


def _births(answer: Answer, reference: str) -> tuple[bool, bool]:
    """Return two flags: the generated text states a date of birth, and it is the article's."""
    stated, true = birth_date(answer.text), birth_date(reference)
    if stated is None or true is None or birth_date(answer.prompt) is not None:
        return False, False
    return True, parts_agree(stated, true)


def _recalled(
    answers: Sequence[Answer], references: Sequence[str], extract: Extract
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each article the number of its values, and how many of them the text states.

    Only a part of the article that is as long as the text counts, without the prompt.
    """
    stretches = [
        reference[: len(answer.text)] for answer, reference in zip(answers, references, strict=True)
    ]
    rows = []
    for answer, stretch, marks in zip(answers, stretches, extract(stretches), strict=True):
        prompt, generated = ArticleText(answer.prompt), ArticleText(answer.text)
        values = {
            stretch[mark.start : mark.end]
            for mark in marks
            if mark.reason != "CONTENT" and mark.end > len(answer.prompt)
        }
        new = [value for value in values if not prompt.contains(value)]
        rows.append((len(new), sum(generated.contains(value) for value in new)))
    counts = np.asarray(rows, float).reshape(-1, 2)
    return counts[:, 0], counts[:, 1]
