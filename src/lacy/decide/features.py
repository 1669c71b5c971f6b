"""Features of options, from which a head scores them.

Every option has a vector of its own, computed from the state, the question and this option only.
So neither the order nor the number of the other options can change it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from lacy.decide.decision import Floats
from lacy.decide.questions import DecisionQuestion

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class OptionFeatures(Protocol):
    """Computes the features of options."""

    def features(self, state: str, questions: Sequence[DecisionQuestion]) -> list[Floats]:
        """Return the features of each question's options ``[K, D]``, in their given order.

        Raises:
            LacyError: E382, state and question are longer than the context.
        """
        ...

    def tokens(self, state: str, questions: Sequence[DecisionQuestion]) -> int:
        """Return the number of tokens of a state and questions with all options."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what a head must be used with: kind, layer, fingerprint of the weights."""
        ...


class Recent(Generic[K, V]):
    """The values of the most recently used keys.

    Args:
        most: number of values that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._values = most, OrderedDict[K, V]()

    def get(self, key: K) -> V | None:
        """Return the value of a key, if it is kept."""
        found = self._values.get(key)
        if found is not None:
            self._values.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> V:
        """Keep a value, and drop the one that was not used for longest if there are too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return value


def prompt_of(question: DecisionQuestion) -> str:
    """Return the text between a state and an option."""
    return f"Question: {question.instructions}\nAnswer:"


def option_texts(question: DecisionQuestion) -> list[str]:
    """Return the text of each option as it continues the prompt."""
    return [f" {question.text_of(one)}" for one in question.options]
