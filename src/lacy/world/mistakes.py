"""Make wrong facts for unreliable sources: the value of another person, fixed for each fact.

Another person really has this value, so it is as plausible as the true one. Errors are nested: with
the same seed, a higher error rate includes all errors of a lower one with the same wrong values.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lacy._require import require_share
from lacy.world.people import Person


def wrong_value(person: Person, relation: str, pool: Sequence[str], seed: int | str) -> str | None:
    """Return a value of ``pool`` other than the person's own value and name, or None.

    Args:
        person: the person.
        relation: one of the person's relations.
        pool: everyone's values of this relation, with repetitions.
        seed: determines the choice, together with person and relation.
    """
    excluded = (person.facts.get(relation), person.name)
    if all(value in excluded for value in pool):
        return None
    rng = random.Random(f"{seed}/{person.name}/{relation}/other")
    while (value := rng.choice(pool)) in excluded:
        pass
    return value


def values_by_relation(everyone: Sequence[Person]) -> dict[str, list[str]]:
    """Return everyone's values of each relation, with repetitions."""
    found: dict[str, list[str]] = {}
    for person in everyone:
        for relation, value in person.facts.items():
            found.setdefault(relation, []).append(value)
    return found


def wrong_values(everyone: Sequence[Person], share: float, seed: int) -> dict[tuple[str, str], str]:
    """Choose a share of all facts to be wrong; return their values by name and relation.

    Args:
        everyone: all people.
        share: share of wrong facts, exact to one fact (facts without another possible value are
            skipped).
        seed: determines the facts and the values.

    Raises:
        LacyError: E12, ``share`` is not between 0 and 1.
    """
    require_share("errors", share)
    values = values_by_relation(everyone)
    facts = [(person, relation) for person in everyone for relation in person.facts]
    random.Random(f"{seed}/errors").shuffle(facts)
    wrong = {}
    for person, relation in facts[: round(share * len(facts))]:
        value = wrong_value(person, relation, values[relation], seed)
        if value is not None:
            wrong[person.name, relation] = value
    return wrong
