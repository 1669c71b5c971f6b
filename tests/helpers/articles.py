"""Short articles with marks."""

import random

from lacy.types import Document, Mark

CITIES = ("Ulm", "Paris", "Oslo", "Rome", "Riga")


def article(number):
    """A short text with marks on a name, a year and a city."""
    rng = random.Random(number)
    text, marks = "", []
    for before, value, reason in (
        ("Person ", f"{rng.choice('ABCDEF')}ell{number}", "ENTITY"),
        (" was born in ", str(rng.randrange(1700, 2000)), "DATE"),
        (" and lived in ", rng.choice(CITIES), "ENTITY"),
        (" until the year ", str(rng.randrange(1700, 2000)), "DATE"),
    ):
        text += before
        marks.append(Mark(len(text), len(text) + len(value), reason))
        text += value
    return Document(f"a{number}", f"{text}.", {}, tuple(marks))
