"""Collect an answer while it arrives, and decide when its remainder is no longer needed.

Streams (a server's events, a model of the ``llm`` package) are closed at that point. A unit counts
as complete only if no possible remainder of the answer could change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lacy.remote import OutOfTokens, RemoteError, redact
from lacy.sources.models import answers, notation
from lacy.sources.units import cut_unit, drop_partial_word
from lacy.types import Unit

MAX_CHECKED_CHARS = 2_000
"""Longer answers are read to their end; checking them at each chunk would be too slow."""

CHARACTERS_PER_TOKEN = 4
"""Estimated characters per token, for models that do not report token counts."""


@dataclass
class TokenUsage:
    """Token counts of one attempt; estimated until the model reports them."""

    input: int
    output: int = 0

    @classmethod
    def estimate(cls, characters: int) -> TokenUsage:
        """Estimate the input tokens of a prompt of this length."""
        return cls(characters // CHARACTERS_PER_TOKEN)

    def update(self, input_tokens: Any, output_tokens: Any) -> None:
        """Use the counts reported by the model if they are valid."""
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
        unit: how much of the answer is needed. For a chat, ``"token"`` means a word.
        raw: True for a raw completion, False for a chat's answer.
    """

    def __init__(self, text: str, unit: Unit, *, raw: bool) -> None:
        self.text, self.raw = text, raw
        self.unit: Unit = unit if raw or unit != "token" else "word"
        self.answer = ""
        self.finish = ""
        """The finish reason; see ``result``."""
        self.reasoned = False
        """True if the model sent reasoning in a separate field."""

    def add(self, chunk: str) -> bool:
        """Append a chunk; return True if the unit is now complete."""
        self.answer += chunk
        return bool(chunk) and self.complete

    def restart(self) -> None:
        """Discard the answer before a new attempt."""
        self.answer, self.reasoned = "", False

    @property
    def ends_in_half_character(self) -> bool:
        """True if the answer ends with part of a character, which a single token may do."""
        return self.answer.endswith("\ufffd")

    @property
    def complete(self) -> bool:
        """True if no further text can change the unit."""
        if self.unit == "token" or len(self.answer) > MAX_CHECKED_CHARS:
            return False
        if not answers.is_settled(self.text, self.answer, raw=self.raw):
            return False
        return bool(cut_unit(self.body, self.unit, ended=False))

    @property
    def refused(self) -> bool:
        """True if a chat's answer is about itself and does not continue the text."""
        return not self.raw and notation.is_refusal(self.answer)

    @property
    def body(self) -> str:
        """The words that the answer adds to the text, before they are cut to the unit."""
        if self.unit == "token":
            return answers.without_prompt(self.text, self.answer)
        return answers.continuation_in(self.text, self.answer, raw=self.raw)

    def cut(self, *, ended: bool) -> str:
        """Return the unit; if the token limit cut it, return only its complete words.

        Args:
            ended: True if the model ended the answer.
        """
        if self.unit == "token":
            token = self.body  # unchanged: the rules for answers do not apply to a token
            return "" if _only_markup(token, self.text) else drop_partial_word(token, self.unit)
        ended = ended or notation.ends_in_control(self.answer)  # some servers leave the token in
        body = answers.continuation_in(self.text, self.answer, raw=self.raw, whole=ended)
        unit = cut_unit(body, self.unit, ended=ended)
        return unit or ("" if ended else drop_partial_word(body, self.unit))

    def result(self, finish: str = "stop") -> str:
        """Return the unit for a reply, or "" if there is none.

        Args:
            finish: why the answer ended: "stop" if the model ended it, "length" at the token limit,
                "" if we closed it because its unit was complete; anything else means it was
                aborted.

        Raises:
            RemoteError: the answer was aborted before its unit was complete, does not continue the
                text, or contains half a character.
            OutOfTokens: it contains only reasoning.
        """
        self.finish = finish
        if finish not in ("", "stop", "length") and not self._was_complete():
            raise RemoteError(f"its answer was aborted ({redact(finish)})")
        if self.refused:
            raise RemoteError("it talks about itself instead of continuing the text")
        if not self.raw and answers.restates(self.text, self.answer):
            raise RemoteError("it restates the text instead of continuing it")
        if not self.raw and notation.is_no_answer(self.answer):
            return ""
        unit = self.cut(ended=finish == "stop")
        if finish == "length" and not unit.strip() and self._only_reasoned():
            raise OutOfTokens
        checked = self.body[: len(unit) + 1] if self.unit != "token" else unit
        if "\ufffd" in checked or any("\ud800" <= c <= "\udfff" for c in checked):
            raise RemoteError("the answer contains half a character")
        return unit

    def _was_complete(self) -> bool:
        """True if a stream of this answer would have been closed before its end."""
        replay = PartialCompletion(self.text, self.unit, raw=self.raw)
        return any(replay.add(letter) for letter in self.answer[:MAX_CHECKED_CHARS])

    def _only_reasoned(self) -> bool:
        """True if the answer contains only reasoning; a chat may send it in a separate field."""
        hidden = not self.raw and not self.answer.strip()
        return self.reasoned or hidden or notation.is_reasoning(self.answer)


def _only_markup(token: str, text: str) -> bool:
    """True if a token is only Markdown markup but the text has no markup."""
    marks = set("*_`#~")
    return bool(token.strip()) and set(token.strip()) <= marks and not marks & set(text)
