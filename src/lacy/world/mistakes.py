"""Wrong facts for unreliable sources: another person's value, always the same for the same fact.

Another person truly has this value, so it is as plausible as any. Errors are nested: with the same
seed, a higher error rate includes the errors of a lower one, with the same wrong values.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lacy._require import require_share
from lacy.world.people import Person


def wrong_value(person: Person, relation: str, pool: Sequence[str], seed: int | str) -> str | None:
    """Return a value of ``pool`` that is neither the person's own nor their name, or None.

    Args:
        person: the person.
        relation: one of the person's relations.
        pool: the values of this relation of all people, with repetitions.
        seed: determines the choice, together with person and relation.
    """
    taken = (person.facts.get(relation), person.name)
    if all(value in taken for value in pool):
        return None
    rng = random.Random(f"{seed}/{person.name}/{relation}/other")
    while (value := rng.choice(pool)) in taken:
        pass
    return value


def values_by_relation(everyone: Sequence[Person]) -> dict[str, list[str]]:
    """Return the values of each relation of all people, with repetitions."""
    found: dict[str, list[str]] = {}
    for person in everyone:
        for relation, value in person.facts.items():
            found.setdefault(relation, []).append(value)
    return found


def wrong_values(everyone: Sequence[Person], share: float, seed: int) -> dict[tuple[str, str], str]:
    """Choose a share of all facts and return their wrong values, by name and relation.

    Args:
        everyone: all people.
        share: share of the facts that are wrong, exact to one fact (except facts for which there is
            no other value).
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
