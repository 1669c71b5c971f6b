"""Read the verdict of a language model that was asked "True or False?"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from lacy.remote import without_reasoning

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
    """Return the probability of "True" against "False" from an answer's log-probabilities.

    Reads the first token whose alternatives contain both words (in any letter case), in the formats
    of chats and of completions. None if the server reported none.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return None
    for alternatives in _alternatives(logprobs):
        mass = {"true": 0.0, "false": 0.0}
        for token, logprob in alternatives:
            word = token.strip().lower()
            if word in mass and logprob == logprob:
                mass[word] += math.exp(min(logprob, 0.0))
        if any(mass.values()):
            return mass["true"] / (mass["true"] + mass["false"])
    return None


def _alternatives(logprobs: Mapping[str, Any]) -> list[list[tuple[str, float]]]:
    """Return the alternatives of each token, with their log-probabilities."""
    found: list[list[tuple[str, float]]] = []
    content = logprobs.get("content")
    if isinstance(content, list):  # chats
        for token in content:
            top = token.get("top_logprobs") if isinstance(token, Mapping) else None
            entries = [one for one in top or [token] if isinstance(one, Mapping)]
            found.append(
                [(str(e.get("token", "")), float(e.get("logprob", math.nan))) for e in entries]
            )
    top = logprobs.get("top_logprobs")
    if isinstance(top, list):  # completions
        found += [[(str(t), float(p)) for t, p in e.items()] for e in top if isinstance(e, dict)]
    return found
