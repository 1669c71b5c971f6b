"""Choose a block type for each matrix, so that a model fits into a budget with the least loss.

What rounding a matrix adds to the loss is estimated to second order: half the sum over outputs of
the mean squared gradient times the mean squared error of the output, both over calibration texts.
This is the quadratic form of an approximate curvature (Fisher matrix) that ignores correlations
between outputs, as in K-FAC (Martens and Grosse, arXiv 1503.05671). One backward pass and the
Hessians of the inputs suffice; no matrix is tried in the model. The errors are those of searched
scales, because nearest values misjudge matrices with inputs of very different sizes. Embedding and
head, which may be one matrix, have two terms: the error of the inputs, and the divergence of the
output distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.layerwise import walk_blocks
from lacy.model import BLOCK_TYPES, BlockKind, Loaded, without_call
from lacy.quantize.on_grid import exact_blocks
from lacy.quantize.parts import matrices_of, require_quantizable, tables_of
from lacy.quantize.quantized import bytes_of
from lacy.quantize.search import search_matrix

KINDS: tuple[BlockKind, ...] = ("q4_0", "iq4_nl", "q4_1", "q5_0", "q5_1", "q8_0")

_PASS_TOKENS = 512
"""Maximum number of tokens of a backward pass; logits of many tokens need much memory."""

_HEAD_TOKENS = 512
"""Number of tokens on which the divergence by a rounded head is computed."""


@dataclass(frozen=True)
class MatrixCosts:
    """What the block types of one matrix cost."""

    name: str
    """Its name in ``model.state_dict()``."""
    bytes: dict[BlockKind, int]
    loss: dict[BlockKind, float]
    """Estimated increase of the loss in nats per token."""


def choose_types(costs: Sequence[MatrixCosts], budget: int) -> dict[str, BlockKind]:
    """Choose the types with the smallest estimated loss within a budget.

    All matrices begin with their smallest type. Then the matrix that gains most per byte gets a
    larger one, until no gain fits any more. Only types on the lower convex hull of loss over bytes
    are considered, so each choice is optimal for the bytes that are used (Shoham and Gersho, 1988).

    Args:
        costs: as from ``matrix_costs``.
        budget: bytes of all matrices together; the tokenizer adds about 2 MB to a file.

    Raises:
        LacyError: E285, even the smallest types need more.
    """
    hulls = {cost.name: _hull(cost) for cost in costs}
    used = sum(hull[0][0] for hull in hulls.values())
    if used > budget:
        most = sum(max(cost.bytes.values()) for cost in costs)
        kinds = ", ".join(sorted({kind for cost in costs for kind in cost.bytes}))
        values = {"budget": budget, "least": used, "most": most}
        shown = {key: f"{value / 1e6:.1f}" for key, value in values.items()}
        raise LacyError("E285", **shown, kinds=kinds)
    steps = sorted(
        (
            ((new[1] - old[1]) / (new[0] - old[0]), name, number)
            for name, hull in hulls.items()
            for number, (old, new) in enumerate(itertools.pairwise(hull), start=1)
        ),
    )
    chosen = dict.fromkeys(hulls, 0)
    for _, name, number in steps:
        more = hulls[name][number][0] - hulls[name][number - 1][0]
        if chosen[name] == number - 1 and used + more <= budget:
            chosen[name], used = number, used + more
    return {name: hull[chosen[name]][2] for name, hull in hulls.items()}


def matrix_costs(
    loaded: Loaded,
    rows: Sequence[Tensor],
    kinds: Collection[BlockKind] = KINDS,
    *,
    notify: Callable[[str], object] = lambda sentence: None,
) -> tuple[MatrixCosts, ...]:
    """Estimate for each matrix what the block types add to the loss; the model stays the same.

    Args:
        loaded: the model.
        rows: token ids of calibration texts; about 4,000 tokens are enough.
        kinds: the block types to consider. A matrix that lies on the grid of a type keeps it
            without loss; types with more bits are not considered for it.
        notify: receives sentences about the progress.

    Raises:
        LacyError: E12, an unknown type; E90, E133, E281, E282 as in ``quantize``.
    """
    for kind in kinds:
        require_one_of("kinds", kind, BLOCK_TYPES)
    require_quantizable(loaded)
    notify(f"Gradients on {sum(ids.numel() for ids in rows):,} tokens")
    squares, states_ND, embedded = _gradients(loaded, rows)
    found = []
    for name, weight in tables_of(loaded.model).items():
        cost = _table_cost(loaded, name, weight.detach(), states_ND, embedded)
        is_head = weight is loaded.model.get_output_embeddings().weight
        squares_D = states_ND.double().square().sum(0) if is_head else None
        found.append(_costs(name, weight.detach()[:-1], len(weight), kinds, cost, squares_D))
    for visit in walk_blocks(loaded.model, rows):
        inputs = visit.statistics()
        for matrix in visit.matrices:
            statistics, square_O = inputs[matrix.name], squares[f"{matrix.name}.weight"]
            hessian_II = statistics.hessian_II
            assert hessian_II is not None

            weight_OI, squares_I = matrix.weight_OI, statistics.squares_I
            cost = _inner_cost(hessian_II / max(statistics.count, 1), square_O)
            name = f"{matrix.name}.weight"
            found.append(_costs(name, weight_OI, len(weight_OI), kinds, cost, squares_I))
        notify(f"Costs of block {visit.block.index}")
    return tuple(found)


def _inner_cost(mean_II: Tensor, square_O: Tensor) -> Callable[[Tensor], float]:
    """Return a function that estimates the loss by a change of a matrix in a block.

    Args:
        mean_II: mean of ``x @ x.T`` over the layer's inputs.
        square_O: mean squared gradient of each of its outputs.
    """

    def added(change_OI: Tensor) -> float:
        change_OI = change_OI.double()
        error_O = ((change_OI @ mean_II) * change_OI).sum(1)
        return float(error_O @ square_O) / 2

    return added


def _costs(
    name: str,
    weight_OI: Tensor,
    rows: int,
    kinds: Collection[BlockKind],
    added: Callable[[Tensor], float],
    importance_I: Tensor | None = None,
) -> MatrixCosts:
    known = exact_blocks(weight_OI)
    sizes: dict[BlockKind, int] = {}
    loss: dict[BlockKind, float] = {}
    for kind in kinds:
        size = bytes_of(rows, weight_OI.shape[1], kind)
        if known is not None and size >= bytes_of(rows, weight_OI.shape[1], known.kind):
            continue
        change_OI = search_matrix(weight_OI, kind, importance_I).dequantized() - weight_OI
        sizes[kind], loss[kind] = size, added(change_OI)
    if known is not None:
        sizes[known.kind] = bytes_of(rows, weight_OI.shape[1], known.kind)
        loss[known.kind] = 0.0
    return MatrixCosts(name, sizes, loss)


def _gradients(
    loaded: Loaded, rows: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Tensor, tuple[Tensor, Tensor]]:
    """Run the model forward and backward.

    Returns:
        The mean squared gradient of each layer's outputs, by the name of its weights; inputs of the
        head for some tokens; and token ids with the squared gradients of their embeddings.
    """
    model: Any = loaded.model
    matrices = matrices_of(model)
    sums = {
        name: torch.zeros(len(m.weight_OI), dtype=torch.float64, device=m.weight_OI.device)
        for name, m in matrices.items()
    }
    states: list[Tensor] = []
    hooks = [
        matrix.module.register_full_backward_hook(_adding_squares(sums[name]))
        for name, matrix in matrices.items()
    ]
    hooks.append(
        model.get_output_embeddings().register_forward_pre_hook(
            lambda module, args: states.append(args[0].detach().flatten(0, -2))
        )
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    was_training, ids_N, squares_ND, count = model.training, [], [], 0
    model.eval()
    try:
        for p in trained:  # only gradients of activations are needed
            p.requires_grad_(False)
        for ids_BT in _parts(rows):
            ids_BT = ids_BT.to(model.device)
            inputs_BTD = model.get_input_embeddings()(ids_BT).detach().requires_grad_()
            logits_BTV = model(inputs_embeds=inputs_BTD, use_cache=False).logits[:, :-1]
            logits_NV = without_call(logits_BTV.flatten(0, 1), loaded.call_id).float()
            targets_N = ids_BT[:, 1:].flatten()
            torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum").backward()
            assert inputs_BTD.grad is not None
            ids_N.append(ids_BT.flatten())
            squares_ND.append(inputs_BTD.grad.flatten(0, 1).square())
            count += ids_BT.numel()
    finally:
        for p in trained:
            p.requires_grad_(True)
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    means = {name: total_O / count for name, total_O in sums.items()}
    every_ND = torch.cat(states)
    step = max(1, len(every_ND) // _HEAD_TOKENS)
    return means, every_ND[::step][:_HEAD_TOKENS], (torch.cat(ids_N), torch.cat(squares_ND))


def _adding_squares(total_O: Tensor) -> Any:
    """Return a backward hook that adds the squared gradients of a layer's outputs."""

    def hook(module: Any, of_inputs: Any, of_outputs: tuple[Tensor, ...]) -> None:
        total_O.add_(of_outputs[0].detach().flatten(0, -2).double().square().sum(0))

    return hook


