"""Read the verdict of a language model that was asked "True or False?"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from lacy.remote import without_reasoning, word_probability

VerdictRule = Literal["later", "first", "original"]
"""Which verdict counts if an answer contains both. ``later``: the last one, because a model that
reasons ends with its verdict. ``first``: the first one. ``original``: as FActScore does it; that is
``later``, but comparing the first places of both words, and an answer with neither word supports
the fact unless it contains "not", "cannot", "unknown" or "information"."""

_WORD = re.compile(r"(?<![a-z])(true|false)(?![a-z])")
_DOUBTS = frozenset({"not", "cannot", "unknown", "information"})


def read_verdict(answer: str, rule: VerdictRule = "later") -> bool | None:
    """Return whether an answer says True or False; None if it says neither.

    Args:
        answer: what the model wrote; tagged reasoning at its beginning is ignored.
        rule: which word counts if both occur.
    """
    text = without_reasoning(answer).lower()
    if rule == "original":
        return _as_original(text)
    words = _WORD.findall(text)
    if not words:
        return None
    return (words[-1] if rule == "later" else words[0]) == "true"


def _as_original(text: str) -> bool:
    true, false = text.find("true"), text.find("false")
    if true < 0 and false < 0:
        plain = re.sub(r"[^\w\s]", "", text)
        return not _DOUBTS & set(plain.split())
    return true > false if min(true, false) >= 0 else true >= 0


def true_probability(choice: Mapping[str, Any]) -> float | None:
    """Return the probability of "True" against "False" (see ``word_probability``)."""
    return word_probability(choice, "true", "false")
