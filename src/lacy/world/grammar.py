"""Wording from phrasings: expand free choices at random, or list every form of a lead.

The notation is that of ``phrasings``: ``[a|b|c]`` chooses, ``<adj>`` draws from the lexicon.
"""

from __future__ import annotations

import itertools
import random
import re

from lacy.world import lexicon

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_CLASS = re.compile(r"<(adj|noun|verb|adv)>")
_WORDS = {
    "adj": lexicon.ADJECTIVES,
    "noun": lexicon.NOUNS,
    "verb": lexicon.VERBS,
    "adv": lexicon.ADVERBS,
}


def choose(template: str, rng: random.Random) -> str:
    """Resolve every ``[a|b]`` and ``<class>`` of a template at random."""
    text = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    text = _CLASS.sub(lambda m: rng.choice(_WORDS[m.group(1)]), text)
    return re.sub(r"  +", " ", text)


def forms(template: str) -> list[str]:
    """Every text that a lead can take (leads hold choices, but no lexicon classes)."""
    parts = _CHOICE.split(template)  # literal, choice, literal, choice, ...
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return [re.sub(r"  +", " ", "".join(combo)) for combo in itertools.product(*options)]
