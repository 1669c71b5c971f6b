"""The losses of heads of lower rank, with intervals over texts that no head was trained on.

A part of the texts fits or trains the heads, another decides when to stop, and the rest measures
all of them. With delegation, a second head of each rank is trained on the tokens that are not
delegated only: if the rank is too low for all tokens, it does better on these (``relief``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.evaluate.head_spectrum import Axes
from lacy.evaluate.head_states import HeadStates
from lacy.evaluate.low_rank_head import (
    DECAY,
    DECAYS,
    LEARNING_RATE,
    Targets,
    best_on_states,
    cut_head,
    losses,
    train_head,
)
from lacy.model import TextHead
from lacy.results import AnswerStore, Score, answer_key, difference, ratio

FIT, STOP = 0.55, 0.15
"""Shares of the texts that train the heads, and that decide when to stop."""

FORMAT = 1
"""Version of the stored losses; it increases when their meaning changes."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
HeadKind = Literal["cut", "fitted", "trained", "trained on kept"]
"""Cut from the model's own; the best approximation of its logits on the texts of the fit; trained
on all tokens; or trained without the delegated ones."""

UNIT = "nats per token"


@dataclass(frozen=True)
class RankLoss:
    """The loss of one head; scores are by group of tokens."""

    head: HeadKind
    rank: int
    passes: int
    """Passes over the texts of the fit after which the head was best; 0 if it was cut."""
    loss: Mapping[str, Score]
    rise: Mapping[str, Score]
    """Loss minus that of the head of the same kind with full rank; a cut one of full rank is the
    model's own."""


@dataclass(frozen=True)
class RankLosses:
    """The losses of all heads on the texts that measure."""

    heads: tuple[RankLoss, ...]
    relief: Mapping[int, Score] = field(default_factory=dict)
    """By rank: loss on the tokens that are not delegated, of the head that was trained on all
    tokens, minus that of the head that was trained on these alone. Positive if delegating helps the
    head."""
    texts: int = 0
    """Number of texts that measure."""
    fit_tokens: int = 0
    """Number of tokens that heads are fitted to or trained on."""


@dataclass(frozen=True)
class _Sums:
    """Sums of the losses of a head over the tokens of each measured text, by group."""

    passes: int
    losses: Mapping[str, Floats]


def measure_ranks(
    head: TextHead,
    states: HeadStates,
    groups: Mapping[str, Bools],
    ranks: Sequence[int],
    *,
    axes: Axes,
    key: str,
    train: bool,
    passes: int,
    bf16: bool,
    store: AnswerStore,
    seed: int = 0,
    notify: Callable[[str], object] = lambda sentence: None,
) -> RankLosses:
    """Measure heads of several ranks.

    Args:
        head: the model's head without the row of ``<CALL>``.
        states: the states before it.
        groups: masks of tokens by name; ``kept`` has those that are not delegated.
        ranks: rising, the last one full.
        axes: ``principal_axes`` of the head.
        key: names states and groups.
        train: also train heads.
        passes: maximum passes over the texts that train a head.
        bf16: train in bfloat16.
        store: keeps the losses of heads.
        seed: seed of the split and of training.
        notify: called with a sentence about the progress.
    """
    kinds: list[HeadKind] = ["cut", "fitted"]
    if train:
        kinds += ["trained", "trained on kept"] if "kept" in groups else ["trained"]
    fit_N, stop_N, test_N = split_texts(states.text_N, states.texts, seed)
    tested = {name: mask[test_N] for name, mask in groups.items() if mask[test_N].any()}
    texts = states.text_N[test_N]
    counts = {
        name: np.bincount(texts[mask], minlength=states.texts) for name, mask in tested.items()
    }

    def compute(kind: HeadKind, rank: int) -> dict[str, Any]:
        notify(f"{kind}, rank {rank}")
        best = 0
        if kind == "cut":
            low: Any = head if rank == ranks[-1] else cut_head(head, rank, axes)
        elif kind == "fitted":
            low = best_on_states(head, _targets(states, fit_N).hidden_ND, rank)
        else:
            used = groups["kept"] if kind == "trained on kept" else groups["all"]
            fit, stop = _targets(states, fit_N & used), _targets(states, stop_N & used)
            low, best = train_head(head, rank, fit, stop, seed=seed, epochs=passes, bf16=bf16)
        found = losses(low, _targets(states, test_N)).double().numpy()
        sums = {
            name: np.bincount(texts[mask], found[mask], states.texts).tolist()
            for name, mask in tested.items()
        }
        return {"passes": best, "losses": sums}

    def read(kind: HeadKind, rank: int) -> _Sums:
        settings = (
            {}
            if kind in ("cut", "fitted")
            else {"passes": passes, "bf16": bf16, "rate": [LEARNING_RATE, DECAYS, DECAY]}
        )
        name = answer_key("rank", FORMAT, key, kind, rank, seed, settings)
        if name not in store:
            store.put({name: compute(kind, rank)})
        answer = store.get(name)
        return _Sums(answer["passes"], {g: np.asarray(s) for g, s in answer["losses"].items()})

    found = {(kind, rank): read(kind, rank) for kind in kinds for rank in ranks}
    measured = []
    for (kind, rank), sums in found.items():
        full = found[kind, ranks[-1]]
        loss = {name: _score(sums.losses[name], counts[name], seed) for name in tested}
        rise = {
            name: _gap(sums.losses[name], full.losses[name], counts[name], seed) for name in tested
        }
        measured.append(RankLoss(kind, rank, sums.passes, loss, rise))
    relief = {}
    if "trained on kept" in kinds and "kept" in tested:
        for rank in ranks:
            all_U = found["trained", rank].losses["kept"]
            own_U = found["trained on kept", rank].losses["kept"]
            relief[rank] = _gap(all_U, own_U, counts["kept"], seed)
    return RankLosses(tuple(measured), relief, len(np.unique(texts)), int(fit_N.sum()))


def split_texts(text_N: NDArray[np.int64], texts: int, seed: int) -> tuple[Bools, Bools, Bools]:
    """Return the tokens that train, that decide when to stop, and that measure.

    Each part has whole texts, at least one; with two texts, one trains and decides.
    """
    order = np.random.default_rng([seed, texts]).permutation(texts)
    fit = min(max(1, round(FIT * texts)), max(1, texts - 2))
    stop = min(texts - 1, fit + max(1, round(STOP * texts)))
    begin = fit if fit < stop else 0
    parts = order[:fit], order[begin:stop], order[stop:]
    fit_N, stop_N, test_N = (np.isin(text_N, part) for part in parts)
    return fit_N, stop_N, test_N


def _targets(states: HeadStates, mask_N: Bools) -> Targets:
    rows: Tensor = torch.from_numpy(np.flatnonzero(mask_N))
    return Targets(states.hidden_ND[rows], states.target_N[rows])


def _score(sums_U: Floats, counts_U: NDArray[Any], seed: int) -> Score:
    used = counts_U > 0
    return ratio(sums_U[used], counts_U[used], unit=UNIT, seed=seed)


def _gap(a_U: Floats, b_U: Floats, counts_U: NDArray[Any], seed: int) -> Score:
    """Return the difference of two mean losses on the same tokens; interval over texts."""
    used = counts_U > 0
    return difference(
        (a_U[used], counts_U[used]), (b_U[used], counts_U[used]), unit=UNIT, seed=seed
    )