def _parts(rows: Sequence[Tensor]) -> list[Tensor]:
    """Divide batches, so that a backward pass fits into memory."""
    return [
        part_BT
        for ids_BT in rows
        for part_BT in ids_BT.split(max(1, _PASS_TOKENS // ids_BT.shape[1]))
        if part_BT.shape[1] > 1
    ]


def _table_cost(
    loaded: Loaded,
    name: str,
    weight_VD: Tensor,
    states_ND: Tensor,
    embedded: tuple[Tensor, Tensor],
) -> Callable[[Tensor], float]:
    """Return a function that estimates the loss by a change of embedding or head."""
    model: Any = loaded.model
    parameter = dict(model.named_parameters())[name]
    as_input = parameter is model.get_input_embeddings().weight
    as_head = parameter is model.get_output_embeddings().weight
    ids_N, squares_ND = embedded
    # The gradients belong to the embedding module's output, which may be scaled (Gemma).
    scale = float(getattr(model.get_input_embeddings(), "embed_scale", 1.0))
    known_N = ids_N < len(weight_VD) - 1

    @torch.no_grad()
    def added(change_VD: Tensor) -> float:
        total = 0.0
        if as_input:
            change_ND = change_VD[ids_N[known_N]] * scale
            total += float((squares_ND[known_N] * change_ND.square()).sum()) / (2 * len(ids_N))
        if as_head:
            for part_ND in states_ND.float().split(64):
                old_NV = (part_ND @ weight_VD[:-1].float().T).log_softmax(-1)
                new_NV = (old_NV + part_ND @ change_VD.float().T).log_softmax(-1)
                total += float((old_NV.exp() * (old_NV - new_NV)).sum()) / len(states_ND)
        return total

    return added


def _hull(cost: MatrixCosts) -> list[tuple[int, float, BlockKind]]:
    """Return the types on the lower convex hull of loss over bytes, the smallest first."""
    hull: list[tuple[int, float, BlockKind]] = []
    best: Mapping[BlockKind, float] = cost.loss
    for size, loss, kind in sorted((cost.bytes[kind], best[kind], kind) for kind in cost.bytes):
        if hull and loss >= hull[-1][1]:
            continue  # not smaller and not better
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], (size, loss, kind)):
            hull.pop()
        hull.append((size, loss, kind))
    return hull


def _slope(first: tuple[int, float, BlockKind], second: tuple[int, float, BlockKind]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])
