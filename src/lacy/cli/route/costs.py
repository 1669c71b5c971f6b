"""Costs of routes as words of the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lacy.errors import LacyError


def costs_of_words(words: Sequence[str]) -> dict[str, float]:
    """Return costs by route of words such as ``large=10``.

    Raises:
        LacyError: E12, a word is not NAME=NUMBER.
    """
    found = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            cost = float(number)
        except ValueError:
            cost = -1.0
        if not name or not 0.0 <= cost < math.inf:
            raise LacyError("E12", key="cost", value=word, why="not NAME=NUMBER",
                            do="give a number of at least 0, such as --cost large=10")  # fmt: skip
        found[name] = cost
    return found
