"""Round the columns of a matrix one after the other; later columns make up for the error (GPTQ).

Frantar et al., arXiv 2210.17323, on the grids of GGUF blocks: when the first column of a block is
reached, scale and offset are searched for the block's current weights, weighted by what an error
costs after later columns have adapted, and rounded to float16 as stored. They are fixed before the
columns are rounded, so the result lies exactly on the grid of the file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lacy.layerwise import solve_columns
from lacy.model import BLOCK, BLOCK_TYPES, BlockKind, BlockMatrix
from lacy.quantize.search import search_grid


def compensated_matrix(
    weight_OI: Tensor, kind: BlockKind, hessian_II: Tensor, *, damping: float = 0.01
) -> BlockMatrix:
    """Round a matrix to blocks by GPTQ.

    Args:
        weight_OI: the weights; I is a multiple of 32.
        kind: the type of the blocks.
        hessian_II: sum of ``x @ x.T`` over the inputs of the layer.
        damping: share of the mean diagonal that is added to the Hessian's diagonal.
    """
    rows, columns = weight_OI.shape
    codes_OI = torch.zeros(rows, columns, dtype=torch.uint8, device=weight_OI.device)
    scale_OG = torch.zeros(rows, columns // BLOCK, device=weight_OI.device)
    offset_OG = torch.zeros_like(scale_OG)

    def choose(
        columns_B: Tensor, weight_OB: Tensor, pivot_B: Tensor
    ) -> Callable[[int, Tensor], Tensor]:
        first = int(columns_B[0])
        weight_NK = weight_OB.float()
        importance_K = pivot_B.square().reciprocal()
        importance_NK = (importance_K / importance_K.mean()).float().expand_as(weight_NK)
        grid = search_grid(weight_NK, kind, importance_NK)
        scale_OG[:, first // BLOCK] = grid.scale_N1[:, 0]
        offset_OG[:, first // BLOCK] = grid.offset_N1[:, 0]

        def nearest(number: int, weight_O: Tensor) -> Tensor:
            column_N1 = weight_O.float()[:, None]
            codes_OI[:, first + number] = grid.codes(column_N1)[:, 0]
            return grid.values(column_N1)[:, 0]

        return nearest

    solve_columns(weight_OI.float(), hessian_II, choose, group=BLOCK, damping=damping)
    offset = offset_OG.half() if BLOCK_TYPES[kind].offset else None
    return BlockMatrix(kind, codes_OI, scale_OG.half(), offset)
