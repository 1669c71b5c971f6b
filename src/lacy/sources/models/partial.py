"""An answer while it arrives, and the point from which on the rest of it is not needed.

Streams (a server's events, a model of the ``llm`` package) are closed at that point. A unit that
counts as complete is the same as the unit of the whole answer, whatever would have followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lacy.remote import OutOfTokens, RemoteError, redact
from lacy.sources.models import answers, notation
from lacy.sources.units import cut_unit, drop_partial_word
from lacy.types import Unit

MAX_CHECKED_CHARS = 2_000
"""Longer answers are read to their end instead of being checked at each chunk."""

CHARACTERS_PER_TOKEN = 4
"""Estimate for models that do not report token counts."""


@dataclass
class TokenUsage:
    """Tokens of one attempt: estimated until the model reports them."""

    input: int
    output: int = 0

    @classmethod
    def estimate(cls, characters: int) -> TokenUsage:
        """Return the usage of reading a text of this length."""
        return cls(characters // CHARACTERS_PER_TOKEN)

    def update(self, input_tokens: Any, output_tokens: Any) -> None:
        """Take the model's counts, unless they are not counts."""
        self.input, self.output = (
            _count(input_tokens, self.input),
            _count(output_tokens, self.output),
        )


def _count(reported: Any, estimate: int) -> int:
    valid = isinstance(reported, int) and not isinstance(reported, bool) and reported >= 0
    return reported if valid else estimate


class PartialCompletion:
    """The answer to one request while it arrives.

    Args:
        text: the text to continue.
        unit: how much of the answer is wanted. A chat has no tokens; it gives a word instead.
        raw: True for a raw continuation, False for a chat's answer.
    """

    def __init__(self, text: str, unit: Unit, *, raw: bool) -> None:
        self.text, self.raw = text, raw
        self.unit: Unit = unit if raw or unit != "token" else "word"
        self.answer = ""
        self.finish = ""
        """The finish reason, as for ``result``."""
        self.reasoned = False
        """True if the model sent reasoning in a separate field."""

    def add(self, chunk: str) -> bool:
        """Append a chunk; return True if the unit is complete."""
        self.answer += chunk
        return bool(chunk) and self.complete

    def restart(self) -> None:
        """Discard the answer, before another attempt."""
        self.answer, self.reasoned = "", False

    @property
    def ends_in_half_character(self) -> bool:
        """True if a token is only part of a character."""
        return self.answer.endswith("\ufffd")

    @property
    def complete(self) -> bool:
        """True if nothing that may follow can change the unit."""
        if self.unit == "token" or len(self.answer) > MAX_CHECKED_CHARS:
            return False
        if not answers.is_settled(self.text, self.answer, raw=self.raw):
            return False
        return bool(cut_unit(self.body, self.unit, ended=False))

    @property
    def refused(self) -> bool:
        """True if a chat speaks of itself instead of continuing the text."""
        return not self.raw and notation.is_refusal(self.answer)

    @property
    def body(self) -> str:
        """The words that the answer adds to the text, not yet cut to the unit."""
        if self.unit == "token":
            return answers.without_prompt(self.text, self.answer)
        return answers.continuation_in(self.text, self.answer, raw=self.raw)

    def cut(self, *, ended: bool) -> str:
        """Return the unit; if the token limit cut it, its whole words.

        Args:
            ended: True if the model ended the answer.
        """
        if self.unit == "token":
            token = self.body  # unchanged: the rules for answers do not apply to a token
            return "" if _only_markup(token, self.text) else drop_partial_word(token, self.unit)
        body = answers.continuation_in(self.text, self.answer, raw=self.raw, whole=ended)
        unit = cut_unit(body, self.unit, ended=ended)
        return unit or ("" if ended else drop_partial_word(body, self.unit))

    def result(self, finish: str = "stop") -> str:
        """Return the unit for a reply; "" if there is none.

        Args:
            finish: why the answer ended: "stop" if the model ended it, "length" at the token limit,
                "" if we closed it because its unit was complete; anything else aborted it.

        Raises:
            RemoteError: the answer was aborted before its unit was complete, does not continue the
                text, or contains half a character.
            OutOfTokens: it contains only reasoning.
        """
        self.finish = finish
        if finish not in ("", "stop", "length") and not self._was_complete():
            raise RemoteError(f"its answer was aborted ({redact(finish)})")
        if self.refused:
            raise RemoteError("it speaks of itself instead of continuing the text")
        if not self.raw and answers.restates(self.text, self.answer):
            raise RemoteError("it tells the text anew instead of continuing it")
        if not self.raw and notation.is_nothing(self.answer):
            return ""
        unit = self.cut(ended=finish == "stop")
        if finish == "length" and not unit.strip() and self._only_reasoned():
            raise OutOfTokens
        checked = self.body[: len(unit) + 1] if self.unit != "token" else unit
        if "\ufffd" in checked or any("\ud800" <= c <= "\udfff" for c in checked):
            raise RemoteError("the answer contains half a character")
        return unit

    def _was_complete(self) -> bool:
        """True if we would have closed a stream before the end."""
        replay = PartialCompletion(self.text, self.unit, raw=self.raw)
        return any(replay.add(letter) for letter in self.answer[:MAX_CHECKED_CHARS])

    def _only_reasoned(self) -> bool:
        """True if the answer contains only reasoning, shown or (in a chat) hidden."""
        hidden = not self.raw and not self.answer.strip()
        return self.reasoned or hidden or notation.is_reasoning(self.answer)


def _only_markup(token: str, text: str) -> bool:
    """True if a token is only Markdown markup, in a text without markup."""
    marks = set("*_`#~")
    return bool(token.strip()) and set(token.strip()) <= marks and not marks & set(text)
