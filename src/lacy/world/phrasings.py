"""Sentence templates of the made-up world: leads that announce a fact, and frames around them.

A *lead* is the wording right before a value ("was born on") and determines the relation. Frames
and tails add wording without facts. ``[a|b]`` is a random choice; ``<adj>``, ``<noun>``, ``<verb>``
and ``<adv>`` are drawn from word lists; ``{S}`` is the subject, ``{N}`` the full name, and ``{F}``
the lead with its value. The last ``HELD_OUT`` leads of each relation and frames of each list are
never used in training texts.
"""

from __future__ import annotations

import itertools
import random
import re

from lacy.world.lexicon import LANGUAGE

HELD_OUT = 2

LEADS: dict[str, list[str]] = LANGUAGE["leads"]
OPENINGS: list[str] = LANGUAGE["sentences"]["openings"]
FRAMES: list[str] = LANGUAGE["sentences"]["frames"]
TAILS: list[str] = LANGUAGE["sentences"]["tails"]
FILLERS: list[str] = LANGUAGE["sentences"]["fillers"]
"""Sentences that state no fact."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_CLASS = re.compile(r"<(adj|noun|verb|adv)>")
_WORDS = {kind: words.split() for kind, words in LANGUAGE["fillers"].items()}


def expand(template: str, rng: random.Random) -> str:
    """Resolve every ``[a|b]`` and ``<class>`` of a template at random."""
    text = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    text = _CLASS.sub(lambda m: rng.choice(_WORDS[m.group(1)]), text)
    return re.sub(r"  +", " ", text)


def all_forms(template: str) -> list[str]:
    """Return all expansions of a lead; leads contain choices but no lexicon classes."""
    parts = _CHOICE.split(template)  # literal, choice, literal, choice, ...
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return [re.sub(r"  +", " ", "".join(combo)) for combo in itertools.product(*options)]
