"""An answer that grows piece by piece, and the moment from which on the rest of it is not needed.

Whoever streams (a server's events, a model of the ``llm`` package) stops reading there. A unit that
counts as complete here stays the same whatever follows: the same words as from the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lacy.remote import Failure, plain
from lacy.sources.models import answers, notation
from lacy.sources.units import cut_unit, drop_partial_word
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
        self.finish = ""
        """The finish reason, as for ``outcome``."""
        self.thought = False
        """Whether it contained reasoning, in a separate field or in its text."""

    def add(self, piece: str) -> bool:
        """Takes a piece; whether the unit is complete."""
        self.said += piece
        return bool(piece) and self.complete

    def restart(self) -> None:
        """Discards the answer, for another try."""
        self.said, self.thought = "", False

    @property
    def half(self) -> bool:
        """Whether a token is only part of a character."""
        return self.said.endswith("\ufffd")

    @property
    def complete(self) -> bool:
        """Whether nothing that may still follow can change the unit."""
        if self.unit == "token" or len(self.said) > LOOKED_AT:
            return False
        if not answers.settled(self.text, self.said, raw=self.raw):
            return False
        return bool(cut_unit(self.body, self.unit, ended=False))

    def _was_complete(self) -> bool:
        """Whether a stream would have been closed before the end."""
        growing = Growing(self.text, self.unit, raw=self.raw)
        return any(growing.add(letter) for letter in self.said[:LOOKED_AT])

    def _only_thought(self) -> bool:
        """Whether the answer contained only reasoning, whether shown or (in a chat) hidden."""
        silent = not self.raw and not self.said.strip()
        return self.thought or silent or notation.thinks(self.said)

    @property
    def refused(self) -> bool:
        """Whether a chat speaks of itself instead of going on."""
        return not self.raw and notation.refuses(self.said)

    def cut(self, *, ended: bool) -> str:
        """The unit; where the limit cut it, its whole words.

        Args:
            ended: whether the model ended by itself.
        """
        if self.unit == "token":
            token = self.body  # unchanged: the rules for answers do not apply to a token
            return "" if _only_marks(token, self.text) else drop_partial_word(token, self.unit)
        body = answers.added(self.text, self.said, raw=self.raw, whole=ended)
        return cut_unit(body, self.unit, ended=ended) or (
            "" if ended else drop_partial_word(body, self.unit)
        )

    def outcome(self, finish: str = "stop") -> str:
        """The unit for the reply of a source; "" if there is nothing to say.

        Args:
            finish: why the answer ended: "stop" by itself, "length" at the limit, "" if it was cut
                off because its unit was complete; anything else aborted it.

        Raises:
            Failure: the answer was aborted before its unit was complete, does not continue the
                text, or contains half a character.
        """
        self.finish = finish
        if finish not in ("", "stop", "length") and not self._was_complete():
            raise Failure(f"its answer was broken off ({plain(finish)})")
        if self.refused:
            raise Failure("it speaks of itself instead of going on")
        if not self.raw and answers.retells(self.text, self.said):
            raise Failure("it tells the text anew instead of going on")
        if not self.raw and notation.names_nothing(self.said):
            return ""
        unit = self.cut(ended=finish == "stop")
        if finish == "length" and not unit.strip() and self._only_thought():
            raise Thinking("it was still thinking when its answer reached the limit of tokens")
        following = self.body[: len(unit) + 1] if self.unit != "token" else unit
        if "\ufffd" in following or any("\ud800" <= c <= "\udfff" for c in following):
            raise Failure("the answer holds half a character")
        return unit

    @property
    def body(self) -> str:
        """What it adds to the text, uncut."""
        if self.unit == "token":
            return answers.without_text(self.text, self.said)
        return answers.added(self.text, self.said, raw=self.raw)


class Thinking(Failure):
    """The answer contained only reasoning; a higher token limit may help."""


def _only_marks(token: str, text: str) -> bool:
    """Whether a token is only Markdown markup, in a text without markup."""
    marks = set("*_`#~")
    return bool(token.strip()) and set(token.strip()) <= marks and not marks & set(text)
