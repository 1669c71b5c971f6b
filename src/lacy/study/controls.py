"""Fit control policies that use the text alone, to see how much of calling is plain syntax.

A gate reads the last hidden state of the model. ``embedding`` reads only the input embedding of the
last token, and ``position`` only the number of tokens so far. Both are fitted on the same articles
and keep the same budget; a gate is useful only if it beats them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy.errors import LacyError
from lacy.types import Document, MarkFlag

if TYPE_CHECKING:
    from lacy.cascade import Budget, Controller, Decision, SignalBatch

CONTROLS = ("embedding", "position")

TAIL = 40
"""Number of characters at the end of a text that contain its last token."""

POSITIONS = 256
"""Positions after the prompt that ``position`` distinguishes, in groups of ``GROUP`` tokens."""

GROUP = 4


def control_of(policy: str) -> tuple[str, float] | None:
    """Return kind and call rate of a control, such as ``embedding=0.22``; None for others.

    Raises:
        LacyError: E61, the rate is not a share.
    """
    kind, _, rate = policy.partition("=")
    if kind not in CONTROLS:
        return None
    try:
        value = float(rate)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        why = f"{kind} takes a share of tokens between 0 and 1"
        raise LacyError("E61", policy=policy, why=why, forms=f"{kind}=0.22")
    return kind, value


@dataclass(frozen=True)
class TextBudget:
    """A budget policy whose signal is a function of the text, not of the model's outputs."""

    budget: Budget
    score: Callable[[str, int], float]
    """Function of a text and its number of generated tokens; higher values favour a call."""
    name: str
    signal: str = ""

    def start(self) -> Controller:
        """Return a controller with the budget's running quantile of scores."""
        return _TextController(self)

    def __str__(self) -> str:
        return f"{self.name}={self.budget.rate:g}"


class _TextController:
    """The controller of ``TextBudget``."""

    def __init__(self, policy: TextBudget) -> None:
        self._policy, self._inner = policy, policy.budget.start()

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Decide as the budget does, over the scores of the texts."""
        scores = [
            self._policy.score(signals.text(row), signals.position[row])
            for row in range(len(signals))
        ]
        decisions = self._inner.decide(replace(signals, margin=np.asarray(scores, float)))
        reason = f"the {self._policy.name} control calls here"
        return [replace(d, reason=reason) if d.call else d for d in decisions]

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Record the counts of a step."""
        self._inner.account(calls=calls, asked=asked, tokens=tokens)


def fit_control(
    kind: str, rate: float, loaded: Any, documents: Sequence[Document], prompts: Sequence[str]
) -> TextBudget:
    """Fit a control on marked articles.

    Args:
        kind: ``embedding`` or ``position``.
        rate: share of generated tokens that may come from calls.
        loaded: the model, whose input embeddings are read.
        documents: articles with marks.
        prompts: the beginning of each that would be given.
    """
    from lacy.cascade import Budget
    from lacy.corpus import TokenText

    tokens = TokenText(loaded.tokenizer)
    before, starts, positions = _tokens_and_starts(loaded.tokenizer, documents, prompts)
    if kind == "position":
        groups = np.clip(positions // GROUP, 0, POSITIONS // GROUP - 1)
        total = np.bincount(groups, minlength=POSITIONS // GROUP)
        share = np.bincount(groups, starts, minlength=POSITIONS // GROUP) / np.maximum(total, 1)
        scores = share[groups]

        def score(text: str, position: int) -> float:
            return float(share[min(position // GROUP, len(share) - 1)])
    else:
        table = _embedding_scores(loaded.model, before, starts)
        scores = table[before]

        def score(text: str, position: int) -> float:
            return float(table[tokens.encode(text[-TAIL:])[-1]]) if text else 0.0

    initial = tuple(map(float, scores[:: max(1, len(scores) // 1000)]))
    budget = Budget(rate, window=4000, horizon=1000, initial_signals=initial)
    return TextBudget(budget, score, kind)


def _tokens_and_starts(
    tokenizer: Any, documents: Sequence[Document], prompts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each target after a prompt: the token before, if a value starts, its position."""
    from lacy.annotate import encode

    before, starts, positions = [], [], []
    for document, prompt in zip(documents, prompts, strict=True):
        encoded = encode(document, tokenizer)
        first = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        ids, marks = np.asarray(encoded.input_ids), np.asarray(encoded.marks)
        until = min(len(ids) - 1, first + POSITIONS)
        before.append(ids[first:until])
        starts.append((marks[first + 1 : until + 1] & MarkFlag.START) > 0)
        positions.append(np.arange(max(0, until - first)))
    return np.concatenate(before), np.concatenate(starts), np.concatenate(positions)


def _embedding_scores(model: Any, before: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the log-odds of a value start after each token, from its input embedding."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    fitted.fit(weight[before], starts)
    scores: np.ndarray = fitted.decision_function(weight)
    return scores
