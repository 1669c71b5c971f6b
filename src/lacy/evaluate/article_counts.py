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
from lacy.evaluate.page_entities import LENGTHS, PageEntities, length_counts
from lacy.evaluate.provenance import is_borrowed
from lacy.types import Answer, Mark

ARTICLE_COUNTS = (
    "answers", "entities", "supported", "own_entities", "own_supported", "borrowed_entities",
    "borrowed_supported", "values", "values_stated", "page_entities", "page_stated", "births",
    "births_right", "empty", "unknown", "calls", "called", "tokens",
)  # fmt: skip
"""Names of the counts of one text: the text itself (1); new entities and those of them that the
article contains, in total, own and borrowed; values in an equally long part of the article and
those of them that the text states; entities of the whole article and those that the text states;
whether it states a date of birth and the right one (0 or 1); whether nothing was generated, and
whether it called and no call was answered; calls; tokens from calls; tokens."""

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
    return counts_by_length(answers, references, extract)[0]


def counts_by_length(
    answers: Sequence[Answer], references: Sequence[str], extract: Extract | None = None
) -> tuple[dict[str, NDArray[np.float64]], dict[int, dict[str, NDArray[np.float64]]]]:
    """Return the counts of each text, and those of its first words by their number.

    Arguments and errors as in ``article_counts``; see ``page_entities.length_counts``.
    """
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers, {len(references)} references")
    extract = extract or default_extract()
    marks = extract([answer.text for answer in answers])
    page_marks = extract(list(references))
    own, own_right, borrowed, borrowed_right = entity_counts(answers, references, marks=marks).T
    values, stated = _recalled(answers, references, page_marks)
    pages = [
        PageEntities(reference, found, ArticleText(answer.prompt))
        for reference, found, answer in zip(references, page_marks, answers, strict=True)
    ]
    page_stated = [
        page.stated(answer.text, found)
        for page, answer, found in zip(pages, answers, marks, strict=True)
    ]
    births = [_births(a, r) for a, r in zip(answers, references, strict=True)]
    born, born_right = np.asarray(births, float).reshape(-1, 2).T
    counts = {
        "answers": np.ones(len(answers)),
        "entities": own + borrowed,
        "supported": own_right + borrowed_right,
        "own_entities": own,
        "own_supported": own_right,
        "borrowed_entities": borrowed,
        "borrowed_supported": borrowed_right,
        "values": values,
        "values_stated": stated,
        "page_entities": np.array([len(page) for page in pages], float),
        "page_stated": np.array(page_stated, float),
        "births": born,
        "births_right": born_right,
        "empty": np.array([not a.continuation.strip() for a in answers], float),
        "unknown": np.array([_is_unknown(a) for a in answers], float),
        "calls": np.array([a.calls for a in answers], float),
        "called": np.array([a.called_tokens for a in answers], float),
        "tokens": np.array([a.tokens for a in answers], float),
    }
    longest = max((len(a.continuation.split()) for a in answers), default=0)
    shorter = {
        words: length_counts(answers, references, marks, pages, words)
        for words in LENGTHS
        if words < longest
    }
    return counts, shorter


def _is_unknown(answer: Answer) -> bool:
    """True if a text called, and its source had nothing for any of the calls."""
    return answer.calls > 0 and not any(is_borrowed(span) for span in answer.spans)


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
    answers: Sequence[Answer], references: Sequence[str], page_marks: Sequence[Sequence[Mark]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each article the number of its values, and how many of them the text states.

    Only a part of the article that is as long as the text counts, without the prompt.
    """
    rows = []
    for answer, reference, marks in zip(answers, references, page_marks, strict=True):
        prompt, generated = ArticleText(answer.prompt), ArticleText(answer.text)
        values = {
            reference[mark.start : mark.end]
            for mark in marks
            if mark.reason != "CONTENT" and len(answer.prompt) < mark.end <= len(answer.text)
        }
        new = [value for value in values if not prompt.contains(value)]
        rows.append((len(new), sum(generated.contains(value) for value in new)))
    counts = np.asarray(rows, float).reshape(-1, 2)
    return counts[:, 0], counts[:, 1]
