"""An answer that grows piece by piece, and the moment from which on the rest of it is not needed.

Whoever streams (a server's events, a model of the ``llm`` package) stops reading there. A unit that
counts as complete here stays the same whatever follows: the same words as from the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lacy.sources import chat
from lacy.sources.text import cut_unit, whole_words
from lacy.types import Unit

LOOKED_AT = 2_000
"""Characters up to which a growing answer is looked at; longer ones are read to their end."""


CHARACTERS_PER_TOKEN = 4
"""To estimate costs where nobody says how many tokens it took."""


@dataclass
class Spent:
    """Tokens of one try: estimated, until the model says how many they were."""

    read: int
    spoken: int = 0

    @classmethod
    def guessed(cls, characters: int) -> Spent:
        """Of a text of so many characters."""
        return cls(characters // CHARACTERS_PER_TOKEN)

    def told(self, read: Any, spoken: Any) -> None:
        """Takes what the model says, where that is a count."""
        self.read, self.spoken = _count(read, self.read), _count(spoken, self.spoken)

    def cost(self, price: tuple[float, float]) -> float:
        """Of these tokens; a price is that of 1,000 tokens read and of 1,000 spoken."""
        return (price[0] * self.read + price[1] * self.spoken) / 1000


def _count(said: Any, otherwise: int) -> int:
    sound = isinstance(said, int) and not isinstance(said, bool) and said >= 0
    return said if sound else otherwise


class Growing:
    """A growing answer to one request.

    Args:
        text: what is continued.
        unit: how much of it is wanted; a conversation knows no tokens and gives a word instead.
        raw: whether it is the raw continuation, rather than a chat's answer.
    """

    def __init__(self, text: str, unit: Unit, *, raw: bool) -> None:
        self.text, self.raw = text, raw
        self.unit: Unit = unit if raw or unit != "token" else "word"
        self.said = ""

    def add(self, piece: str) -> bool:
        """Takes a piece; whether the unit is complete."""
        self.said += piece
        return bool(piece) and self.complete

    @property
    def complete(self) -> bool:
        """Whether nothing that may still follow can change the unit."""
        if self.unit == "token" or len(self.said) > LOOKED_AT:
            return False
        if self.raw:
            settled = not self.text.startswith(self.said)  # some servers repeat the whole text
        else:
            settled = chat.settled(self.text, self.said)
        return settled and bool(cut_unit(self.body, self.unit, ended=False))

    @property
    def refused(self) -> bool:
        """Whether a chat speaks of itself instead of going on."""
        return not self.raw and chat.refused(self.said)

    def cut(self, *, ended: bool) -> str:
        """The unit; where the limit cut it, its whole words.

        Args:
            ended: whether the model ended by itself.
        """
        body = self.body
        if self.unit == "token":
            return whole_words(body, self.unit)
        return cut_unit(body, self.unit, ended=ended) or (
            "" if ended else whole_words(body, self.unit)
        )

    @property
    def body(self) -> str:
        """What it adds to the text, uncut."""
        clean = chat.without_prefix if self.raw else chat.cleaned
        return clean(self.text, self.said)
