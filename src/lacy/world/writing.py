"""Write biographies in varied wording, with a mark on the value of every fact."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lacy.types import Mark
from lacy.world import phrasings
from lacy.world.people import Person
from lacy.world.phrasings import expand

STATED = 0.9
"""Probability that a biography states a fact."""

DISORDER = 2.5
"""How far the order of facts may deviate from the chronological order, in places."""

FILLERS = (0, 0, 1, 1, 2)
"""Number of sentences without a fact in a biography, drawn uniformly from these values."""

_VALUE = "\x00"


def _templates(options: Sequence[str], held_out: bool) -> Sequence[str]:
    """Return the held-out phrasings for testing, or the ones for training."""
    cut = phrasings.HELD_OUT
    return options[-cut:] if held_out else options[:-cut]


def _subject(person: Person, rng: random.Random) -> str:
    return rng.choice([person.first, person.last, person.first, person.last, person.name])


def _sentence(person: Person, relation: str | None, frames: Sequence[str], held_out: bool,
              rng: random.Random) -> str:  # fmt: skip
    """Write one sentence, with ``_VALUE`` in place of the value of its fact."""
    frame = expand(rng.choice(frames), rng)
    if relation is not None:
        lead = expand(rng.choice(_templates(phrasings.LEADS[relation], held_out)), rng)
        tail = expand(rng.choice(phrasings.TAILS), rng)
        frame = frame.replace("{F}", f"{lead} {_VALUE}{tail}") + "."
    text = frame.replace("{N}", person.name).replace("{S}", _subject(person, rng))
    return text[0].upper() + text[1:]


def _random_count(mean: float, rng: random.Random) -> int:
    """Draw one of the two integers around ``mean`` so that the expected value is ``mean``.

    An integer mean draws nothing from ``rng``, so texts without additional prose stay the same.
    """
    whole = int(mean)
    rest = mean - whole
    return whole + (rest > 0 and rng.random() < rest)


def write_biography(
    person: Person, rng: random.Random, *, held_out: bool = False, prose: float = 0.0
) -> tuple[str, tuple[Mark, ...]]:
    """Write one biography.

    Args:
        person: the person.
        rng: source of every choice.
        held_out: use only phrasings that training texts never use.
        prose: mean number of additional sentences without a fact; the fractional part is random.

    Returns:
        The text, which begins with the full name, and one ``VALUE`` mark per stated fact.
    """
    relations = [r for r in person.facts if rng.random() < STATED] or ["birth_date"]
    # Facts come in roughly chronological order, because a fixed order would reveal the next
    # relation.
    place = {r: i + rng.uniform(0.0, DISORDER) for i, r in enumerate(person.facts)}
    relations.sort(key=lambda r: place[r])
    plan: list[str | None] = list(relations[1:])
    for _ in range(rng.choice(FILLERS) + _random_count(prose, rng)):
        plan.insert(rng.randint(0, len(plan)), None)
    parts: list[tuple[str | None, Sequence[str]]] = [(relations[0], phrasings.OPENINGS)]
    parts += [(r, phrasings.FILLERS if r is None else phrasings.FRAMES) for r in plan]
    text, marks = "", []
    for relation, frames in parts:
        sentence = _sentence(person, relation, _templates(frames, held_out), held_out, rng)
        text += " " if text else ""
        if relation is not None:
            value = person.facts[relation]
            start = len(text) + sentence.index(_VALUE)
            marks.append(Mark(start, start + len(value), "VALUE", relation))
            sentence = sentence.replace(_VALUE, value)
        text += sentence
    return text, tuple(marks)
