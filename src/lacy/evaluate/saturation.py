"""Saturation: does the head of a small model limit what the model can say and learn?

A head of hidden size D can only represent logits of rank D, while the next-token distributions of
language need more: the softmax bottleneck (Yang et al. 2018). Godey et al. (arXiv 2404.07647) find
it in small models late in training: anisotropic states, a head whose singular values collapse, and
a loss that rises if the rank of the head is cut. Godey and Artzi (arXiv 2603.10145) find the same
bottleneck backwards: most of the gradient's norm does not pass the head. This module measures all
four, on tokens of facts and on others, and with and without delegation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.errors import LacyError
from lacy.evaluate.anisotropy import mean_cosine
from lacy.evaluate.head_gradient import (
    MAX_LOGITS,
    GradientEnergy,
    LossKind,
    call_gradients,
    text_gradients,
)
from lacy.evaluate.head_ranks import measure_ranks
from lacy.evaluate.head_spectrum import Axes, head_spectrum, principal_axes
from lacy.evaluate.head_states import HeadStates, read_head_states
from lacy.evaluate.low_rank_head import EPOCHS
from lacy.evaluate.saturation_results import GradientShare, SaturationResult
from lacy.model import Gate, TextHead, gate_of, read_head, taught_to_call
from lacy.results import AnswerStore, Score, ratio, score_sums
from lacy.types import Document

TOKENS = 192
"""Default number of predicted tokens per text."""

Bools = NDArray[np.bool_]
Delegation = Literal["auto", "calls", "marks"]
"""Which tokens count as delegated: those at which the model calls, or all tokens of facts;
``auto``: the model's calls if it was taught to call."""


def measure_saturation(
    loaded: Any,
    documents: Iterable[Document],
    *,
    tokens: int = TOKENS,
    ranks: Sequence[int] | None = None,
    train_heads: bool = True,
    passes: int = EPOCHS,
    delegation: Delegation = "auto",
    call_rate: float | None = None,
    bf16: bool = False,
    store: AnswerStore | None = None,
    states_folder: Path | None = None,
    seed: int = 0,
    notify: Callable[[str], object] = lambda sentence: None,
) -> SaturationResult:
    """Measure how much a model's head limits it.

    Memory is bounded: the head twice in float32, the states of all texts, and 32 MiB of logits;
    with ``train_heads`` also five times the head at full rank.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``; any causal model
            whose logits are its head's output, with a bias, a scale or a cap.
        documents: texts with marks.
        tokens: maximum number of predicted tokens per text.
        ranks: ranks of the heads that replace the model's own; by default, fractions of the hidden
            size. The full rank is always measured.
        train_heads: also train heads of these ranks, which takes minutes for a large vocabulary;
            otherwise heads are only cut and fitted.
        passes: maximum passes over the texts that train a head.
        delegation: which tokens count as delegated.
        call_rate: the model calls at the tokens with the highest margins, this share of all; None:
            where it calls by itself (threshold 0).
        bf16: compute states, and the logits of training, in bfloat16.
        store: keeps the losses of other heads, so that a stopped measurement continues.
        states_folder: keeps the hidden states.
        seed: seed of the bootstrap, of the split of the texts, and of training.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E58, the head is of another kind; E260, fewer than two texts; E261, a rank is not
            between 1 and the hidden size.
    """
    head = read_head(loaded.model)
    size = head.weight_VD.shape[1]
    ranks = checked_ranks(ranks, size)
    states = read_head_states(
        loaded, documents, tokens=tokens, bf16=bf16, notify=notify,
        folder=states_folder,
    )  # fmt: skip
    gate = gate_of(loaded.model)
    delegated_N, by = delegated_tokens(
        head, states, gate, delegation_of(loaded) if delegation == "auto" else delegation, call_rate
    )
    groups = {"all": np.ones(len(states), bool), "fact": states.fact_N, "other": ~states.fact_N}
    if by:
        groups |= {"delegated": delegated_N, "kept": ~delegated_N}
    groups = {name: mask for name, mask in groups.items() if mask.any()}
    notify("spectrum and gradients")
    axes = principal_axes(head.weight_VD[:-1])
    spectrum = head_spectrum(head.weight_VD[:-1], axes)
    gradient = _gradients(head, axes, states, groups, gate, taught=by == "calls", seed=seed)
    store = AnswerStore() if store is None else store
    measured = measure_ranks(
        head.text_rows(), states, groups, ranks, axes=axes, key=_key(states, head, delegated_N),
        train=train_heads, passes=passes, bf16=bf16, store=store, seed=seed, notify=notify,
    )  # fmt: skip
    norms_V = head.weight_VD.norm(dim=1)
    return SaturationResult(
        spectrum=spectrum,
        tied=head.tied,
        call_row=float(norms_V[-1] / norms_V[:-1].mean()),
        chance=float(np.sqrt(spectrum.rank / spectrum.vocabulary)),
        anisotropy=_anisotropy(states, seed),
        gradient=gradient,
        ranks=measured,
        tokens={name: int(mask.sum()) for name, mask in groups.items()},
        texts=states.texts,
        left_out=states.left_out,
        delegated_by=by,
        seed=seed,
        settings={
            "tokens": tokens,
            "bf16": bf16,
            "call_rate": call_rate,
            "gate": gate,
            "passes": passes,
        },
    )


