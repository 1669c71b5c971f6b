"""The people of the made-up world: names, and the values of their facts.

Names and values resemble each other on purpose. Surnames are shared, some names are prefixes of
others, places share their first syllable, schools their first word, and schools, employers and
prizes are named after places, so that a prefix does not determine a value.
"""

from __future__ import annotations

import calendar
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from lacy._text import MONTHS
from lacy.world import lexicon

RELATIONS = (
    "birth_date",
    "birth_place",
    "school",
    "field",
    "employer",
    "prize",
    "spouse",
)
"""All relations of the world, in the order of the truth tables."""

ABSENT = {"prize": 0.03, "spouse": 0.03}
"""Probability that a person has no value for a relation. A model cannot know whom this affects, so
any value that it states for them is wrong, with or without a source.
"""

PLACES, SCHOOLS, EMPLOYERS, PRIZES = 240, 160, 240, 120
FIRST_YEAR, LAST_YEAR = 1850, 1999
SHARED_SURNAME, EXTENDED_NAME, SPOUSE_IN_WORLD = 0.3, 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Person:
    """A person's name and facts by relation; a relation that does not apply is absent."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first name."""
        return self.name.split(" ", 1)[0]

    @property
    def last(self) -> str:
        """The surname."""
        return self.name.split(" ", 1)[1]


@dataclass(frozen=True, slots=True)
class ValuePools:
    """The values of each relation, all with equal probability."""

    places: tuple[str, ...]
    schools: tuple[str, ...]
    fields: tuple[str, ...]
    employers: tuple[str, ...]
    prizes: tuple[str, ...]
    names: int

    def bits(self, relation: str) -> float:
        """Return the information in one value of a relation: log2 of the number of values."""
        days = sum(366 if calendar.isleap(y) else 365 for y in range(FIRST_YEAR, LAST_YEAR + 1))
        counts = {
            "birth_date": days,
            "birth_place": len(self.places),
            "school": len(self.schools),
            "field": len(self.fields),
            "employer": len(self.employers),
            "prize": len(self.prizes),
            "spouse": self.names,
        }
        return math.log2(counts[relation])


def _draw_distinct(make: Callable[[], str], count: int) -> list[str]:
    """Call ``make`` until it has returned ``count`` distinct texts; return them in that order."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(make())
    return list(found)


def _surname(rng: random.Random) -> str:
    return (
        rng.choice(lexicon.SURNAME_STARTS)
        + rng.choice(lexicon.SURNAME_MIDDLES)
        + rng.choice(lexicon.SURNAME_ENDS)
    )


def make_values(rng: random.Random) -> ValuePools:
    """Draw the world's places, schools, employers and prizes."""
    places = _draw_distinct(
        lambda: rng.choice(lexicon.PLACE_STARTS) + rng.choice(lexicon.PLACE_ENDS), PLACES
    )
    school_forms = ("University of {}", "{} College", "{} Academy", "Academy of {}", "{} School")
    schools = _draw_distinct(
        lambda: rng.choice(school_forms).format(rng.choice(places)),
        SCHOOLS,
    )
    employers = _draw_distinct(
        lambda: f"{rng.choice([rng.choice(places), _surname(rng)])} {rng.choice(lexicon.TRADES)}",
        EMPLOYERS,
    )
    prizes = _draw_distinct(
        lambda: (
            f"{rng.choice([rng.choice(lexicon.AWARD_QUALITIES), _surname(rng)])}"
            f" {rng.choice([rng.choice(places), rng.choice(lexicon.AWARD_QUALITIES), 'Memorial'])}"
            f" {rng.choice(lexicon.AWARDS)}"
        ),
        PRIZES,
    )
    names = (
        len(lexicon.FIRST_NAMES)
        * len(lexicon.SURNAME_STARTS)
        * len(lexicon.SURNAME_MIDDLES)
        * len(lexicon.SURNAME_ENDS)
    )
    return ValuePools(
        tuple(places),
        tuple(schools),
        tuple(lexicon.FIELDS),
        tuple(employers),
        tuple(prizes),
        names,
    )


def _names(count: int, rng: random.Random) -> list[str]:
    """Draw distinct full names; some share a surname, and some extend another name."""
    names: dict[str, None] = {}
    while len(names) < count:
        kind = rng.random() if names else 1.0
        if kind < EXTENDED_NAME:
            name = rng.choice(list(names)) + rng.choice(["s", "er", "ova", "i"])
        elif kind < EXTENDED_NAME + SHARED_SURNAME:
            name = f"{rng.choice(lexicon.FIRST_NAMES)} {rng.choice(list(names)).split(' ', 1)[1]}"
        else:
            name = f"{rng.choice(lexicon.FIRST_NAMES)} {_surname(rng)}"
        names.setdefault(name)
    return list(names)


def _birth_date(rng: random.Random) -> str:
    year, month = rng.randint(FIRST_YEAR, LAST_YEAR), rng.randint(1, 12)
    day = rng.randint(1, calendar.monthrange(year, month)[1])
    return f"{day} {MONTHS[month - 1]} {year}"


def make_people(count: int, values: ValuePools, rng: random.Random) -> tuple[Person, ...]:
    """Draw ``count`` people with their facts."""
    names = _names(count, rng)
    people = []
    for name in names:
        spouse = rng.choice(names) if rng.random() < SPOUSE_IN_WORLD else name
        while spouse == name:
            spouse = f"{rng.choice(lexicon.FIRST_NAMES)} {_surname(rng)}"
        drawn = {
            "birth_date": _birth_date(rng),
            "birth_place": rng.choice(values.places),
            "school": rng.choice(values.schools),
            "field": rng.choice(values.fields),
            "employer": rng.choice(values.employers),
            "prize": rng.choice(values.prizes),
            "spouse": spouse,
        }
        keep = {r: rng.random() >= ABSENT.get(r, 0.0) for r in RELATIONS}
        people.append(Person(name, {r: v for r, v in drawn.items() if keep[r]}))
    return tuple(people)
