"""Quantize all matrices of a model, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lacy._require import require_one_of
from lacy.layerwise import InputStatistics, walk_blocks
from lacy.model import BLOCK_TYPES, BlockKind, BlockMatrix, Loaded
from lacy.quantize.gptq import compensated_matrix
from lacy.quantize.on_grid import blocks_of_kind, exact_blocks
from lacy.quantize.parts import matrices_of, require_quantizable, sizes_of, tables_of
from lacy.quantize.quantized import (
    How,
    MatrixReport,
    Quantized,
    QuantizeReport,
    mean_bits,
)
from lacy.quantize.search import search_matrix

Method = Literal["nearest", "search", "gptq"]
"""How weights are rounded: to the nearest values on grids from each block's extremes; on grids that
minimise the output error; or so that later columns make up for the error of earlier ones. The
latter two keep, for each matrix, whichever result has the smallest measured output error."""

_SECOND = (
    "{count} matrices lay on the grid of {old} before and are rounded a second time, to {new}."
)


def quantize(
    loaded: Loaded,
    rows: Sequence[Tensor] = (),
    types: BlockKind | Mapping[str, BlockKind] = "q4_1",
    *,
    table: BlockKind = "q8_0",
    method: Method = "gptq",
    damping: float = 0.01,
    notify: Callable[[str], object] = lambda sentence: None,
) -> Quantized:
    """Round the matrices of a model to block types; the model is changed in place.

    The embedding and the head are rounded first, then each block with the inputs that the rounded
    blocks before it give, so that errors do not add up unseen. A matrix that lies on the grid of a
    type with at most as many bits as asked for (the model was quantized before) is kept bit by
    bit. Norms and biases stay.

    Args:
        loaded: a model of an architecture that llama.cpp computes; changed.
        rows: token ids of calibration texts (``lacy.layerwise.text_rows``); ``nearest`` needs none.
        types: the block type of the matrices in blocks, or types of single matrices by their names
            in the state dict (``choose_types``), which may include embedding and head.
        table: the type of embedding and head, if ``types`` does not name them.
        method: how weights are rounded.
        damping: share of the mean diagonal that GPTQ adds to the Hessian's diagonal.
        notify: receives sentences about what is noticed.

    Raises:
        LacyError: E12, an unknown method or type, or no rows; E90, E133, E281, E282 as in
            ``require_quantizable``.
    """
    require_one_of("method", method, get_args(Method))
    plan = planned_types(loaded, types, table)
    require_quantizable(loaded)
    if method != "nearest" and not rows:
        raise _no_rows()
    model = loaded.model
    found: dict[str, BlockMatrix] = {}
    reports: list[MatrixReport] = []

    def done(name: str, blocks: BlockMatrix, report: MatrixReport) -> None:
        found[name] = blocks
        reports.append(report)

    statistics = None if method == "nearest" else head_statistics(model, rows)
    for name, weight in tables_of(model).items():
        blocks, report = _table(name, weight, plan[name], method, statistics)
        with torch.no_grad():
            weight.copy_(blocks.dequantized())
        done(name, blocks, report)
    if method == "nearest":
        for name, matrix in matrices_of(model).items():
            blocks, report = rounded(name, matrix.weight_OI, plan[name], method, None, damping)
            matrix.set_weight(blocks.dequantized())
            done(name, blocks, report)
    else:
        for visit in walk_blocks(model, rows):
            inputs = visit.statistics(hessian=True)
            for matrix in visit.matrices:
                name = f"{matrix.name}.weight"
                blocks, report = rounded(
                    name, matrix.weight_OI, plan[name], method, inputs[matrix.name], damping
                )
                matrix.set_weight(blocks.dequantized())
                done(name, blocks, report)
    tokens = sum(ids_BT.numel() for ids_BT in rows)
    result = QuantizeReport(tuple(reports), tokens, mean_bits(list(found.values())))
    for sentence in _remarks(result):
        notify(sentence)
    return Quantized(loaded, found, result)


def planned_types(
    loaded: Loaded, types: BlockKind | Mapping[str, BlockKind], table: BlockKind
) -> dict[str, BlockKind]:
    """Return the block type of every matrix.

    Raises:
        LacyError: E12, an unknown type, or a name of no matrix.
    """
    tables, sizes = tables_of(loaded.model), sizes_of(loaded.model)
    require_one_of("table", table, BLOCK_TYPES)
    if isinstance(types, str):
        require_one_of("types", types, BLOCK_TYPES)
        return {name: table if name in tables else types for name in sizes}
    for name, kind in types.items():
        require_one_of("types", name, sizes)
        require_one_of(name, kind, BLOCK_TYPES)
    for name in sizes:
        if name not in types and name not in tables:
            require_one_of("types", name, types)
    return {name: types.get(name, table) for name in sizes}


@torch.no_grad()
def head_statistics(model: torch.nn.Module, rows: Sequence[Tensor]) -> InputStatistics:
    """Return the squares of the head's inputs over the rows."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    device, size = head.weight.device, head.weight.shape[1]
    found = InputStatistics(0, torch.zeros(size, dtype=torch.float64, device=device))
    base = model.base_model
    for ids_BT in rows:
        output = base(input_ids=ids_BT.to(device), use_cache=False)  # type: ignore[operator]
        found.add(output.last_hidden_state.flatten(0, -2), None)
    return found


