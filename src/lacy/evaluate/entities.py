"""Entity precision on real text: the share of names, numbers and dates that the article contains.

Real texts have no table of facts, but a reference article contains most of what a faithful text may
state. Matching ignores case, punctuation and spacing but is strict in content: the words of a name
must be consecutive in the article, a number must have the same value, and all given parts of a date
(day, month, year) must agree with one date in the article. A repeated entity counts once, and
entities of the prompt do not count, so repeating and echoing do not improve the score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy._text import MONTHS, normalized_words
from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.types import Answer, Mark

Extract = Callable[[Sequence[str]], list[list[Mark]]]
"""A function that finds names, numbers and dates in texts (an annotator's ``annotate``)."""

_MONTH_NUMBERS = {
    name.lower()[:length]: number
    for number, name in enumerate(MONTHS, start=1)
    for length in (3, len(name))
} | {"sept": 9}

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
"""Number words and their values; style guides spell out numbers up to about twelve."""

AROUND_DATES = frozenset("the of in on at by to and from until since early late mid about".split())
"""Words that may stand beside a date. With any other word it is a name, as in "Class of 1879"."""

_MONTH = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[12]\d{3})"
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<year>[12]\d{3})-(?P<number>[01]\d)-(?P<day>[0-3]\d)\b",
        rf"\b{_DAY}(?:\s+of)?\s+(?P<month>{_MONTH})\b\.?(?:,?\s+{_YEAR}\b)?",
        rf"\b(?P<month>{_MONTH})\b\.?\s+{_DAY}\b(?:,?\s+{_YEAR}\b)?",
        rf"\b(?P<month>{_MONTH})\b\.?,?\s+{_YEAR}\b",
        rf"\b{_YEAR}\b",
    )
]
_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\w)|\d+(?:\.\d+)?"
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SCALE = "|".join(_SCALES)
_NUMBER = re.compile(rf"(?<![\w.,-])(?P<value>[-−]?(?:{_DIGITS}))(?:[\s-](?P<scale>{_SCALE})\b)?")
_ONLY_NUMBER = re.compile(rf"\W*(?:the )?[-−]?[\d.,]+(?:[\s-](?:{_SCALE}))?\W*", re.IGNORECASE)

DateParts = tuple[int | None, int | None, int | None]
"""Day, month and year; None for a part that the text does not give."""


def find_numbers(text: str) -> set[float]:
    """Return the values of the numbers in a text, such as "1,234.0", "5 million" or "twelve"."""
    values = {
        float(match["value"].replace(",", "").replace("−", "-"))
        * (_SCALES[match["scale"]] if match["scale"] else 1.0)
        for match in _NUMBER.finditer(text)
    }
    return values | {
        float(NUMBER_WORDS[word]) for word in normalized_words(text) if word in NUMBER_WORDS
    }


def find_dates(text: str) -> set[DateParts]:
    """Return the dates in a text; where several patterns match, the longest one counts."""
    return _dates_and_rest(text)[0]


def _dates_and_rest(text: str) -> tuple[set[DateParts], str]:
    """Return the dates, and the text with all dates but bare years blanked out.

    Bare years stay because they may be plain numbers.
    """
    found: set[DateParts] = set()
    for pattern in _DATES:
        for match in pattern.finditer(text):
            part = match.groupdict()
            month = part.get("number") or _MONTH_NUMBERS.get((part.get("month") or "").lower())
            day, year = part.get("day"), part.get("year")
            found.add((int(day) if day else None, int(month) if month else None,
                       int(year) if year else None))  # fmt: skip
        if pattern is not _DATES[-1]:
            text = pattern.sub(lambda match: ";" * len(match.group()), text)
    return found, text


class ArticleText:
    """The text of an article, indexed for many look-ups."""

    def __init__(self, text: str) -> None:
        self._words = f" {' '.join(normalized_words(text))} "
        self._dates, rest = _dates_and_rest(text)
        self._numbers = find_numbers(rest)  # without dates: the 12 of "12 March" is not a number

    def contains(self, entity: str) -> bool:
        """True if the article contains a name, number or date."""
        return Entity(entity).is_in(self)


