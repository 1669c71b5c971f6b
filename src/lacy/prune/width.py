"""Remove attention heads, neurons of the MLPs, and channels of the residual stream.

Each part is scored by what it contributes on calibration texts: the squared norm of its share of
the output of the matrix that reads it (activation-based importance as in Minitron, arXiv
2407.14679, section 2.2, here with the reading weights). What remains then makes up for what is
removed: the reading matrix is changed so that its output stays as close as possible in the least
squares sense (``compensated``). This happens block by block on the outputs of the blocks before,
in the full-size model; only then are the tensors cut, which changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.layerwise import BlockVisit, walk_blocks
from lacy.model import Loaded
from lacy.prune.channels import (
    channel_changes,
    cut_channels,
    prune_channels,
    require_plain,
)
from lacy.prune.cuts import Cuts, contributions, group_contribution, switch_off
from lacy.prune.parts import Heads, Neurons, find_heads, find_neurons
from lacy.prune.rebuild import (
    autocast,
    count_parameters,
    probe_logits,
    rebuilt,
    require_equal,
    require_prunable,
    require_shapes,
    with_model,
)

GGUF_BLOCK = 32
"""GGUF's quantized types hold multiples of this many numbers per row."""


@dataclass(frozen=True)
class WidthPruned:
    """A narrower model, and what was done."""

    loaded: Loaded
    heads: tuple[tuple[int, ...], ...]
    """The query heads that remain, by block; empty if none was removed."""
    kv_heads: tuple[tuple[int, ...], ...]
    """The key-value heads that remain, by block; empty if no head was removed."""
    neurons: tuple[tuple[int, ...], ...]
    """The neurons that remain, by block; empty if none was removed."""
    channels: tuple[int, ...]
    """The residual channels that remain; empty if none was removed."""
    parameters: tuple[int, int]
    """Number of parameters before and after."""


def prune_width(
    loaded: Loaded,
    rows: Sequence[Tensor],
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    neurons: int | None = None,
    channels: int | None = None,
    compensate: bool = True,
    bf16: bool = False,
    notify: Callable[[str], object] = lambda sentence: None,
) -> WidthPruned:
    """Make a model narrower; the numbers say what remains.

    All blocks keep the same number of heads and neurons, because a config has only one number, but
    each block keeps its own best ones. Tied tables stay tied, and ``<CALL>`` stays the last row.

    Args:
        loaded: the model; its weights are changed, and it is not needed any more.
        rows: token ids, as from ``lacy.layerwise.text_rows``.
        heads: number of query heads that remain in each block.
        kv_heads: number of key-value heads that remain. By default, whole groups of query heads are
            removed with their key-value head if that gives ``heads``; else all groups shrink.
        neurons: number of neurons that remain in each MLP.
        channels: number of residual channels that remain.
        compensate: let the remaining parts make up for the removed ones.
        bf16: run the blocks in bfloat16, which some processors do several times faster.
        notify: receives sentences.

    Raises:
        LacyError: E294, a number is out of range, does not fit the groups, or there are no rows;
            E291, the config of this architecture cannot express it; E281, the model cannot be run
            block by block; E293, weights are not finite; E311, the model is quantized.
    """
    model: Any = loaded.model
    wanted = {"heads": heads, "neurons": neurons, "channels": channels}
    if not rows or not any(wanted.values()):
        why = "nothing is to be removed" if rows else "calibration texts are needed"
        raise LacyError("E294", part="heads, neurons or channels", kept="any", why=why)
    require_prunable(loaded)
    check_width(model, heads=heads, kv_heads=kv_heads, neurons=neurons, channels=channels)
    parts = _Parts.of(model, wanted, kv_heads)
    before, width = count_parameters(model), model.config.hidden_size
    cuts, changes = Cuts(), dict(parts.changes)
    kept_channels: tuple[int, ...] = ()
    found_heads, found_kv, found_neurons = [], [], []
    with autocast(model, bf16):
        if channels is not None:
            kept_channels = prune_channels(
                model, rows, parts.attention, parts.mlps, channels, cuts, compensate=compensate
            )
            notify(f"{channels} of {width} channels remain.")
        for visit in walk_blocks(model, rows):
            if parts.plan is not None:
                own = parts.attention[visit.block.index]
                kept, kept_kv = _prune_heads(visit, own, parts.plan, cuts, compensate=compensate)
                found_heads.append(kept)
                found_kv.append(kept_kv)
            if neurons is not None:
                mlp = parts.mlps[visit.block.index]
                kept = _prune_neurons(visit, mlp, neurons, cuts, compensate=compensate)
                found_neurons.append(kept)
            notify(f"Block {visit.block.index + 1} of {len(parts.blocks)} is narrower.")
    for what, size in (("neurons", neurons), ("channels", channels)):
        if size is not None and size % GGUF_BLOCK:
            notify(
                f"{size} {what} are no multiple of {GGUF_BLOCK}: GGUF cannot quantize such rows."
            )
    smaller = rebuilt(model, changes, cuts.applied(model))
    require_equal(probe_logits(model), smaller)
    return WidthPruned(
        with_model(loaded, smaller), tuple(found_heads), tuple(found_kv), tuple(found_neurons),
        kept_channels, (before, count_parameters(smaller)),
    )  # fmt: skip


