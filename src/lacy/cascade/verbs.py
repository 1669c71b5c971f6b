"""Inflect English verbs, to turn "Where did she die?" into "She died"; list prepositions."""

from __future__ import annotations

import re

PREPOSITIONS = frozenset("of in on at by for to from with as under into since".split())

_PAST = {
    "be": "was", "become": "became", "begin": "began", "break": "broke", "bring": "brought",
    "build": "built", "buy": "bought", "catch": "caught", "come": "came", "do": "did",
    "draw": "drew", "drive": "drove", "fall": "fell", "fight": "fought", "find": "found",
    "fly": "flew", "get": "got", "give": "gave", "go": "went", "grow": "grew", "have": "had",
    "hold": "held", "keep": "kept", "know": "knew", "lead": "led", "leave": "left",
    "lose": "lost", "make": "made", "marry": "married", "meet": "met", "pay": "paid",
    "put": "put", "read": "read", "rise": "rose", "run": "ran", "say": "said", "see": "saw",
    "sell": "sold", "send": "sent", "set": "set", "sing": "sang", "sink": "sank", "sit": "sat",
    "speak": "spoke", "spend": "spent", "stand": "stood", "swim": "swam", "take": "took",
    "teach": "taught", "tell": "told", "think": "thought", "wear": "wore", "win": "won",
    "write": "wrote",
}  # fmt: skip
"""The past tense of common irregular verbs."""


def past(verb: str) -> str:
    """Return the past tense of a verb's base form."""
    if verb in _PAST:
        return _PAST[verb]
    if verb.endswith("e"):
        return f"{verb}d"
    if re.search(r"[^aeiou]y\Z", verb):
        return f"{verb[:-1]}ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb):  # one syllable: "stop", "plan"
        return f"{verb}{verb[-1]}ed"
    return f"{verb}ed"


def third_person(verb: str) -> str:
    """Return the third person singular of a verb's base form."""
    if verb in ("be", "have"):
        return {"be": "is", "have": "has"}[verb]
    if re.search(r"(?:[sxzo]|ch|sh)\Z", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y\Z", verb) else f"{verb}s"
