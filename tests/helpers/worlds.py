"""A tiny world for tests: two people, claims written as ``[relation=value]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lacy.types import Answer, Span


@dataclass(frozen=True)
class Claim:
    relation: str
    value: str
    start: int
    end: int


TRUTH = {
    "Ann": {"born": "1901", "town": "Oslo", "prize": "Star"},
    "Bob": {"born": "1902", "town": "Rome"},
}
CLAIM = re.compile(r"\[(\w+)=([^\]]*)\]")


class TinyWorld:
    def truth(self, name):
        return dict(TRUTH.get(name, {}))

    def claims(self, text):
        return [Claim(m[1], m[2], m.start(2), m.end(2)) for m in CLAIM.finditer(text)]


def answer(prompt, *spans, finished=True):
    """An answer from (text, speaker) or (text, speaker, tokens, asked) tuples."""
    made = [Span(prompt, "prompt")]
    for text, speaker, *rest in spans:
        tokens = rest[0] if rest else 1
        asked = rest[1] if len(rest) > 1 else speaker not in ("slm", "prompt")
        made.append(Span(text, speaker, tokens, asked=asked))
    return Answer(tuple(made), finished)
