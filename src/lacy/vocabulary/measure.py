"""What a smaller vocabulary would lose, measured on held-out texts read by the whole head.

At every token of an output, the whole head's logits tell what the active rows miss: its likeliest
token, the output's own token, probability. One pass over a text measures a vocabulary in a mode, so
no text is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacy.corpus import begin_end, encode_texts
from lacy.errors import LacyError
from lacy.model import Loaded, context_of, head_inputs, read_head
from lacy.results import Score, ratio
from lacy.types import CALL_TOKEN
from lacy.vocabulary.rows import MemoryRows
from lacy.vocabulary.screen import Screen
from lacy.vocabulary.tailoring import CONTEXT_TOKENS, Mode
from lacy.vocabulary.task import Vocabulary
from lacy.vocabulary.tokens import protected_ids

_TOGETHER = 32
"""Number of positions whose logits are compared at a time, which bounds memory."""

TOKENS = 256
"""Default of the maximum number of tokens of an output that are measured."""


@dataclass(frozen=True, slots=True)
class VocabularyFigures:
    """What active rows cover of the whole head, over the tokens of outputs; texts are resampled."""

    mode: Mode
    positions: int
    """Number of tokens of outputs."""
    active: Score
    """Mean number of active rows."""
    share: Score
    """Mean share of all rows that are active, i.e. of the head's operations that are left."""
    best_inside: Score
    """Share of positions at which the whole head's likeliest token is active."""
    target_inside: Score
    """Share of positions at which the output's own token is active."""
    mass_outside: Score
    """Mean probability of all other tokens."""
    kl: Score
    """Mean Kullback-Leibler divergence of the distribution over active tokens from that over all,
    in nats: ``-log(1 - mass outside)``."""
    fallbacks: Score
    """Share of positions at which the fallback ``exact`` computes other rows."""
    checked: Score
    """Mean number of rows that it computes."""


@torch.inference_mode()
def measure_vocabulary(
    loaded: Loaded,
    examples: Iterable[tuple[str, str]],
    vocabulary: Vocabulary | None = None,
    mode: Mode | None = None,
    *,
    tokens: int = TOKENS,
    where: str = "the examples",
) -> VocabularyFigures:
    """Measure what a vocabulary covers of held-out outputs.

    Args:
        loaded: the model, with its own head.
        examples: pairs of input and output, as for ``task_vocabulary``, but other ones.
        vocabulary: the tokens of the task, for ``static`` and ``hybrid``.
        mode: which tokens are active; by default ``hybrid`` with a vocabulary, else ``dynamic``.
        tokens: maximum number of tokens of an output; longer ones are cut.
        where: name of the examples for messages.

    Raises:
        LacyError: E58, the logits of this architecture are more than a head with a scale and a
            cap; E271, the vocabulary belongs to another tokenizer; E272, no example has tokens.
    """
    mode = mode or ("hybrid" if vocabulary is not None else "dynamic")
    model: Any = loaded.model.eval()
    if vocabulary is not None:
        vocabulary.require(loaded.tokenizer)
    use = _Use(loaded, vocabulary, mode)
    room = context_of(model)
    rows = []
    for given, output in _encoded(loaded.tokenizer, examples):
        read = [begin_end(loaded.tokenizer)[0], *given, *output[:tokens]][:room]
        first = 1 + len(given)
        if first >= len(read):
            continue
        hidden_BTD, logits_BTV = head_inputs(model, torch.tensor([read], device=model.device))
        rows.append(use.count(read, first, hidden_BTD[0].float(), logits_BTV[0].float()))
    if not rows:
        raise LacyError("E272", where=where)
    table = np.array(rows, dtype=np.float64)

    def mean(column: int, unit: str) -> Score:
        return ratio(table[:, column], table[:, 0], unit=unit)

    return VocabularyFigures(
        mode=mode,
        positions=int(table[:, 0].sum()),
        active=mean(1, "rows"),
        share=ratio(table[:, 1], table[:, 0] * use.size),
        best_inside=mean(2, "share"),
        target_inside=mean(3, "share"),
        mass_outside=mean(4, "share"),
        kl=mean(5, "nats"),
        fallbacks=mean(6, "share"),
        checked=mean(7, "rows"),
    )


