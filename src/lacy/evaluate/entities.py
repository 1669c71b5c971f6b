"""Entity precision on real text: the share of names, numbers and dates that the article contains.

Real texts have no table of facts, but a reference article contains most of what a faithful text may
state. Matching ignores case, punctuation and spacing and is strict in content: the words of a name
must appear in the article in a row, a number must have the same value, and the parts of a date
(day, month, year) must be those of one date in the article. Repetitions count once and entities of
the prompt do not count, so that neither repeating nor echoing improves the score.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy._text import MONTHS
from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.evaluate.statistics import Score, ratio
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
"""Style guides spell out numbers up to about twelve."""

AROUND_DATES = frozenset("the of in on at by to and from until since early late mid about".split())
"""Words that may be part of a date without making it a name ("Class of 1879" is a name)."""

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
_NUMBER = re.compile(rf"(?<![\w.,-])[-−]?(?:{_DIGITS})")
_WORD = re.compile(rf"(?:{_DIGITS})(?!\w)|\w+")

DateParts = tuple[int | None, int | None, int | None]
"""Day, month and year; None for a part that the text does not give."""


def words(text: str) -> list[str]:
    """Return the words without case, accents, punctuation and possessives; numbers stay whole."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"['’]s\b", "", plain)
    return [word.replace(",", "") for word in _WORD.findall(plain)]


def numbers(text: str) -> set[float]:
    """Return the numbers in a text: "1,234.0", "1234" and number words up to twelve."""
    found = {
        float(match.group().replace(",", "").replace("−", "-")) for match in _NUMBER.finditer(text)
    }
    return found | {float(NUMBER_WORDS[w]) for w in words(text) if w in NUMBER_WORDS}


def dates(text: str) -> set[DateParts]:
    """Return the dates in a text by parts; the longest reading of each place counts."""
    return _dates_and_rest(text)[0]


def _dates_and_rest(text: str) -> tuple[set[DateParts], str]:
    """Return the dates, and the text without its longer dates (bare years may be numbers)."""
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
        self._words = f" {' '.join(words(text))} "
        self._dates, rest = _dates_and_rest(text)
        self._numbers = numbers(rest)  # the 12 of "12 March" is no number of anything

    def contains(self, entity: str) -> bool:
        """True if the article contains a name, number or date."""
        return _Entity(entity).within(self)


class _Entity:
    """A generated name, number or date in normal form."""

    def __init__(self, text: str) -> None:
        self.words = tuple(words(text))
        found, rest = _dates_and_rest(text)
        only_dates = not set(words(_DATES[-1].sub(" ", rest))) - AROUND_DATES
        self.dates = frozenset(found) if only_dates else frozenset()
        is_number = re.fullmatch(r"\W*(?:the )?[-−]?[\d.,]+\W*", text.strip(), re.IGNORECASE)
        is_word = len(self.words) == 1 and self.words[0] in NUMBER_WORDS
        self.numbers = frozenset(numbers(text)) if is_number or is_word else frozenset()

    @property
    def key(self) -> tuple[Any, ...]:
        """Return a key that is equal for two spellings of one entity."""
        if self.numbers:
            return ("number", self.numbers)
        return ("date", self.dates) if self.dates else ("name", self.words)

    def within(self, reference: ArticleText) -> bool:
        """True if an article contains the entity."""
        if self.dates and all(
            any(_agrees(ours, theirs) for theirs in reference._dates) for ours in self.dates
        ):
            return True
        if self.numbers:
            return self.numbers <= reference._numbers
        return not self.dates and f" {' '.join(self.words)} " in reference._words


def _agrees(given: DateParts, known: DateParts) -> bool:
    """True if every given part is known and equal."""
    return all(ours is None or ours == theirs for ours, theirs in zip(given, known, strict=True))


@dataclass(frozen=True, slots=True)
class EntityScores:
    """Shares of entities that the reference contains; intervals over texts."""

    precision: Score
    per_text: Score
    """New entities per text (a text without entities cannot be wrong, so read both figures)."""
    own_precision: Score
    """Of the entities in the SLM's own words."""
    borrowed_precision: Score
    """Of the entities from a source."""
    borrowed: Score
    """Share of the entities that come from a source."""
    supported: int
    entities: int


def entity_precision(
    answers: Sequence[Answer],
    references: Sequence[str],
    extract: Extract | None = None,
    *,
    seed: int = 0,
) -> EntityScores:
    """Score generated texts against one reference article each.

    Args:
        answers: generated texts with provenance.
        references: the article about the same subject, for each answer.
        extract: finds the entities; by default the project's own annotator.
        seed: of the bootstrap.

    Raises:
        ValueError: answers and references differ in number.
    """
    table = entity_counts(answers, references, extract)
    own, own_supported, borrowed, borrowed_supported = table.T
    return EntityScores(
        precision=ratio(own_supported + borrowed_supported, own + borrowed, seed=seed),
        per_text=ratio(own + borrowed, np.ones(len(table)), unit="entities per text", seed=seed),
        own_precision=ratio(own_supported, own, seed=seed),
        borrowed_precision=ratio(borrowed_supported, borrowed, seed=seed),
        borrowed=ratio(borrowed, own + borrowed, seed=seed),
        supported=int((own_supported + borrowed_supported).sum()),
        entities=int((own + borrowed).sum()),
    )


def entity_counts(
    answers: Sequence[Answer], references: Sequence[str], extract: Extract | None = None
) -> NDArray[np.float64]:
    """Return the counts behind ``entity_precision``, one row per text.

    Returns:
        ``[texts, 4]``: own entities, those supported, borrowed entities, those supported.

    Raises:
        ValueError: answers and references differ in number.
    """
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers, {len(references)} references")
    marks = (extract or default_extract())([answer.text for answer in answers])
    rows = [
        _count(answer, ArticleText(reference), found)
        for answer, reference, found in zip(answers, references, marks, strict=True)
    ]
    return np.asarray(rows, float).reshape(-1, 4)


def _count(answer: Answer, reference: ArticleText, marks: Sequence[Mark]) -> tuple[int, ...]:
    """Count own entities, those supported, borrowed entities, those supported, in one text."""
    given = len(answer.prompt)
    prompt, speakers = ArticleText(answer.prompt), SpanLookup(answer)
    seen: set[tuple[Any, ...]] = set()
    counts = [0, 0, 0, 0]
    for mark in marks:
        entity = _Entity(answer.text[mark.start : mark.end])
        if mark.reason == "CONTENT" or mark.end <= given or not entity.words:
            continue
        if entity.key in seen or entity.within(prompt):
            continue
        seen.add(entity.key)
        side = 2 * is_borrowed(speakers.at(max(mark.start, given)))
        counts[side] += 1
        counts[side + 1] += entity.within(reference)
    return tuple(counts)


def default_extract(pipeline: Any = "auto") -> Extract:
    """Return the rules of ``lacy.annotate``, set to find all names, numbers and dates.

    Args:
        pipeline: see ``annotate.SpacyAnnotator``.

    Raises:
        LacyError: spaCy or the pipeline is missing.
    """
    from dataclasses import replace

    from lacy.annotate import Rules, SpacyAnnotator

    rules = Rules().only("entities", "numbers", "dates", "proper_nouns")
    rules = replace(rules, unmark_seen=False, unmark_subject=False, content=False)
    extract: Extract = SpacyAnnotator(pipeline, rules).annotate
    return extract
