"""Read the probabilities of words against each other from an answer's log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def word_probability(choice: Mapping[str, Any], positive: str, negative: str) -> float | None:
    """Return the probability of one word against another.

    Reads the first token whose alternatives contain one of the words (in any letter case), in the
    formats of chats and of completions. None if the server reported none.

    Args:
        choice: the answer's ``choices[0]``.
        positive: the word whose probability is returned, in lower case.
        negative: the other word.
    """
    shares = word_probabilities(choice, (positive, negative))
    return None if shares is None else shares[0]


def word_probabilities(choice: Mapping[str, Any], words: Sequence[str]) -> list[float] | None:
    """Return the probabilities of words against each other; they add up to 1.

    Reads the log-probabilities as ``word_probability`` does.

    Args:
        choice: the answer's ``choices[0]``.
        words: the words, in lower case.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return None
    for alternatives in _alternatives(logprobs):
        mass = dict.fromkeys(words, 0.0)
        for token, logprob in alternatives:
            word = token.strip().lower()
            if word in mass and logprob == logprob:
                mass[word] += math.exp(min(logprob, 0.0))
        if any(mass.values()):
            total = sum(mass.values())
            return [mass[word] / total for word in words]
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
