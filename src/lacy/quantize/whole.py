"""Quantize all matrices of a model, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.layerwise import BlockVisit, InputStatistics, walk_blocks
from lacy.model import BLOCK_TYPES, BlockKind, BlockMatrix, Loaded, hidden_states
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

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Method = Literal["nearest", "search", "gptq"]
"""How weights are rounded: to the nearest values on grids from each block's extremes; on grids that
minimise the output error; or so that later columns make up for the error of earlier ones. The
latter two keep, for each matrix, whichever result has the smallest measured output error."""


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
    work = _Rounding(loaded.model, plan, method, damping)
    work.round_tables(None if method == "nearest" else head_statistics(loaded.model, rows))
    if method == "nearest" or work.nothing_to_round:
        for name in work.inner:
            work.round_inner(name, None)
    else:
        for visit in walk_blocks(loaded.model, rows):
            work.round_block(visit)
    tokens = sum(ids_BT.numel() for ids_BT in rows)
    report = QuantizeReport(tuple(work.reports), tokens, mean_bits(list(work.blocks.values())))
    for sentence in _remarks(report):
        notify(sentence)
    return Quantized(loaded, work.blocks, report)


class _Rounding:
    """Rounds the matrices of one model and remembers what was done."""

    def __init__(
        self, model: PreTrainedModel, plan: Mapping[str, BlockKind], method: Method, damping: float
    ) -> None:
        self.model, self.plan, self.method, self.damping = model, plan, method, damping
        self.inner = matrices_of(model)
        self.known = {name: exact_blocks(matrix.weight_OI) for name, matrix in self.inner.items()}
        self.blocks: dict[str, BlockMatrix] = {}
        self.reports: list[MatrixReport] = []

    @property
    def nothing_to_round(self) -> bool:
        """True if all matrices in blocks lie on grids that may be kept."""
        return all(self._is_kept(name) for name in self.inner)

    def round_tables(self, inputs: InputStatistics | None) -> None:
        """Round embedding and head."""
        head = self.model.get_output_embeddings().weight
        for name, weight in tables_of(self.model).items():
            weight_VD, kind = weight.detach(), self.plan[name]
            body = exact_blocks(weight_VD[:-1])
            was = None if body is None else body.kind
            if body is not None and _fits(body.kind, kind):
                # The row of <CALL> may be new on an old grid.
                last = blocks_of_kind(weight_VD[-1:], body.kind)
                blocks = body.followed_by(last or BlockMatrix.nearest(weight_VD[-1:], body.kind))
                report = MatrixReport(name, body.kind, "kept", blocks.bytes, None, was)
            else:
                # GPTQ would serve the head alone, but a tied head is the embedding, too.
                way: Method = "nearest" if self.method == "nearest" else "search"
                own = inputs if weight is head else None
                blocks, how, error = rounded(weight_VD, kind, way, own, self.damping)
                report = MatrixReport(name, kind, how, blocks.bytes, error, was)
            with torch.no_grad():
                weight.copy_(blocks.dequantized())
            self._add(report, blocks)

    def round_block(self, visit: BlockVisit) -> None:
        """Round the matrices of one block with the inputs that it receives now."""
        names = [f"{matrix.name}.weight" for matrix in visit.matrices]
        wanted = [m.name for m, name in zip(visit.matrices, names, strict=True)
                  if not self._is_kept(name)]  # fmt: skip
        inputs = visit.statistics(wanted) if wanted else {}
        for matrix, name in zip(visit.matrices, names, strict=True):
            self.round_inner(name, inputs.get(matrix.name))

    def round_inner(self, name: str, inputs: InputStatistics | None) -> None:
        """Round one matrix, or keep it."""
        matrix, before = self.inner[name], self.known[name]
        if before is not None and self._is_kept(name):
            kept = MatrixReport(name, before.kind, "kept", before.bytes, 0.0, before.kind)
            return self._add(kept, before)
        kind, was = self.plan[name], None if before is None else before.kind
        blocks, how, error = rounded(matrix.weight_OI, kind, self.method, inputs, self.damping)
        matrix.set_weight(blocks.dequantized())
        return self._add(MatrixReport(name, kind, how, blocks.bytes, error, was), blocks)

    def _is_kept(self, name: str) -> bool:
        before = self.known[name]
        return before is not None and _fits(before.kind, self.plan[name])

    def _add(self, report: MatrixReport, blocks: BlockMatrix) -> None:
        self.reports.append(report)
        self.blocks[report.name] = blocks


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
def head_statistics(model: PreTrainedModel, rows: Sequence[Tensor]) -> InputStatistics:
    """Return statistics of the head's inputs over the rows."""
    weight_VD = next(reversed(tables_of(model).values()))
    zeros_D = torch.zeros(weight_VD.shape[1], dtype=torch.float64, device=weight_VD.device)
    found = InputStatistics(0, zeros_D, zeros_D.diag())
    for ids_BT in rows:
        states_ND = hidden_states(model, ids_BT.to(weight_VD.device)).flatten(0, -2).float()
        found.add(states_ND, (states_ND.T @ states_ND).double())
    return found


def rounded(
    weight_OI: Tensor,
    kind: BlockKind,
    method: Method,
    inputs: InputStatistics | None,
    damping: float,
) -> tuple[BlockMatrix, How, float | None]:
    """Round one matrix in every way that the method allows.

    Returns:
        The blocks with the smallest output error, how they were made, and the error relative to the
        output; None if there are no statistics of inputs.
    """
    nearest = BlockMatrix.nearest(weight_OI, kind)
    if method != "nearest" and inputs is None:  # an embedding that is no head
        return search_matrix(weight_OI, kind), "search", None
    if inputs is None or not inputs.count or inputs.hessian_II is None:
        return nearest, "nearest", None
    tried: dict[How, BlockMatrix] = {
        "nearest": nearest,
        "search": search_matrix(weight_OI, kind, inputs.squares_I),
    }
    if method == "gptq":
        tried["gptq"] = compensated_matrix(weight_OI, kind, inputs.hessian_II, damping=damping)
    errors = {how: inputs.output_error(b.dequantized() - weight_OI) for how, b in tried.items()}
    how = min(errors, key=errors.__getitem__)
    return tried[how], how, errors[how] / max(inputs.output_error(weight_OI), 1e-30)


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
        names = [m.name for m in again if (m.was, m.kind) == (old, new)]
        which = names[0] if len(names) == 1 else f"{len(names)} matrices"
        found.append(
            f"Rounded a second time, from the grid of {old} where the model lay to {new}: {which}."
        )
    return found


def _no_rows() -> LacyError:
    do = "give rows of token ids (lacy.layerwise.text_rows), or method='nearest'"
    return LacyError("E12", key="rows", value="()", why="this method needs texts", do=do)
