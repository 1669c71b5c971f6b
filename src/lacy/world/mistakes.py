"""Facts that a source has wrong: the value of somebody else, chosen the same way every time.

A wrong value is one that another person truly has, so that it looks as right as any. Errors are
nested: whoever has more of them with one seed has the fewer ones too, with the same wrong values.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lacy.errors import LacyError
from lacy.world.people import Person


def other_value(person: Person, relation: str, pool: Sequence[str], seed: int | str) -> str | None:
    """A value of ``pool`` that is neither the person's own nor the person; None without one.

    Args:
        person: whose fact it is.
        relation: which of the person's facts.
        pool: everybody's values of the relation, each as often as it is had.
        seed: of the choice, which is the same for the same fact.
    """
    taken = (person.facts.get(relation), person.name)
    if all(value in taken for value in pool):
        return None
    rng = random.Random(f"{seed}/{person.name}/{relation}/other")
    while (value := rng.choice(pool)) in taken:
        pass
    return value


def pools(everyone: Sequence[Person]) -> dict[str, list[str]]:
    """Everybody's values of each relation, each as often as it is had."""
    found: dict[str, list[str]] = {}
    for person in everyone:
        for relation, value in person.facts.items():
            found.setdefault(relation, []).append(value)
    return found


def mistaken(everyone: Sequence[Person], share: float, seed: int) -> dict[tuple[str, str], str]:
    """The wrong values of a share of all facts, by person's name and relation.

    Args:
        everyone: whose facts.
        share: of the facts, met to one fact (where a relation has a single value, nothing else
            can be said of it).
        seed: of which facts and which values.

    Raises:
        LacyError: E12, if ``share`` is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        do = "give a share of facts between 0 and 1"
        raise LacyError("E12", key="errors", value=share, why="not a share", do=do)
    values = pools(everyone)
    facts = [(person, relation) for person in everyone for relation in person.facts]
    random.Random(f"{seed}/errors").shuffle(facts)
    wrong = {}
    for person, relation in facts[: round(share * len(facts))]:
        value = other_value(person, relation, values[relation], seed)
        if value is not None:
            wrong[person.name, relation] = value
    return wrong
