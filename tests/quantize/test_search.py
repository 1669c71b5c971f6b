"""Searched scales, GPTQ on the grid of blocks, and weights that lie on a grid already."""

import pytest
import torch

from lacy.layerwise import solve_columns
from lacy.model import BLOCK_TYPES, BlockMatrix
from lacy.quantize import compensated_matrix, exact_blocks, grid_share, search_matrix
from lacy.quantize.search import Grid, search_grid

pytest.importorskip("gguf", reason="needs the extra gguf")
KINDS = list(BLOCK_TYPES)


def weights(rows=12, columns=96, seed=0):
    """Weights with a few outliers, as in real matrices."""
    random = torch.Generator().manual_seed(seed)
    weight_OI = torch.randn(rows, columns, generator=random) * 0.05
    return torch.where(torch.rand(rows, columns, generator=random) < 0.02, 4.0, 1.0) * weight_OI


def inputs(columns=96, samples=500, seed=1):
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(columns, columns, generator=random) / columns**0.5
    x_NI = torch.randn(samples, columns, generator=random) @ (mixed + torch.eye(columns))
    return x_NI * (0.2 + torch.rand(columns, generator=random) * 2)


def output_error(matrix, weight_OI, x_NI):
    return float(((matrix.dequantized() - weight_OI) @ x_NI.T).square().sum())


def weighted(matrix, weight_OI, importance_I):
    return ((matrix.dequantized() - weight_OI).square() * importance_I).view(-1, 32).sum(1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_block_is_worse_than_with_nearest_values(kind):
    weight_OI, importance_I = weights(), inputs().square().sum(0)
    found = weighted(search_matrix(weight_OI, kind, importance_I), weight_OI, importance_I)
    nearest = weighted(BlockMatrix.nearest(weight_OI, kind), weight_OI, importance_I)
    assert (found <= nearest * 1.0001).all()
    assert found.sum() < 0.97 * nearest.sum()


@pytest.mark.parametrize("kind", ["q4_0", "iq4_nl", "q4_1"])
def test_scales_are_near_the_best_of_a_fine_search(kind):
    """A slow search over 200 scales, and for types with offset 60 offsets, of a few blocks."""
    weight_NK = weights(rows=3, columns=64).view(-1, 32)
    importance_NK = torch.rand(weight_NK.shape) + 0.1
    grid = search_grid(weight_NK, kind, importance_NK)
    error_N = (importance_NK * (grid.values(weight_NK) - weight_NK).square()).sum(1)
    best_N = torch.full_like(error_N, torch.inf)
    low, high = weight_NK.amin(1, keepdim=True), weight_NK.amax(1, keepdim=True)
    span = BLOCK_TYPES[kind].levels[-1] - BLOCK_TYPES[kind].levels[0]
    for width in torch.linspace(0.4, 1.3, 200):
        for sign in (1, -1):
            scale = sign * (high - low) / span * width
            if not BLOCK_TYPES[kind].offset:
                scale = scale / (high - low) * 2 * weight_NK.abs().amax(1, keepdim=True)
            for shift in torch.linspace(-0.3, 0.3, 60) if BLOCK_TYPES[kind].offset else [0.0]:
                offset = low + shift * (high - low) if shift != 0.0 else torch.zeros_like(low)
                tried = Grid(kind, scale, offset)
                found_N = (importance_NK * (tried.values(weight_NK) - weight_NK).square()).sum(1)
                best_N = torch.minimum(best_N, found_N)
    assert (error_N <= best_N * 1.35).all() and error_N.sum() <= best_N.sum() * 1.12


@pytest.mark.parametrize("kind", KINDS)
def test_gptq_changes_the_output_less_than_any_rounding_of_single_weights(kind):
    weight_OI, x_NI = weights(rows=48), inputs()
    hessian_II = (x_NI.T @ x_NI).double()
    found = compensated_matrix(weight_OI, kind, hessian_II)
    searched = search_matrix(weight_OI, kind, hessian_II.diagonal())
    errors = [output_error(m, weight_OI, x_NI) for m in (found, searched)]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("kind", KINDS)
def test_gptq_returns_the_values_that_it_computed_with(kind):
    """The blocks, dequantised, are bit by bit the solved weights."""
    weight_OI, x_NI, seen = weights(), inputs(), {}
    hessian_II = (x_NI.T @ x_NI).double()
    blocks = compensated_matrix(weight_OI, kind, hessian_II)
    values_OI = blocks.dequantized()

    def choose(columns_B, weight_OB, pivot_B):
        grid_values = values_OI[:, columns_B]
        seen.update(dict.fromkeys(columns_B.tolist()))
        return lambda n, weight_O: grid_values[:, n]

    solved = solve_columns(weight_OI, hessian_II, choose)
    assert torch.equal(solved, values_OI) and len(seen) == 96
    assert torch.isfinite(values_OI).all()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_with_zeros_or_one_number(kind):
    weight_OI = torch.zeros(3, 64)
    weight_OI[1], weight_OI[2, :32] = 0.5, -0.25
    for matrix in (
        search_matrix(weight_OI, kind),
        search_matrix(weight_OI, kind, torch.zeros(64)),
        compensated_matrix(weight_OI, kind, torch.eye(64).double()),
    ):
        assert torch.allclose(matrix.dequantized(), weight_OI, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["nearest", "search", "gptq"])
def test_quantized_weights_are_recognised(kind, how):
    weight_OI, x_NI = weights(), inputs()
    made = {
        "nearest": lambda: BlockMatrix.nearest(weight_OI, kind),
        "search": lambda: search_matrix(weight_OI, kind),
        "gptq": lambda: compensated_matrix(weight_OI, kind, (x_NI.T @ x_NI).double()),
    }[how]()
    found = exact_blocks(made.dequantized())
    assert found is not None
    assert torch.equal(found.dequantized(), made.dequantized())
    assert found.bytes <= made.bytes
    assert grid_share(made.dequantized(), kind) == 1.0


def test_fresh_weights_lie_on_no_grid():
    weight_OI = weights()
    assert exact_blocks(weight_OI) is None
    assert all(grid_share(weight_OI, kind) == 0.0 for kind in KINDS)
    changed = BlockMatrix.nearest(weight_OI, "q4_1").dequantized()
    changed[5, 40] += 1e-4
    assert exact_blocks(changed) is None
    assert 0.95 < grid_share(changed, "q4_1") < 1.0
