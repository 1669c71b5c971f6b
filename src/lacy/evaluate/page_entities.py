"""Entity recall on real text: which of a page's names, numbers and dates a text states.

Precision alone rewards a text that says little, recall one that says much. Both, and their F1, are
therefore also measured for the beginning of each text, at the same numbers of words for all.

An entity of the page counts once, in whatever spelling (``entities``); the prompt's entities do not
count. A person's parts ("Curie") belong to the longest name on the page ("Marie Curie"), and a text
states a person by full name, or by the last word alone unless the prompt contains that word too. A
date is stated if the text gives all parts that the page gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.entities import ArticleText, Entity, count_entities
from lacy.types import Answer, Mark

LENGTHS = (25, 50, 100, 200)
"""Numbers of generated words after which precision and recall are measured."""

LENGTH_COUNTS = ("answers", "entities", "supported", "page_entities", "page_stated")
"""Counts of the beginning of one text; see ``article_counts.ARTICLE_COUNTS``."""

PERSON = "PERSON"
"""Label of people's names (``Mark.label``)."""


@dataclass(frozen=True, slots=True)
class _Named:
    """An entity of a page, and the word that may stand for it."""

    entity: Entity
    surname: str


class PageEntities:
    """The distinct entities of a page that its prompt does not give.

    Args:
        text: the page's text.
        marks: its names, numbers and dates.
        prompt: the beginning that is given.
    """

    def __init__(self, text: str, marks: Sequence[Mark], prompt: ArticleText) -> None:
        mentions = dict.fromkeys(
            (text[mark.start : mark.end], mark.label == PERSON)
            for mark in marks
            if mark.reason != "CONTENT"
        )
        people = sorted(
            {words for name, is_person in mentions if is_person and (words := Entity(name).words)},
            key=lambda words: (-len(words), words),
        )
        found: dict[tuple[object, ...], _Named] = {}
        for mention, is_person in mentions:
            entity = Entity(mention)
            if not entity.words:
                continue
            is_person = is_person and entity.is_name
            if is_person and (full := _longer(entity.words, people)):
                entity = Entity(" ".join(full))
            if entity.is_in(prompt):
                continue
            last = entity.words[-1]
            own = is_person and len(entity.words) > 1 and not Entity(last).is_in(prompt)
            found.setdefault(entity.key, _Named(entity, last if own else ""))
        self._found = tuple(found.values())

    def __len__(self) -> int:
        return len(self._found)

    def stated(self, text: str, marks: Sequence[Mark], end: int | None = None) -> int:
        """Return how many of the entities a text states.

        Args:
            text: the text.
            marks: its names, numbers and dates.
            end: only this many characters of the text count; by default all.
        """
        end = len(text) if end is None else end
        said = ArticleText(text[:end])
        alone = {
            entity.words[0]
            for mark in marks
            if mark.label == PERSON and mark.end <= end
            and len((entity := Entity(text[mark.start : mark.end])).words) == 1
        }  # fmt: skip
        return sum(named.entity.is_in(said) or named.surname in alone for named in self._found)


def _longer(words: tuple[str, ...], people: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the first name of more words that contains these words one after another."""
    inside = f" {' '.join(words)} "
    return next(
        (name for name in people if len(name) > len(words) and inside in f" {' '.join(name)} "),
        None,
    )


def length_counts(
    answers: Sequence[Answer],
    references: Sequence[str],
    marks: Sequence[Sequence[Mark]],
    pages: Sequence[PageEntities],
    words: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the counts of the first words of each generated text (``LENGTH_COUNTS``).

    Args:
        answers: the texts; a shorter one counts as it is.
        references: the page of each.
        marks: the names, numbers and dates of each text.
        pages: the entities of each page.
        words: number of generated words.
    """
    rows = []
    for answer, reference, found, page in zip(answers, references, marks, pages, strict=True):
        end = end_of_words(answer, words)
        inside = [mark for mark in found if mark.end <= end]
        own, own_right, lent, lent_right = count_entities(answer, ArticleText(reference), inside)
        stated = page.stated(answer.text, inside, end)
        rows.append((1, own + lent, own_right + lent_right, len(page), stated))
    table = np.asarray(rows, float).reshape(-1, len(LENGTH_COUNTS))
    return dict(zip(LENGTH_COUNTS, table.T, strict=True))


def end_of_words(answer: Answer, words: int) -> int:
    """Return the position in a text at which its first ``words`` generated words end."""
    begin = len(answer.prompt)
    found = re.match(rf"\s*(?:\S+\s+){{0,{words - 1}}}\S+", answer.text[begin:])
    return begin + (found.end() if found else 0)
