"""Compute the signals that policies read from logits: margins, probabilities, entropies.

``step_signals`` does so for one decoding step. ``teacher_forced_signals`` returns the same numbers
for every token of true texts, aligned with their marks, so that calls can be compared with the true
positions of facts (which the paper does not report).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.cascade.gate_entropy import GateEntropy
from lacy.cascade.policy import SignalBatch
from lacy.model import Gate, context_of, gate_of, without_call
from lacy.types import Document

_MAX_LOGITS = 33_554_432
"""Maximum number of logits in one forward pass over documents (128 MiB in float32)."""

Floats = NDArray[np.float64]


def step_signals(
    logits_BV: Tensor,
    call_id: int | None,
    position: Sequence[int],
    text: Callable[[int], str],
    gate: Gate = "softmax",
    gate_entropy: GateEntropy | None = None,
) -> SignalBatch:
    """Return the signals of one decoding step.

    Args:
        logits_BV: next-token logits (including CALL) of each row that could call.
        call_id: the id of CALL; None for a model without it (its margin is -inf).
        position: number of tokens generated so far, for each row.
        text: returns the text so far of a row.
        gate: how the model interprets its CALL logit (``gate_of``).
        gate_entropy: the model's weights for the signal ``gate+entropy``, if it has any.
    """
    margin = read_signal(logits_BV, call_id, "margin", gate)

    def compute(by: str) -> Floats:
        if by == "gate+entropy" and gate_entropy is not None:
            return gate_entropy(margin, read_signal(logits_BV, call_id, "entropy"))
        return read_signal(logits_BV, call_id, by, gate)

    return SignalBatch(margin=margin, position=position, text=text, compute=compute)


def read_signal(logits_BV: Tensor, call_id: int | None, by: str, gate: Gate = "softmax") -> Floats:
    """Return a signal of each row, in its natural direction (``top2`` is large if the SLM is sure).

    ``margin`` is the CALL logit minus the largest other logit, and ``p_call`` the probability of
    CALL in the softmax over all tokens. With a ``sigmoid`` gate, they are the CALL logit itself and
    its sigmoid, so a margin of 0 is a probability of 1/2. ``entropy`` (nats) and ``top2`` (logits)
    are computed without CALL.
    """
    size = logits_BV.shape[0]
    if call_id is None and by in ("margin", "p_call"):
        return np.full(size, -np.inf if by == "margin" else 0.0)
    if gate == "sigmoid" and by in ("margin", "p_call"):
        call_B = logits_BV[:, call_id]
        return _numpy(call_B if by == "margin" else torch.sigmoid(call_B))
    if by == "p_call":
        return _numpy(torch.softmax(logits_BV, dim=-1)[:, call_id])
    own_BV = without_call(logits_BV, call_id)
    if by == "margin":
        return _numpy(logits_BV[:, call_id] - own_BV.amax(dim=-1))
    if by == "top2":
        best_B2 = own_BV.topk(2, dim=-1).values
        return _numpy(best_B2[:, 0] - best_B2[:, 1])
    if by == "entropy":
        logp_BV = torch.log_softmax(own_BV, dim=-1)
        # exp(-inf) * -inf is NaN, but a token without probability must add 0.
        return _numpy(-(logp_BV.exp() * logp_BV.clamp(min=-1e30)).sum(dim=-1))
    raise ValueError(f"there is no signal {by!r}")


@dataclass(frozen=True, slots=True)
class TokenSignals:
    """The signals at every predicted token of one true text; all arrays have the same length.

    ``marks`` are the flags of the predicted tokens (``targets``), so ``marks & MarkFlag.START``
    tells where a fact's value begins. ``logprob`` is the log-probability (nats) of the true token,
    without CALL. For a model without CALL, ``p_call`` is 0 and ``margin`` is -inf.
    """

    id: str
    targets: NDArray[np.int32]
    marks: NDArray[np.uint8]
    margin: Floats
    p_call: Floats
    entropy: Floats
    top2: Floats
    logprob: Floats
    truncated: bool = False
    """True if the text was longer than the model's context, so that its end is missing."""


@torch.inference_mode()
def teacher_forced_signals(loaded: Any, documents: Iterable[Document]) -> Iterator[TokenSignals]:
    """Yield the model's signals before each token of true texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: texts with their marks; texts without tokens are left out.

    Yields:
        One ``TokenSignals`` per document, in order; the last target is ``<|endoftext|>``.
    """
    from lacy.annotate import encode

    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    call_id = call_id_of(loaded)
    context = context_of(model)
    limit = max(1, _MAX_LOGITS // int(model.config.vocab_size))
    batch: list[tuple[str, list[int], list[int], bool]] = []
    width = 0
    for document in documents:
        encoded = encode(document, tokenizer)
        ids, marks = encoded.input_ids[: context + 1], encoded.marks[: context + 1]
        if len(ids) < 2:
            continue
        width = max(width, len(ids))
        if batch and width * (len(batch) + 1) > limit:
            yield from _measure_batch(model, call_id, batch)
            batch, width = [], len(ids)
        batch.append((document.id, list(ids), list(marks), len(encoded.input_ids) > len(ids)))
    if batch:
        yield from _measure_batch(model, call_id, batch)


def _measure_batch(
    model: Any, call_id: int | None, batch: list[tuple[str, list[int], list[int], bool]]
) -> Iterator[TokenSignals]:
    """Yield the signals of a batch; causal attention makes padding on the right harmless."""
    gate = gate_of(model)
    width = max(len(ids) for _, ids, _, _ in batch) - 1
    input_BT = torch.tensor(
        [(ids[:-1] + [0] * width)[:width] for _, ids, _, _ in batch], device=model.device
    )
    logits_BTV = model(input_ids=input_BT, use_cache=False).logits
    for row, (name, ids, marks, truncated) in enumerate(batch):
        logits_TV = logits_BTV[row, : len(ids) - 1].float()
        targets = torch.tensor(ids[1:], device=model.device)
        logp_TV = torch.log_softmax(without_call(logits_TV, call_id), dim=-1)
        yield TokenSignals(
            id=name,
            targets=np.asarray(ids[1:], dtype=np.int32),
            marks=np.asarray(marks[1:], dtype=np.uint8),
            margin=read_signal(logits_TV, call_id, "margin", gate),
            p_call=read_signal(logits_TV, call_id, "p_call", gate),
            entropy=read_signal(logits_TV, call_id, "entropy"),
            top2=read_signal(logits_TV, call_id, "top2"),
            logprob=_numpy(logp_TV.gather(-1, targets[:, None])[:, 0]),
            truncated=truncated,
        )


def call_id_of(loaded: Any) -> int | None:
    """Return the token id of CALL, the tokenizer's last; None if tokenizer or model lacks it."""
    from lacy.types import CALL_TOKEN

    number = loaded.tokenizer.get_vocab().get(CALL_TOKEN)
    if number is None or number >= int(loaded.model.config.vocab_size):
        return None
    return int(number)


def _numpy(values: Tensor) -> Floats:
    array: Floats = values.double().cpu().numpy()
    return array
