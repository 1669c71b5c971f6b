"""Remove channels of the residual stream: the same ones in every block, embedding and head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.layerwise import InputStatistics, walk_blocks
from lacy.model import head_inputs
from lacy.prune.cuts import Cuts, contributions, switch_off, switch_off_outputs
from lacy.prune.parts import Heads, Neurons, norms_of
from lacy.prune.rebuild import evaluating

EPSILONS = ("rms_norm_eps", "norm_eps", "layer_norm_epsilon")
"""Names that configs give the epsilon of norms without a mean."""


def require_plain(model: Any) -> None:
    """Raise E291 unless norms only scale, and the embedding is only a table.

    Gemma multiplies its embedding by the square root of the width, and its norms add 1 to their
    weights; a norm that subtracts the mean depends on the removed channels.
    """
    architecture = type(model).__name__
    if type(model.get_input_embeddings()) is not nn.Embedding:
        why = "its embedding depends on the width"
        raise LacyError("E291", architecture=architecture, why=why)
    if model.device.type == "meta":  # the structure of a model whose norms were checked
        return
    width = model.config.hidden_size
    probe_D = torch.linspace(-1, 2, width, device=model.device, dtype=model.dtype)
    for name, norm in norms_of(model, width):
        half_D = probe_D.clone()
        half_D[::2] = 0  # with half of the channels, the mean square is half as large
        with torch.no_grad():
            found_D = norm(half_D)[1::2]
            wanted_D = half_D[1::2] / half_D.square().mean().sqrt() * norm.weight[1::2]
        if not torch.allclose(found_D, wanted_D, rtol=1e-2, atol=1e-3):
            why = f"{name} does more than scale"
            raise LacyError("E291", architecture=architecture, why=why)


def prune_channels(
    model: Any,
    rows: Sequence[Tensor],
    attention: Sequence[Heads],
    mlps: Sequence[Neurons],
    count: int,
    cuts: Cuts,
    *,
    compensate: bool,
) -> tuple[int, ...]:
    """Switch off the channels that contribute least to all matrices that read them.

    Contributions to each matrix are shares of its output, so every matrix counts alike; the head
    counts as one. The remaining channels make up for the removed ones in every matrix but the
    head, which may be the embedding.

    Args:
        model: changed in place; the removed channels are always zero afterwards.
        rows: token ids.
        attention: heads of every block.
        mlps: neurons of every block.
        count: number of channels that remain.
        cuts: receives what remains of each module.
        compensate: let the remaining channels make up for the removed ones.

    Returns:
        The channels that remain.
    """
    width = model.config.hidden_size
    scores_D = torch.zeros(width, dtype=torch.float64)
    seen: list[tuple[InputStatistics, InputStatistics]] = []
    for visit in walk_blocks(model, rows):
        heads, mlp = attention[visit.block.index], mlps[visit.block.index]
        names = heads.query.name, mlp.writers[0].name  # the others have the same inputs
        found = visit.statistics(names, hessian=compensate)
        own = (found[names[0]], found[names[1]])
        for readers, statistics in zip(_readers(heads, mlp), own, strict=True):
            for matrix in readers:
                scores_D += _shares(matrix.weight_OI, statistics.squares_I)
        if compensate:
            seen.append(own)
    head: Any = model.get_output_embeddings()
    scores_D += _shares(head.weight.detach(), _head_squares(model, rows))
    kept_D = scores_D.topk(count).indices.sort().values
    scales = _norm_scales(model, rows, kept_D) if compensate else {}
    with torch.no_grad():
        for name, norm in norms_of(model, width):
            norm.weight.mul_(scales.get(name, 1.0))
        for module in {model.get_input_embeddings(), head}:
            gone_D = torch.ones(width, dtype=torch.bool)
            gone_D[kept_D] = False
            module.weight[:, gone_D] = 0
        for index, (heads, mlp) in enumerate(zip(attention, mlps, strict=True)):
            for number, readers in enumerate(_readers(heads, mlp)):
                hessian_DD = seen[index][number].hessian_II if compensate else None
                for matrix in readers:
                    switch_off(matrix, kept_D, hessian_DD)
            for matrix in (heads.output, mlp.reader):
                switch_off_outputs(matrix, kept_D)
    cut_channels(model, attention, mlps, kept_D, cuts)
    return tuple(kept_D.tolist())


def cut_channels(
    model: Any, attention: Sequence[Heads], mlps: Sequence[Neurons], kept_D: Tensor, cuts: Cuts
) -> None:
    """Record what remains of each module if these channels do."""
    width = model.config.hidden_size
    for name, _ in norms_of(model, width):
        cuts.rows[name] = kept_D
        cuts.scales[name] = math.sqrt(width / len(kept_D))  # its mean square was over all channels
    for heads, mlp in zip(attention, mlps, strict=True):
        for readers in _readers(heads, mlp):
            cuts.columns |= {matrix.name: kept_D for matrix in readers}
        cuts.rows |= {matrix.name: kept_D for matrix in (heads.output, mlp.reader)}
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    cuts.columns |= {name: kept_D for name, own in model.named_modules() if own in tables}


def channel_changes(config: Any, count: int) -> dict[str, Any]:
    """Return the fields of a config that change if ``count`` channels remain.

    The mean square of the same values over fewer channels is larger. Its epsilon grows with it, so
    that the ratio of both stays, which matters for states close to zero.
    """
    epsilons = {name: getattr(config, name, None) for name in EPSILONS}
    factor = config.hidden_size / count
    return {"hidden_size": count} | {
        name: value * factor for name, value in epsilons.items() if isinstance(value, float)
    }


def _readers(heads: Heads, mlp: Neurons) -> Iterator[tuple[Any, ...]]:
    """Yield the matrices of a block that read the residual stream, by their inputs."""
    yield heads.query, heads.key, heads.value
    yield mlp.writers


def _shares(weight_OI: Tensor, squares_I: Tensor) -> Tensor:
    found_I = contributions(weight_OI, squares_I)
    return (found_I / found_I.sum().clamp_min(1e-300)).cpu()


def _head_squares(model: Any, rows: Sequence[Tensor]) -> Tensor:
    """Return the sum of squares of each input of the head."""
    squares_D = torch.zeros(model.config.hidden_size, dtype=torch.float64)
    with evaluating(model):
        for ids_BT in rows:
            for row_1T in ids_BT.to(model.device).split(1):
                states_BTD, _ = head_inputs(model, row_1T)
                squares_D += states_BTD.double().square().sum((0, 1)).cpu()
    return squares_D


def _norm_scales(model: Any, rows: Sequence[Tensor], kept_D: Tensor) -> dict[str, float]:
    """Return by how much each norm's input shrinks, on average, without the removed channels."""
    sums: dict[str, list[float]] = {}
    with _inputs_of_norms(model, kept_D, sums), evaluating(model):
        for ids_BT in rows:
            model.base_model(input_ids=ids_BT.to(model.device), use_cache=False)
    return {name: total / tokens for name, (total, tokens) in sums.items()}


@contextmanager
def _inputs_of_norms(model: Any, kept_D: Tensor, sums: dict[str, list[float]]) -> Iterator[None]:
    def hook_of(name: str) -> Any:
        def hook(module: Any, args: tuple[Tensor, ...]) -> None:
            states_ND = args[0].detach().flatten(0, -2).double()
            whole_N = states_ND.square().sum(1).clamp_min(1e-300)
            ratio_N = (states_ND[:, kept_D].square().sum(1) / whole_N).sqrt()
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += float(ratio_N.sum())
            total[1] += len(ratio_N)

        return hook

    hooks = [
        module.register_forward_pre_hook(hook_of(name))
        for name, module in norms_of(model, model.config.hidden_size)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
