"""Token ids of states, questions and options for a causal model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from lacy.corpus import TokenText, begin_end
from lacy.decide.features import option_texts, prompt_of
from lacy.decide.questions import DecisionQuestion
from lacy.errors import LacyError

SEPARATOR = "\n\n"
"""Text between a state and a question."""


class PromptTokens:
    """Splits states, questions and options into tokens.

    Special tokens in a state are plain text. The tokenizer is copied, because tokenizers are not
    safe to use from several threads.

    Args:
        tokenizer: the model's tokenizer.
        context: the model's context in tokens.
    """

    def __init__(self, tokenizer: Any, context: int) -> None:
        self._text = TokenText(copy.deepcopy(tokenizer))
        begin = begin_end(tokenizer)[0]
        self.begin = [] if begin is None else [begin]
        self.context = context

    def state(self, state: str) -> list[int]:
        """Return the tokens of a state and what separates it from a question; none if empty."""
        return self._text.encode(state + SEPARATOR) if state.strip() else []

    def prompt(self, question: DecisionQuestion) -> list[int]:
        """Return the tokens of a question up to its options."""
        return self._text.encode_continuation(prompt_of(question))

    def options(self, question: DecisionQuestion) -> list[list[int]]:
        """Return the tokens of each option."""
        return [self._text.encode_continuation(text) for text in option_texts(question)]

    def count(self, state: str, questions: Sequence[DecisionQuestion]) -> int:
        """Return the number of tokens of a state and questions with all options."""
        own = sum(len(self.prompt(q)) + sum(map(len, self.options(q))) for q in questions)
        return len(self.begin) + len(self.state(state)) + own

    def require_room(
        self, before: int, prompt: Sequence[int], options: Sequence[Sequence[int]]
    ) -> None:
        """Raise E382 if a question with its longest option does not fit after ``before`` tokens."""
        needed = before + len(prompt) + max(map(len, options))
        if needed > self.context:
            raise LacyError("E382", tokens=needed, limit=self.context, what="the model's context")
