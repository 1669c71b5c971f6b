"""Options scored by a causal model's likelihood, without any training.

    gain(option) = log p(option | state, question) - log p(option | question)

The reference without the state removes what makes an option likely in itself: its length and the
frequency of its words (domain-conditional PMI: Holtzman et al., arXiv 2104.08315 §3). No prompt
lists options, so no option sees another one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from lacy.decide.decision import Floats
from lacy.decide.features import Recent
from lacy.decide.prompt_tokens import PromptTokens
from lacy.decide.questions import DecisionQuestion
from lacy.errors import LacyError
from lacy.model import (
    Decoder,
    context_of,
    model_fingerprint,
    new_decoder,
    partial_head,
)

REFERENCES = 256
"""Questions whose references are kept."""


class LikelihoodFeatures:
    """Two features of an option: its gain per token, and its gain.

    Args:
        model: a causal model.
        tokenizer: its tokenizer.
        call_id: the id of ``<CALL>``, which is never text; None if there is none.

    Raises:
        LacyError: E386, the model computes the logits of some tokens only.
    """

    width = 2

    def __init__(self, model: Any, tokenizer: Any, call_id: int | None = None) -> None:
        if partial_head(model) is not None:
            raise LacyError("E386", why="its head computes the logits of some tokens only")
        self._model, self._call_id = model, call_id
        self._tokens = PromptTokens(tokenizer, context_of(model))
        self._references = Recent[DecisionQuestion, list[float]](REFERENCES)
        self._lock = threading.Lock()

    def features(self, state: str, questions: Sequence[DecisionQuestion]) -> list[Floats]:
        """Return the features of each question's options ``[K, 2]``, in their given order.

        The state is read once. A question is read once, and its options are one tree after it.

        Raises:
            LacyError: E382, state and question are longer than the context.
        """
        with self._lock:
            read = self._reader(self._tokens.state(state))
            return [self._gains(read, question) for question in questions]

    def tokens(self, state: str, questions: Sequence[DecisionQuestion]) -> int:
        """Return the number of tokens of a state and questions with all options."""
        with self._lock:
            return self._tokens.count(state, questions)

    def identity(self) -> dict[str, Any]:
        """Return kind and fingerprint of the model."""
        return {"kind": "likelihood", "fingerprint": model_fingerprint(self._model)}

    def _reader(self, state: Sequence[int]) -> Decoder:
        """Return a decoder that has read a state."""
        reader = new_decoder(self._model, call_id=self._call_id)
        ids = [*self._tokens.begin, *state]
        if len(ids) > self._tokens.context:
            raise LacyError("E382", tokens=len(ids), limit=self._tokens.context,
                            what="the model's context")  # fmt: skip
        if ids:
            reader.read([ids])
        return reader

    def _gains(self, read: Decoder, question: DecisionQuestion) -> Floats:
        order = question.in_order()
        options = self._tokens.options(question)
        reference = self._references.get(question)
        if reference is None:
            known = self._logps(self._reader([]), question, options, order)
            reference = self._references.put(question, known)
        found = self._logps(read, question, options, order)
        gain_K = np.array(found) - np.array(reference)
        length_K = np.array([len(tokens) for tokens in options])
        return np.stack([gain_K / length_K, gain_K], 1)

    def _logps(
        self, read: Decoder, question: DecisionQuestion, options: list[list[int]], order: list[int]
    ) -> list[float]:
        """Return the log-likelihood of each option after a question, in nats.

        Options are scored in an order of their own, so that not even rounding depends on the given
        one.
        """
        prompt = self._tokens.prompt(question)
        self._tokens.require_room(sum(map(len, read.tokens_BT)), prompt, options)
        reader = read.part(range(read.rows))
        reader.read([prompt])
        unique = list(dict.fromkeys(tuple(options[place]) for place in order))
        logps = dict(zip(unique, reader.score([0], [unique])[0], strict=True))
        return [logps[tuple(tokens)] for tokens in options]