class _Use:
    """Counts what active rows miss in one text at a time."""

    def __init__(self, loaded: Loaded, vocabulary: Vocabulary | None, mode: Mode) -> None:
        model: Any = loaded.model
        head = model.get_output_embeddings()
        self._mode, self._finish = mode, read_head(model).finish
        self.size = len(head.weight)
        fixed = sorted(vocabulary.ids if vocabulary else protected_ids(loaded.tokenizer))
        self._fixed_V = torch.zeros(self.size, dtype=torch.bool, device=model.device)
        self._fixed_V[fixed] = True
        call_id = loaded.tokenizer.get_vocab().get(CALL_TOKEN)
        self._call_id = call_id if call_id is not None and call_id < self.size else None
        others = torch.nonzero(~self._fixed_V)[:, 0].tolist()
        bias = getattr(head, "bias", None)
        self._screen = Screen(MemoryRows(head.weight), bias, others, model.device)

    def count(
        self, read: Sequence[int], first: int, hidden_TD: Tensor, logits_TV: Tensor
    ) -> list[float]:
        """Return sums over the positions from which ``read[first:]`` are predicted.

        They are the number of positions and, in this order, the fields of ``VocabularyFigures``
        from ``active`` on, without ``share``.
        """
        sums = np.zeros(8)
        positions = list(range(first - 1, len(read) - 1))
        for start in range(0, len(positions), _TOGETHER):
            part = positions[start : start + _TOGETHER]
            active_NV = torch.stack([self._active(read[: place + 1]) for place in part])
            targets = torch.tensor([read[place + 1] for place in part], device=logits_TV.device)
            sums += self._sums(hidden_TD[part], logits_TV[part], active_NV, targets)
        return sums.tolist()

    def _active(self, context: Sequence[int]) -> Tensor:
        """Return which rows are active after a context, ``[V]``."""
        active_V = self._fixed_V.clone()
        if self._mode != "static":
            seen = list(dict.fromkeys(reversed(context)))
            active_V[seen[:CONTEXT_TOKENS] if self._mode == "context" else seen] = True
        return active_V

    def _sums(
        self, hidden_ND: Tensor, logits_NV: Tensor, active_NV: Tensor, targets_N: Tensor
    ) -> np.ndarray:
        own_NV = logits_NV.clone()
        if self._call_id is not None:  # <CALL> is never text
            own_NV[:, self._call_id] = -torch.inf
        inside_NV = own_NV.masked_fill(~active_NV, -torch.inf)
        log_inside_N = torch.logsumexp(inside_NV, 1) - torch.logsumexp(own_NV, 1)
        estimate_NO, error_NO = self._screen.estimate(hidden_ND)
        bound_NO = self._finish(estimate_NO + error_NO)
        open_NO = ~active_NV[:, self._screen.ids]
        possible_NO = (bound_NO >= inside_NV.amax(1, keepdim=True)) & open_NO
        best_N1 = own_NV.argmax(1, keepdim=True)
        each = [
            active_NV.sum(1),
            active_NV.gather(1, best_N1)[:, 0],
            active_NV.gather(1, targets_N[:, None])[:, 0],
            1 - log_inside_N.exp(),
            -log_inside_N,
            possible_NO.any(1),
            possible_NO.sum(1),
        ]
        return np.array([len(hidden_ND), *(float(values.double().sum()) for values in each)])


def _encoded(
    tokenizer: Any, examples: Iterable[tuple[str, str]]
) -> Iterable[tuple[list[int], list[int]]]:
    """Yield the tokens of inputs and outputs, split as in one text."""
    for given, output in examples:
        whole = next(encode_texts(tokenizer, [given + output]))
        cut = next(
            (n for n, (_, end) in enumerate(whole.offsets) if end > len(given)), len(whole.ids)
        )
        if len(whole.ids) > cut:
            yield whole.ids[:cut], whole.ids[cut:]
