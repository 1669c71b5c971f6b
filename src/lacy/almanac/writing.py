"""Write short articles from facts, with a mark on every value, and openings that end before one."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lacy.almanac.facts import Subject, SubjectKind
from lacy.types import Document, Mark

# In braces: a relation, N for the subject's name, A for "a" or "an" before the next word.
_SENTENCES: dict[SubjectKind, tuple[tuple[str, ...], ...]] = {
    "person": (
        (
            "{N} was {A} {nationality} {occupation}.",
            "{N} is remembered as {A} {nationality} {occupation}.",
            "Few are as well known in their field as {N}, {A} {nationality} {occupation}.",
            "{N} ({born}–{died}) was {A} {nationality} {occupation}.",
            "The {nationality} {occupation} {N} is known far beyond one country.",
        ),
        (
            "{N} was born in {birth place} in {born}.",
            "Born in {birth place} in {born}, {N} is still read about today.",
            "{N} came from {birth place}, a place that is proud of this to the present day.",
            "It was in {born} that {N} was born, in {birth place}.",
            "The year of birth is {born}, the place is {birth place}.",
        ),
        (
            "{N} died in {died}.",
            "When {N} died in {died}, people in many countries took notice.",
            "Death came in {died}.",
            "{N} lived until {died}.",
        ),
        (
            "Several biographies have been written since.",
            "Streets and schools bear the name.",
            "More can be found in any library.",
            "Historians still discuss what this life meant.",
        ),
    ),
    "country": (
        (
            "{N} is a country in {region}.",
            "{N}, in {region}, is described in every atlas.",
            "Travellers who visit {region} may also see {N}.",
        ),
        (
            "Its capital is {capital}.",
            "The capital of {N} is {capital}.",
            "Its capital, {capital}, is known to most people by name.",
            "Many visitors come to {capital}, the capital, and stay there for a day or two.",
        ),
        (
            "People pay with the {currency}.",
            "The currency of {N} is the {currency}.",
            "Prices are given in the {currency}, the official currency.",
        ),
        (
            "The weather differs from one end of the country to the other.",
            "Trade with its neighbours is important for the economy.",
            "Maps of it can be bought in many sizes.",
            "Its history is told in many books.",
        ),
    ),
    "element": (
        (
            "{N} is a chemical element with the symbol {symbol} and the atomic number "
            "{atomic number}.",
            "{N} is a chemical element; its symbol is {symbol}.",
            "The chemical element {N} has the atomic number {atomic number}.",
            "In the periodic table, {N} stands at number {atomic number}.",
        ),
        (
            "It was discovered in {discovered} in {discovered in}.",
            "{N} was discovered in {discovered}.",
            "Its discovery in {discovered in} dates from {discovered}.",
            "Its discovery, in {discovered}, was made in {discovered in}.",
        ),
        (
            "Chemists write it as {symbol}.",
            "It has a place in every periodic table.",
            "Its properties are listed in many handbooks.",
            "Students learn about it at school or later.",
        ),
    ),
}
"""Groups of sentences by kind. An article has one sentence from each group, in this order."""

_OPENINGS: dict[SubjectKind, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "person": (
        ("{N} was born in", ("born", "birth place")),
        ("{N} died in", ("died",)),
        ("{N} was born in the town of", ("birth place",)),
    ),
    "country": (
        ("The capital of {N} is", ("capital",)),
        ("The currency of {N} is the", ("currency",)),
        ("{N} is a country in", ("region",)),
    ),
    "element": (
        ("{N} is a chemical element with the symbol", ("symbol",)),
        ("The atomic number of {N} is", ("atomic number",)),
        ("{N} was discovered in", ("discovered", "discovered in")),
    ),
}
"""Openings by kind, with the relations whose values may follow."""

_PLACE = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of a sentence whose next words should be a value."""

    text: str
    subject: Subject
    relations: tuple[str, ...]
    """The relations whose values may follow."""

    @property
    def right(self) -> tuple[str, ...]:
        """The values that complete the opening correctly."""
        return tuple(self.subject.facts[relation] for relation in self.relations)


def write_articles(subjects: Iterable[Subject], seed: int = 0) -> list[Document]:
    """Write an article about each subject, with a mark on every value.

    Args:
        subjects: the subjects.
        seed: seed of the wording.
    """
    rng = random.Random(seed)
    return [write_article(subject, rng) for subject in subjects]


def write_article(subject: Subject, rng: random.Random) -> Document:
    """Write an article about one subject.

    Args:
        subject: the subject.
        rng: chooses among the wordings.
    """
    text, marks = "", []
    for group in _SENTENCES[subject.kind]:
        frame = rng.choice(group)
        text += " " * bool(text)
        end = 0
        for place in _PLACE.finditer(frame):
            text += frame[end : place.start()]
            end = place.end()
            name = place.group(1)
            if name == "N":
                text += subject.name
            elif name == "A":
                after = _PLACE.match(frame, end + 1)
                assert after is not None
                text += "an" if subject.facts[after.group(1)][0] in "AEIOU" else "a"
            else:
                value = subject.facts[name]
                marks.append(Mark(len(text), len(text) + len(value), "ENTITY", name))
                text += value
        text += frame[end:]
    meta = {"title": subject.name, "kind": subject.kind}
    return Document(subject.name, text, meta, tuple(marks))


def openings(subjects: Sequence[Subject]) -> list[Opening]:
    """Return all openings about the subjects."""
    return [
        Opening(frame.replace("{N}", subject.name), subject, relations)
        for subject in subjects
        for frame, relations in _OPENINGS[subject.kind]
    ]
