"""The places and candidates of ``ranking.py``: where a value is due, and what a source could offer.

Every candidate set begins with the right value. Sets of one kind are nested, so that a larger one
only adds distractors.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lacy._text import normalized_words
from lacy.cascade import truncate_document
from lacy.types import Document, Mark
from lacy.world import World

COUNTS = (2, 4, 8, 16, 32, 64)
NATURAL = "natural"
CONTROLLED = 0.5
"""Share of the places that also get sets of ``COUNTS``, drawn by chance: they cost most."""


class Fact(NamedTuple):
    """A value and its relation to the subject."""

    kind: str
    value: str


@dataclass(frozen=True)
class Place:
    """A place where a value is due: the true text before it, and candidates by (distractors, K)."""

    text: str
    subject: str
    right: Fact
    unit: str
    """Person or article, the unit of intervals."""
    split: str
    sets: dict[tuple[str, int], list[Fact]] = field(default_factory=dict)

    def facts(self) -> list[Fact]:
        """Return all candidates of all sets, each once."""
        return list(dict.fromkeys(itertools.chain.from_iterable(self.sets.values())))


def world_places(world: World, split: str, people: int, *, controlled: bool) -> list[Place]:
    """Return every place where a value begins, in one text per person.

    Args:
        world: has the true values.
        split: of the texts.
        people: their number.
        controlled: add the sets of ``COUNTS`` to the natural ones.
    """
    found = []
    for text in itertools.islice(world.documents(split), people):
        name = text.meta["person"]
        own = [Fact(*pair) for pair in world.truth(name).items()]
        rng = random.Random(f"{world.seed}/{name}")
        others = [p for p in world.everyone if p.name != name]
        lives = [[Fact(*f) for f in p.facts.items()] for p in rng.sample(others, len(others))]
        for mark in text.marks:
            place = _place(text, mark, name, split, f"{world.seed}/{name}")
            if place is None or place.right not in own:
                continue
            place.sets[NATURAL, 0] = _right_first(place.right, own)
            if controlled and rng.random() < CONTROLLED:
                place.sets.update(controlled_sets(place.right, own, lives))
            found.append(place)
    return found


def controlled_sets(
    right: Fact, own: Sequence[Fact], lives: Sequence[Sequence[Fact]]
) -> dict[tuple[str, int], list[Fact]]:
    """Return the sets of ``COUNTS`` with three kinds of distractors, if there are enough of them.

    ``other``: values of other kinds, the subject's own first. ``same``: values of the same kind
    from other people. ``mixed``: the subject's own, then all values of other people, one person
    after another, as their texts would bring them.
    """
    own_others = [fact for fact in own if fact != right]
    theirs = list(itertools.chain.from_iterable(lives))
    drawn = {
        "other": [f for f in (*own_others, *theirs) if f.kind != right.kind],
        "same": [f for f in theirs if f.kind == right.kind],
        "mixed": [*own_others, *theirs],
    }
    found = {}
    for name, facts in drawn.items():
        ordered = [right, *_without(right.value, facts)]
        for count in COUNTS:
            if len(ordered) >= count:
                found[name, count] = ordered[:count]
    return found


def _without(value: str, facts: Iterable[Fact]) -> list[Fact]:
    """Return each other value once; candidates are identified by their value."""
    seen = {value}
    return [f for f in facts if not (f.value in seen or seen.add(f.value))]


def _right_first(right: Fact, facts: Iterable[Fact]) -> list[Fact]:
    return [right, *_without(right.value, facts)]


def _place(text: Document, mark: Mark, subject: str, split: str, unit: str) -> Place | None:
    before = text.text[: mark.start].rstrip(" ")
    value = text.text[mark.start : mark.end].strip()
    if not before or not value:
        return None
    return Place(before, subject, Fact(mark.relation or mark.reason, value), unit, split)


# ------------------------------------------------------------------------------- real articles

SAME = {
    "birthplace": "Birth Place", "place of birth": "Birth Place", "born in": "Birth Place",
    "date of birth": "Birth Date", "birthdate": "Birth Date", "born on": "Birth Date",
    "date of death": "Death Date", "deathdate": "Death Date", "place of death": "Death Place",
    "profession": "Occupation", "alma mater": "Education", "educated at": "Education",
}  # fmt: skip
"""Names of relations that a judge uses for one thing."""

ABOUT_PEOPLE = ("Birth Date", "Birth Place", "Death Date", "Death Place")
_YEAR = re.compile(r"\b1\d{3}\b|\b20\d\d\b")


def relation(name: str) -> str:
    return SAME.get(name.lower(), name)


def coarse(value: str) -> str:
    """Return the form of a value: a date, a number, a name, or other words."""
    if _YEAR.search(value):
        return "date"
    if any(c.isdigit() for c in value):
        return "number"
    return "name" if value[:1].isupper() else "words"


def with_kinds(article: Document, kinds: str) -> Document:
    """Rename the kinds of an article's values: the judge's ``relations``, or ``coarse`` ones."""
    marks = [
        Mark(m.start, m.end, m.reason, coarse(article.text[m.start : m.end])
             if kinds == "coarse" else relation(m.relation or ""))
        for m in article.marks
    ]  # fmt: skip
    return Document(article.id, article.text, article.meta, tuple(marks))


def biographies(articles: Iterable[Document]) -> list[Document]:
    """Return the articles in which a judge found the time or place of a birth or death."""
    return [
        a for a in articles
        if len(a.marks) >= 3 and any(relation(m.relation or "") in ABOUT_PEOPLE for m in a.marks)
    ]  # fmt: skip


def article_places(
    articles: Sequence[Document], tokenizer: object, length: int, split: str
) -> list[Place]:
    """Return every labelled value within the model's context, with its candidates.

    The natural candidates are all labelled values of the whole article. ``unsaid`` leaves out what
    the text before already states (as ``lacy evaluate --articles`` does).
    """
    facts = {a.id: _facts(a) for a in articles}
    found = []
    for number, article in enumerate(articles):
        title = str(article.meta.get("title") or article.id)
        own = facts[article.id]
        rng = random.Random(f"ranking/{number}")
        others = [f for name, f in facts.items() if name != article.id]
        lives = rng.sample(others, len(others))
        begin = truncate_document(article, tokenizer, length - 32)
        for mark in begin.marks:
            place = _place(begin, mark, title, split, article.id)
            if place is None:
                continue
            place.sets[NATURAL, 0] = _right_first(place.right, own)
            stated = f" {' '.join(normalized_words(place.text))} "
            if f" {' '.join(normalized_words(place.right.value))} " not in stated:
                fresh = [f for f in own if f" {' '.join(normalized_words(f.value))} " not in stated]
                place.sets["unsaid", 0] = _right_first(place.right, fresh)
            if rng.random() < CONTROLLED:
                place.sets.update(controlled_sets(place.right, own, lives))
            found.append(place)
    return found


def _facts(article: Document) -> list[Fact]:
    pairs = (Fact(m.relation or "", article.text[m.start : m.end].strip()) for m in article.marks)
    return [fact for fact in dict.fromkeys(pairs) if fact.value]
