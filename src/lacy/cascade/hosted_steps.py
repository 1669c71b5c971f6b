"""What is asked of a server that holds a model, and what it tells of one token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One token that the model said, and what was likely at its place.

    ``token`` is -1 where the server did not tell it (a part of a character), ``piece`` its text
    where the server cut it (else it follows from the id). ``top`` holds log-probabilities by id, of
    the likeliest tokens and the one said; no other is likelier than ``floor``.
    """

    token: int
    piece: str | None = None
    top: Mapping[int, float] = field(default_factory=dict)
    floor: float = -math.inf


@dataclass(frozen=True, slots=True)
class Ask:
    """A text to go on with."""

    ids: Sequence[int]
    text: str
    most: int
    """Most tokens wanted."""
    bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    ends: bool = False
    """Whether the likelihood of an end of text is wanted too."""


def step_of(token: int, top: Mapping[int, float], logp: float | None = None) -> Step:
    """A step; ``floor`` is the lowest of the likeliest."""
    known = dict(top)
    if logp is not None and token >= 0:
        known[token] = logp
    floor = min((v for n, v in top.items() if n != token), default=-math.inf)
    return Step(token, None, known, floor)