def check_width(
    model: Any,
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    neurons: int | None = None,
    channels: int | None = None,
) -> Any:
    """Check that ``prune_width`` can be applied, without changing anything.

    Args:
        model: the model, or its structure as from an earlier check.
        heads: as in ``prune_width``.
        kv_heads: likewise.
        neurons: likewise.
        channels: likewise.

    Returns:
        The structure of the narrower model: it has shapes, but no values.

    Raises:
        LacyError: E294, a number is out of range or does not fit the groups; E291, the config of
            this architecture cannot express it.
    """
    wanted = {"heads": heads, "neurons": neurons, "channels": channels}
    parts, cuts = _Parts.of(model, wanted, kv_heads), Cuts()
    if channels is not None:
        cut_channels(model, parts.attention, parts.mlps, torch.arange(channels), cuts)
    if parts.plan is not None:
        for own in parts.attention:
            _cut_heads(own, range(parts.plan.heads), range(parts.plan.kv_heads), cuts)
    if neurons is not None:
        for mlp in parts.mlps:
            _cut_neurons(mlp, torch.arange(neurons), cuts)
    return require_shapes(model, parts.changes, cuts.applied(model, shapes=True))


def width_of_shares(
    model: Any, *, heads: float = 1.0, neurons: float = 1.0, channels: float = 1.0
) -> dict[str, int]:
    """Return how many parts remain if these shares do, in numbers that suit the model.

    Neurons and channels remain in multiples of 32, as GGUF's blocks need, and heads in whole
    groups, where there are enough of them; at least one part or group goes.

    Args:
        model: the model.
        heads: share of the query heads to keep; 1 keeps all of them.
        neurons: share of the neurons of each MLP to keep.
        channels: share of the residual channels to keep.

    Returns:
        Arguments of ``prune_width``.

    Raises:
        LacyError: E291, the config of this architecture cannot express it.
    """
    found = {}
    if heads < 1.0:
        own = find_heads(model)[0]
        found["heads"] = _number(heads, own.heads, own.heads // own.kv_heads)
    if neurons < 1.0:
        found["neurons"] = _number(neurons, find_neurons(model)[1][0].count, GGUF_BLOCK)
    if channels < 1.0:
        found["channels"] = _number(channels, model.config.hidden_size, GGUF_BLOCK)
    return found


def _number(share: float, whole: int, multiple: int) -> int:
    """Return a share of a number, in a multiple if that is less than the whole."""
    most = (whole - 1) // multiple
    if most:
        return min(max(round(share * whole / multiple), 1), most) * multiple
    return min(max(round(share * whole), 1), whole - 1)


def _prune_heads(
    visit: BlockVisit, own: Heads, plan: _HeadPlan, cuts: Cuts, *, compensate: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Switch off heads of a block; return the query and the key-value heads that remain."""
    hessian_II = _hessian(visit, own.output.name)
    kept, kept_kv = plan.choose(own, hessian_II)
    switch_off(own.output, own.columns(kept), hessian_II if compensate else None)
    _cut_heads(own, kept, kept_kv, cuts)
    return kept, kept_kv


def _prune_neurons(
    visit: BlockVisit, mlp: Neurons, number: int, cuts: Cuts, *, compensate: bool
) -> tuple[int, ...]:
    """Switch off neurons of a block; return those that remain."""
    hessian_II = _hessian(visit, mlp.reader.name)
    scores_I = contributions(mlp.reader.weight_OI, hessian_II.diagonal())
    kept_I = scores_I.topk(number).indices.sort().values
    switch_off(mlp.reader, kept_I, hessian_II if compensate else None)
    _cut_neurons(mlp, kept_I, cuts)
    return tuple(kept_I.tolist())


def _cut_heads(own: Heads, kept: Sequence[int], kept_kv: Sequence[int], cuts: Cuts) -> None:
    """Record what remains of each matrix if these heads do."""
    cuts.columns[own.output.name] = cuts.rows[own.query.name] = own.columns(kept)
    cuts.rows[own.key.name] = cuts.rows[own.value.name] = own.columns(kept_kv)


def _cut_neurons(mlp: Neurons, kept_I: Tensor, cuts: Cuts) -> None:
    """Record what remains of each matrix if these neurons do."""
    cuts.columns[mlp.reader.name] = kept_I
    for writer in mlp.writers:
        cuts.rows[writer.name] = mlp.rows(writer, kept_I)


def _hessian(visit: BlockVisit, name: str) -> Tensor:
    hessian_II = visit.statistics([name])[name].hessian_II
    assert hessian_II is not None
    return hessian_II


@dataclass(frozen=True)
class _HeadPlan:
    """How many heads of each kind remain."""

    heads: int
    kv_heads: int

    @classmethod
    def of(cls, own: Heads, heads: int, kv_heads: int | None) -> _HeadPlan:
        """Complete and check the numbers; raises E294."""
        _require("heads", heads, own.heads)
        group = own.heads // own.kv_heads
        if kv_heads is None:
            kv_heads = heads // group if heads % group == 0 else own.kv_heads
        each, rest = divmod(heads, max(kv_heads, 1))
        if rest or not 1 <= kv_heads <= own.kv_heads or not 1 <= each <= group:
            why = (
                f"{own.heads} heads share {own.kv_heads} key-value heads, {group} each; remove "
                "whole groups, or as many heads from every group"
            )
            raise LacyError("E294", part="heads", kept=heads, why=why)
        return cls(heads, kv_heads)

    def choose(self, own: Heads, hessian_II: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the query and the key-value heads that contribute most."""
        weight_OI, group = own.output.weight_OI, own.heads // own.kv_heads

        def best(groups: list[list[int]], number: int) -> list[list[int]]:
            scores = [group_contribution(weight_OI, hessian_II, own.columns(g)) for g in groups]
            ranked = sorted(range(len(groups)), key=lambda n: -scores[n])[:number]
            return [groups[n] for n in sorted(ranked)]

        every = [list(range(g * group, (g + 1) * group)) for g in range(own.kv_heads)]
        kept: list[int] = []
        kept_groups = best(every, self.kv_heads)
        for heads in kept_groups:
            kept += [h for (h,) in best([[h] for h in heads], self.heads // self.kv_heads)]
        return tuple(kept), tuple(heads[0] // group for heads in kept_groups)


@dataclass(frozen=True)
class _Parts:
    """The parts of a model that are pruned, and the fields of its config that change."""

    attention: list[Heads]
    mlps: list[Neurons]
    plan: _HeadPlan | None
    changes: dict[str, Any]

    @property
    def blocks(self) -> list[Any]:
        return [*self.attention] or [*self.mlps]

    @classmethod
    def of(cls, model: Any, wanted: dict[str, int | None], kv_heads: int | None) -> _Parts:
        """Find the parts and check the numbers, before anything is changed."""
        heads, neurons, channels = wanted["heads"], wanted["neurons"], wanted["channels"]
        attention: list[Heads] = []
        mlps: list[Neurons] = []
        plan, changes = None, {}
        if heads is not None or channels is not None:
            attention = find_heads(model)
            changes["head_dim"] = attention[0].size
        if heads is not None:
            plan = _HeadPlan.of(attention[0], heads, kv_heads)
            changes["num_attention_heads"], changes["num_key_value_heads"] = heads, plan.kv_heads
        if neurons is not None or channels is not None:
            field, mlps = find_neurons(model)
            if neurons is not None:
                _require("neurons", neurons, mlps[0].count)
                changes[field] = neurons
        if channels is not None:
            _require("channels", channels, model.config.hidden_size)
            require_plain(model)
            changes |= channel_changes(model.config, channels)
        return cls(attention, mlps, plan, changes)


def _require(part: str, kept: int, total: int) -> None:
    if not 0 < kept < total:
        raise LacyError("E294", part=part, kept=kept, why=f"there are {total}")