class Entity:
    """A name, number or date in a normal form."""

    def __init__(self, text: str) -> None:
        words = normalized_words(text)
        self.words = tuple(words[1:] if words[:1] == ["the"] and len(words) > 1 else words)
        found, rest = _dates_and_rest(text)
        only_dates = not set(normalized_words(_DATES[-1].sub(" ", rest))) - AROUND_DATES
        self.dates = frozenset(found) if only_dates else frozenset()
        is_number = _ONLY_NUMBER.fullmatch(text.strip())
        is_word = len(self.words) == 1 and self.words[0] in NUMBER_WORDS
        self.numbers = frozenset(find_numbers(text)) if is_number or is_word else frozenset()

    @property
    def is_name(self) -> bool:
        """True if it is neither a number nor a date."""
        return not self.numbers and not self.dates

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is the same for all spellings of an entity."""
        if self.numbers:
            return ("number", self.numbers)
        return ("date", self.dates) if self.dates else ("name", self.words)

    def is_in(self, article: ArticleText) -> bool:
        """True if an article contains the entity."""
        if self.dates and all(
            any(parts_agree(ours, theirs) for theirs in article._dates) for ours in self.dates
        ):
            return True
        if self.numbers:
            return self.numbers <= article._numbers
        return not self.dates and f" {' '.join(self.words)} " in article._words


def parts_agree(given: DateParts, known: DateParts) -> bool:
    """True if every part of a date that ``given`` has is equal in ``known``."""
    return all(
        part is None or part == known_part for part, known_part in zip(given, known, strict=True)
    )


def entity_counts(
    answers: Sequence[Answer],
    references: Sequence[str],
    extract: Extract | None = None,
    marks: Sequence[Sequence[Mark]] | None = None,
) -> NDArray[np.float64]:
    """Count the new entities of generated texts, one row per text.

    Args:
        answers: generated texts with provenance.
        references: for each answer, the article about the same subject.
        extract: finds the entities; by default ``default_extract()``.
        marks: the entities of each text, if they are known.

    Returns:
        ``[texts, 4]``: own entities, own entities that the article contains, borrowed entities,
        borrowed entities that the article contains.

    Raises:
        ValueError: answers and references differ in number.
    """
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers, {len(references)} references")
    if marks is None:
        marks = (extract or default_extract())([answer.text for answer in answers])
    rows = [
        count_entities(answer, ArticleText(reference), entity_marks)
        for answer, reference, entity_marks in zip(answers, references, marks, strict=True)
    ]
    return np.asarray(rows, float).reshape(-1, 4)


def count_entities(
    answer: Answer, reference: ArticleText, marks: Sequence[Mark]
) -> tuple[int, ...]:
    """Return the four counts of one text, as in ``entity_counts``."""
    prompt_end = len(answer.prompt)
    prompt, spans = ArticleText(answer.prompt), SpanLookup(answer)
    seen: set[tuple[Any, ...]] = set()
    counts = [0, 0, 0, 0]
    for mark in marks:
        entity = Entity(answer.text[mark.start : mark.end])
        if mark.reason == "CONTENT" or mark.end <= prompt_end or not entity.words:
            continue
        if entity.key in seen or entity.is_in(prompt):
            continue
        seen.add(entity.key)
        column = 2 * is_borrowed(spans.at(max(mark.start, prompt_end)))
        counts[column] += 1
        counts[column + 1] += entity.is_in(reference)
    return tuple(counts)


def default_extract(pipeline: Any = "auto") -> Extract:
    """Return a function that finds all names, numbers and dates by the rules of ``lacy.annotate``.

    Args:
        pipeline: the spaCy pipeline, as in ``annotate.SpacyAnnotator``.

    Raises:
        LacyError: spaCy or the pipeline is missing.
    """
    from dataclasses import replace

    from lacy.annotate import Rules, SpacyAnnotator

    rules = Rules().only("entities", "numbers", "dates", "proper_nouns")
    rules = replace(rules, unmark_seen=False, unmark_subject=False, content=False)
    extract: Extract = SpacyAnnotator(pipeline, rules).annotate
    return extract
