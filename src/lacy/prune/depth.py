"""Remove whole blocks from a model.

Which blocks a model misses least is measured (``loss``), estimated (``influence``), or taken from
their position (``last``). The blocks that remain can learn, in closed form, what the removed ones
added (``refit``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from lacy._require import require_one_of, require_share
from lacy.errors import LacyError
from lacy.layerwise import find_blocks
from lacy.model import Loaded, without_call
from lacy.prune.bypass import Bypass
from lacy.prune.rebuild import (
    autocast,
    block_list,
    count_parameters,
    evaluating,
    probe_logits,
    rebuilt,
    require_equal,
    require_prunable,
    with_model,
)
from lacy.prune.refit import HELD_OUT, BlockFit, refit_outputs

DepthChoice = Literal["loss", "influence", "last"]
"""How the blocks are chosen: by the loss without them, one after the other (SLEB, arXiv
2402.09025, section 3.2); by how much they turn their input (block influence of ShortGPT, arXiv
2403.03853, section 3.1); or the last ones (arXiv 2411.15558)."""
DEPTH_CHOICES = get_args(DepthChoice)

LOGIT_TOKENS = 1024
"""Number of tokens whose logits are computed at once."""

_TOKEN_LISTS = ("_token_id", "_tokens", "architectures", "_ids")
"""Ends of the names of lists in configs that have nothing to do with layers."""


@dataclass(frozen=True)
class DepthPruned:
    """A model with fewer blocks, and what was done."""

    loaded: Loaded
    by: DepthChoice
    removed: tuple[int, ...]
    """Numbers of the removed blocks in the original model, in the order of their removal."""
    scores: tuple[float, ...]
    """For each removed block: the loss per token without it and those before it (``loss``), its
    influence (``influence``), or NaN (``last``)."""
    blocks: int
    """Number of blocks before."""
    fits: tuple[BlockFit, ...]
    """The blocks that learned what removed ones added; empty without texts for that."""
    parameters: tuple[int, int]
    """Number of parameters before and after."""


def prune_depth(
    loaded: Loaded,
    rows: Sequence[Tensor] = (),
    *,
    share: float = 0.25,
    count: int | None = None,
    by: DepthChoice = "loss",
    refit: Sequence[Tensor] = (),
    bf16: bool = False,
    notify: Callable[[str], object] = lambda sentence: None,
) -> DepthPruned:
    """Remove the blocks that a model misses least.

    The remaining tensors are copied into a new model with a new config; ``loaded.model`` is as it
    was, and not needed any more.

    Args:
        loaded: the model; its ``<CALL>`` row stays as it is.
        rows: token ids, as from ``lacy.layerwise.text_rows``; not needed for ``last``.
        share: share of the blocks that are removed, rounded down.
        count: number of blocks that are removed, instead of a share.
        by: how they are chosen.
        refit: token ids on which the remaining blocks learn, in closed form, what the removed ones
            added; thousands of tokens, four texts at least. None leaves their weights as they are.
        bf16: run the blocks in bfloat16, which some processors do several times faster.
        notify: receives a sentence about each removed block.

    Raises:
        LacyError: E290, no block or all blocks would be removed, or there are too few texts; E291,
            the architecture cannot do without blocks; E293, weights are not finite; E311,
            the model is quantized; E12, a setting is invalid.
    """
    require_one_of("by", by, DEPTH_CHOICES)
    require_share("share", share)
    require_prunable(loaded)
    model: Any = loaded.model
    blocks = find_blocks(model)
    number = int(share * len(blocks)) if count is None else count
    if not 0 < number < len(blocks):
        raise LacyError("E290", number=number, blocks=len(blocks), why="at least one must remain"
                        if number > 0 else "at least one must be removed")  # fmt: skip
    if by != "last" and not rows:
        raise LacyError("E290", number=number, blocks=len(blocks),
                        why=f"choosing by {by} needs calibration texts")  # fmt: skip
    if refit and sum(len(ids_BT) for ids_BT in refit) < HELD_OUT:
        why = f"at least {HELD_OUT} texts are needed to fit the remaining blocks"
        raise LacyError("E290", number=number, blocks=len(blocks), why=why)
    choose = {"loss": _by_loss, "influence": _by_influence, "last": _last}[by]
    with evaluating(model), autocast(model, bf16):
        found = choose(loaded, rows, number, notify)
    removed = tuple(index for index, _ in found)
    smaller = without_blocks(model, removed)
    kept = [index for index in range(len(blocks)) if index not in removed]
    with autocast(model, bf16):
        fits = refit_outputs(smaller, model, kept, refit, notify) if refit else ()
    sizes = count_parameters(model), count_parameters(smaller)
    return DepthPruned(
        with_model(loaded, smaller), by, removed, tuple(score for _, score in found),
        len(blocks), fits, sizes,
    )  # fmt: skip


def without_blocks(model: Any, removed: Sequence[int]) -> Any:
    """Return a new model without these blocks; the given model is not changed.

    Raises:
        LacyError: E291, its logits are not those of the model with these blocks switched off.
    """
    blocks = find_blocks(model)
    kept = [block.index for block in blocks if block.index not in removed]
    bypass = Bypass(blocks)
    with bypass.recording(range(len(blocks))):
        probe_logits(model)
    with bypass.off(dict.fromkeys(removed)):
        expected_BTV = probe_logits(model)
    place = block_list(model, blocks[0].name) + "."
    numbers = {f"{old}": f"{new}" for new, old in enumerate(kept)}
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(place):
            index, _, rest = name.removeprefix(place).partition(".")
            if index not in numbers:
                continue
            name = f"{place}{numbers[index]}.{rest}"
        state[name] = tensor
    smaller = rebuilt(model, _per_layer(model.config, kept, len(blocks)), state)
    require_equal(expected_BTV, smaller)
    return smaller


def _per_layer(config: Any, kept: Sequence[int], layers: int) -> dict[str, Any]:
    """Return the fields of a config that describe its layers, for the kept layers."""
    changes: dict[str, Any] = {"num_hidden_layers": len(kept)}
    for name, value in config.to_dict().items():
        a_list = isinstance(value, list | tuple) and len(value) == layers
        if a_list and not name.endswith(_TOKEN_LISTS):
            changes[name] = [value[index] for index in kept]
    if getattr(config, "attention_types", None):  # GPT-Neo: kinds with repetitions
        changes["attention_types"] = [[[config.attention_layers[index]], 1] for index in kept]
    return changes


# ------------------------------------------------------------------------------------- choices


def _by_loss(
    loaded: Loaded, rows: Sequence[Tensor], number: int, notify: Callable[[str], object]
) -> list[tuple[int, float]]:
    """Remove blocks one by one, each time the one without which the loss is lowest.

    Blocks before a candidate have the same outputs with and without it, so they run once for all
    candidates of a round.
    """
    model: Any = loaded.model
    bypass = Bypass(find_blocks(model))
    kept = list(range(len(bypass.blocks)))
    removed: list[tuple[int, float]] = []
    batches = _batches(rows, model.device)
    tokens = sum(ids_BT[:, 1:].numel() for ids_BT in batches)
    for _ in range(number):
        losses = dict.fromkeys(kept, 0.0)
        for ids_BT in batches:
            gone = dict.fromkeys(index for index, _ in removed)
            with bypass.off(gone), bypass.recording(kept) as found:
                model(input_ids=ids_BT, use_cache=False)
            for index in kept:
                before = dict.fromkeys(range(index + 1)) | {index: found[index][0]}
                with bypass.off(gone | before):
                    losses[index] += _loss(loaded, ids_BT)
        best = min(kept, key=lambda index: losses[index])
        kept.remove(best)
        removed.append((best, losses[best] / tokens))
        notify(f"Block {best} removed: loss {removed[-1][1]:.3f} nats per token.")
    return removed


def _by_influence(
    loaded: Loaded, rows: Sequence[Tensor], number: int, notify: Callable[[str], object]
) -> list[tuple[int, float]]:
    """Return the blocks whose outputs are most like their inputs, the least influential first."""
    model: Any = loaded.model
    bypass = Bypass(find_blocks(model))
    every = range(len(bypass.blocks))
    turns = dict.fromkeys(every, 0.0)
    batches = _batches(rows, model.device)
    for ids_BT in batches:
        with bypass.recording(every) as found:
            model.base_model(input_ids=ids_BT, use_cache=False)
        for index, (before_BTD, after_BTD) in found.items():
            cosine_BT = cosine_similarity(before_BTD.float(), after_BTD.float(), dim=-1)
            turns[index] += float((1 - cosine_BT).sum())
    tokens = sum(ids_BT.numel() for ids_BT in batches)
    ranked = sorted(every, key=lambda index: (turns[index], index))[:number]
    for index in ranked:
        notify(f"Block {index} removed: influence {turns[index] / tokens:.4f}.")
    return [(index, turns[index] / tokens) for index in ranked]


def _last(
    loaded: Loaded, rows: Sequence[Tensor], number: int, notify: Callable[[str], object]
) -> list[tuple[int, float]]:
    """Return the last blocks."""
    blocks = len(find_blocks(loaded.model))
    notify(f"The last {number} of {blocks} blocks removed.")
    return [(index, float("nan")) for index in range(blocks - number, blocks)]


def _batches(rows: Sequence[Tensor], device: Any) -> list[Tensor]:
    """Split rows so that the logits of a batch stay small."""
    return [
        part.to(device)
        for ids_BT in rows
        for part in ids_BT.split(max(1, LOGIT_TOKENS // ids_BT.shape[1]))
    ]


def _loss(loaded: Loaded, ids_BT: Tensor) -> float:
    """Return the summed loss of all tokens but the first ones, without ``<CALL>``."""
    logits_BTV: Any = loaded.model(input_ids=ids_BT, use_cache=False).logits  # type: ignore[operator]
    logits_BTV = without_call(logits_BTV[:, :-1].float(), loaded.call_id)
    flat_NV, targets_N = logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten()
    return float(cross_entropy(flat_NV, targets_N, reduction="sum"))