def _table(
    name: str, weight: Tensor, kind: BlockKind, method: Method, inputs: InputStatistics | None
) -> tuple[BlockMatrix, MatrixReport]:
    """Round embedding or head. The row of ``<CALL>`` is apart: it may be new on an old grid."""
    weight_VD = weight.detach()
    body = exact_blocks(weight_VD[:-1])
    if body is not None and _fits(body.kind, kind):
        last = blocks_of_kind(weight_VD[-1:], body.kind)
        blocks = body.followed_by(last or BlockMatrix.nearest(weight_VD[-1:], body.kind))
        return blocks, MatrixReport(name, body.kind, "kept", blocks.bytes, was=body.kind)
    squares_D = None if inputs is None else inputs.squares_I
    if method == "nearest":
        blocks, how = BlockMatrix.nearest(weight_VD, kind), "nearest"
    else:
        blocks, how = search_matrix(weight_VD, kind, squares_D), "search"
    error = None
    if squares_D is not None:
        change_VD = (blocks.dequantized() - weight_VD.float()).square()
        scale_D = squares_D.float()
        error = float((change_VD @ scale_D).sum() / (weight_VD.float().square() @ scale_D).sum())
    was = None if body is None else body.kind
    return blocks, MatrixReport(name, kind, how, blocks.bytes, error, was)  # type: ignore[arg-type]


def rounded(
    name: str,
    weight_OI: Tensor,
    kind: BlockKind,
    method: Method,
    inputs: InputStatistics | None,
    damping: float,
) -> tuple[BlockMatrix, MatrixReport]:
    """Round one matrix in every way that the method allows; return the best and its report."""
    known = exact_blocks(weight_OI)
    if known is not None and _fits(known.kind, kind):
        return known, MatrixReport(name, known.kind, "kept", known.bytes, 0.0, known.kind)
    tried: dict[How, BlockMatrix] = {"nearest": BlockMatrix.nearest(weight_OI, kind)}
    if inputs is not None and inputs.count and inputs.hessian_II is not None:
        tried["search"] = search_matrix(weight_OI, kind, inputs.squares_I)
        if method == "gptq":
            tried["gptq"] = compensated_matrix(weight_OI, kind, inputs.hessian_II, damping=damping)
        errors = {
            how: inputs.output_error(blocks.dequantized() - weight_OI)
            for how, blocks in tried.items()
        }
        how = min(errors, key=errors.__getitem__)
        error = errors[how] / max(inputs.output_error(weight_OI), 1e-30)
    else:
        how, error = "nearest", None
    was = None if known is None else known.kind
    return tried[how], MatrixReport(name, kind, how, tried[how].bytes, error, was)


def _fits(known: BlockKind, wanted: BlockKind) -> bool:
    """True if a matrix on the grid of one type need not be rounded for another one."""
    return BLOCK_TYPES[known].bits_per_weight <= BLOCK_TYPES[wanted].bits_per_weight


def _remarks(report: QuantizeReport) -> list[str]:
    kept = [m for m in report.matrices if m.how == "kept"]
    found = []
    if kept:
        kinds = ", ".join(sorted({m.kind for m in kept}))
        whole = "All" if len(kept) == len(report.matrices) else f"{len(kept)} of the"
        found.append(
            f"{whole} {len(report.matrices)} matrices lay on the grid of {kinds} before, as the "
            "model was quantized; they are kept bit by bit, so nothing is lost by construction."
        )
    again = [m for m in report.matrices if m.was is not None and m.how != "kept"]
    for old, new in sorted({(m.was, m.kind) for m in again}):
        count = sum((m.was, m.kind) == (old, new) for m in again)
        found.append(_SECOND.format(count=count, old=old, new=new))
    return found


def _no_rows() -> Exception:
    from lacy.errors import LacyError

    do = "give rows of token ids (lacy.layerwise.text_rows), or method='nearest'"
    return LacyError("E12", key="rows", value="()", why="this method needs texts", do=do)