def checked_ranks(ranks: Sequence[int] | None, size: int) -> list[int]:
    """Return the ranks in rising order, with the full one.

    Args:
        ranks: None for a sixteenth, an eighth, a quarter and a half of the hidden size.
        size: the hidden size.

    Raises:
        LacyError: E261, a rank is not between 1 and the hidden size.
    """
    chosen = [max(1, size // part) for part in (16, 8, 4, 2)] if ranks is None else list(ranks)
    wrong = [rank for rank in chosen if not 1 <= rank <= size]
    if wrong:
        raise LacyError("E261", rank=wrong[0], size=size)
    return sorted({*chosen, size})


def delegation_of(loaded: Any) -> Delegation:
    """Return ``calls`` for a model that learned to call, ``marks`` for a plain or raw model."""
    training = (loaded.meta or {}).get("training", {})
    plain = training.get("settings", {}).get("method") == "none"
    return "calls" if taught_to_call(loaded.model) and not plain else "marks"


def delegated_tokens(
    head: TextHead, states: HeadStates, gate: Gate, how: Delegation, call_rate: float | None
) -> tuple[Bools, str]:
    """Return which tokens are delegated, and by what: ``calls``, ``marks`` or nothing."""
    if how == "marks":
        return states.fact_N, "marks" if states.fact_N.any() else ""
    margin_N = call_margins(head, states.hidden_ND, gate)
    threshold = 0.0 if call_rate is None else float(np.quantile(margin_N, 1 - call_rate))
    called_N = margin_N > threshold
    return called_N, "calls" if called_N.any() else ""


@torch.no_grad()
def call_margins(head: TextHead, hidden_ND: Tensor, gate: Gate) -> NDArray[np.float64]:
    """Return the ``<CALL>`` logit minus the largest other one; with a sigmoid gate, the logit."""
    rows = max(1, MAX_LOGITS // len(head.weight_VD))
    parts = []
    for hidden in hidden_ND.split(rows):
        logits_NV = head.logits(hidden.to(head.weight_VD.device))
        other_N = 0.0 if gate == "sigmoid" else logits_NV[:, :-1].amax(1)
        parts.append((logits_NV[:, -1] - other_N).double().cpu())
    found: NDArray[np.float64] = torch.cat(parts).numpy()
    return found


def _gradients(
    head: TextHead,
    axes: Axes,
    states: HeadStates,
    groups: Mapping[str, Bools],
    gate: Gate,
    *,
    taught: bool,
    seed: int,
) -> dict[LossKind, dict[str, GradientShare]]:
    """Return the shares of both losses; only a model that calls has the second."""
    found: dict[LossKind, GradientEnergy] = {
        "text": text_gradients(head.text_rows(), states.hidden_ND, states.target_N, axes)
    }
    if taught:
        called_N = torch.from_numpy(groups["delegated"])
        found["call"] = call_gradients(head, states.hidden_ND, states.target_N, called_N, gate)
    return {
        kind: {
            name: _share(states, energy, mask, seed) for name, mask in groups.items()
        }
        for kind, energy in found.items()
    }  # fmt: skip


def _share(states: HeadStates, energy: GradientEnergy, mask: Bools, seed: int) -> GradientShare:
    """Return the shares of one group, with intervals over texts."""
    texts = states.text_N[mask]

    def by_text(values_N: Tensor) -> NDArray[Any]:
        return np.bincount(texts, values_N.numpy()[mask], states.texts)[present]

    counts = np.bincount(texts, minlength=states.texts)
    present = counts > 0
    total, kept = by_text(energy.total_N), by_text(energy.kept_N)

    def norm(numerators: NDArray[Any]) -> Score:
        columns = np.stack([numerators, total], 1)
        return score_sums(columns, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1]), seed=seed)

    losses = ratio(by_text(energy.loss_N), counts[present], unit="nats per token", seed=seed)
    return GradientShare(norm(kept), norm(total - kept), losses)


def _anisotropy(states: HeadStates, seed: int) -> dict[str, dict[str, Score]]:
    """Return the mean cosine of each layer: of all states, before facts and before other tokens."""
    facts_U = np.bincount(states.text_N, states.fact_N, states.texts)
    counts_UG = np.stack([facts_U, np.bincount(states.text_N, minlength=states.texts) - facts_U], 1)
    layers = states.layer_sums_LG.shape[1]
    found = {}
    for layer in range(layers):
        sums_UGD = states.layer_sums_LG[:, layer]
        scores = {"all": mean_cosine(sums_UGD.sum(1), counts_UG.sum(1), seed=seed)}
        for group, name in enumerate(("fact", "other")):
            if counts_UG[:, group].any():
                scores[name] = mean_cosine(sums_UGD[:, group], counts_UG[:, group], seed=seed)
        found["last" if layer == layers - 1 else str(layer)] = scores
    return found


def _key(states: HeadStates, head: TextHead, delegated_N: Bools) -> str:
    """Name everything that the losses of other heads depend on, besides their settings."""
    found = hashlib.blake2b(states.digest.encode(), digest_size=16)
    found.update(head.weight_VD[-1].cpu().numpy().tobytes())
    found.update(delegated_N.tobytes())
    return found.hexdigest()
