"""Blocks of weights, against gguf's own packages of bytes."""

import numpy as np
import pytest
import torch

from lacy.model import BLOCK_TYPES, BlockMatrix, nearest_codes, values_of

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")


def read(matrix):
    """What gguf reads from the bytes of a matrix."""
    kind = gguf.GGMLQuantizationType[matrix.kind.upper()]
    return torch.from_numpy(gguf.quants.dequantize(matrix.raw_OB, kind))


def random_blocks(kind, rows=5, groups=3, seed=0):
    """Any codes, scales and offsets, not only those that rounding gives."""
    random, made = torch.Generator().manual_seed(seed), BLOCK_TYPES[kind]
    codes = torch.randint(len(made.levels), (rows, 32 * groups), generator=random)
    scale = torch.randn(rows, groups, generator=random).half()
    offset = torch.randn(rows, groups, generator=random).half() if made.offset else None
    return BlockMatrix(kind, codes.to(torch.uint8), scale, offset)


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_bytes_are_those_that_gguf_reads(kind):
    matrix = random_blocks(kind)
    assert torch.equal(read(matrix), matrix.dequantized())
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
    assert size == (32, BLOCK_TYPES[kind].size)
    assert matrix.bytes == matrix.raw_OB.size
    assert BLOCK_TYPES[kind].bits_per_weight == size[1] / 4


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_bytes_are_read_back(kind):
    matrix = random_blocks(kind)
    again = BlockMatrix.from_raw(matrix.raw_OB, kind)
    assert torch.equal(again.codes_OI, matrix.codes_OI)
    assert torch.equal(again.dequantized(), matrix.dequantized())


@pytest.mark.parametrize("kind", [kind for kind in BLOCK_TYPES if kind != "iq4_nl"])
def test_nearest_values_are_those_of_gguf(kind):
    weight_OI = torch.randn(7, 96)
    made = gguf.GGMLQuantizationType[kind.upper()]
    expected = gguf.quants.quantize(weight_OI.numpy(), made)
    assert np.array_equal(BlockMatrix.nearest(weight_OI, kind).raw_OB, expected)


def test_nearest_values_of_uneven_levels():
    weight_OI = torch.randn(4, 64)
    matrix = BlockMatrix.nearest(weight_OI, "iq4_nl")
    assert torch.equal(read(matrix), matrix.dequantized())
    levels = torch.tensor(BLOCK_TYPES["iq4_nl"].levels).float()
    scales_OI = matrix.scale_OG.float().repeat_interleave(32, 1)
    distance = (weight_OI[..., None] - scales_OI[..., None] * levels).abs().amin(-1)
    assert torch.allclose((matrix.dequantized() - weight_OI).abs(), distance)


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_zeros_stay_zeros(kind):
    assert not BlockMatrix.nearest(torch.zeros(2, 64), kind).dequantized().any()


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_codes_are_those_of_the_nearest_levels(kind):
    levels = torch.tensor(BLOCK_TYPES[kind].levels).float()
    ratio = torch.linspace(-140.3, 140.7, 999)
    expected = (ratio[:, None] - levels).abs().argmin(1)
    assert torch.equal(nearest_codes(kind, ratio.clone()).long(), expected)


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_rows_in_another_order_and_added_rows(kind):
    matrix, other = random_blocks(kind), random_blocks(kind, rows=2, seed=1)
    order_O = torch.tensor([4, 0, 2])
    assert torch.equal(matrix.in_order(order_O).dequantized(), matrix.dequantized()[order_O])
    both = torch.cat([matrix.dequantized(), other.dequantized()])
    assert torch.equal(matrix.followed_by(other).dequantized(), both)


def test_values_are_computed_as_a_reader_does():
    matrix = random_blocks("q4_1")
    found = values_of("q4_1", matrix.codes_OI, matrix.scale_OG, matrix.offset_OG)
    assert torch.equal(found, matrix.dequantized()) and found.dtype == torch.float32
