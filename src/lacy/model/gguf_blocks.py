"""Weights in blocks of 32 with a scale each, as llama.cpp stores and reads them.

A row of a matrix is a sequence of blocks along the input. A weight is ``scale * level``, plus the
block's offset for types that have one; the level is one of at most 255 fixed numbers, scale and
offset are float16. ``BlockMatrix`` is exactly what the file contains: ``dequantized`` equals, bit
by bit, what ``gguf`` reads from ``raw``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy._require import require_package

BLOCK = 32
"""Weights per block."""

BlockKind = Literal["q4_0", "iq4_nl", "q4_1", "q5_0", "q5_1", "q8_0"]
"""Names of the block types, from few bits to many."""

_NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""Levels of ``iq4_nl`` (``kvalues_iq4nl`` in llama.cpp): closer together near zero."""

_SLICE = 1 << 22
"""Number of weights that are dequantized or packed at a time, to bound the memory."""


@dataclass(frozen=True)
class BlockType:
    """A block type of llama.cpp."""

    name: BlockKind
    levels: tuple[int, ...]
    """The levels in ascending order; a weight is stored as the index of its level."""
    offset: bool
    """True if each block has an offset."""
    bits: int
    """Bits of a stored weight."""

    @property
    def size(self) -> int:
        """Bytes of a block."""
        return 2 * (1 + self.offset) + BLOCK * self.bits // 8

    @property
    def bits_per_weight(self) -> float:
        """Bits per weight, with scale and offset."""
        return 8 * self.size / BLOCK

    @property
    def even(self) -> bool:
        """True if neighbouring levels differ by 1."""
        return self.levels[-1] - self.levels[0] == len(self.levels) - 1


BLOCK_TYPES: dict[BlockKind, BlockType] = {
    kind.name: kind
    for kind in (
        BlockType("q4_0", tuple(range(-8, 8)), False, 4),
        BlockType("iq4_nl", _NONLINEAR, False, 4),
        BlockType("q4_1", tuple(range(16)), True, 4),
        BlockType("q5_0", tuple(range(-16, 16)), False, 5),
        BlockType("q5_1", tuple(range(32)), True, 5),
        BlockType("q8_0", tuple(range(-127, 128)), False, 8),
    )
}
"""The block types, from few bits per weight to many."""


@dataclass(frozen=True)
class BlockMatrix:
    """A matrix of O rows and I = 32 G columns in blocks; G blocks per row."""

    kind: BlockKind
    codes_OI: Tensor
    """Index of each weight's level, uint8."""
    scale_OG: Tensor
    """float16."""
    offset_OG: Tensor | None = None
    """float16; None for types without offset."""

    @classmethod
    def nearest(cls, weight_OI: Tensor, kind: BlockKind) -> BlockMatrix:
        """Round a matrix to the nearest levels, with scales from the extremes of each block.

        The same bytes as those of ``gguf.quants.quantize`` (and of ``llama-quantize`` without an
        importance matrix); ``gguf`` does not write ``iq4_nl``.
        """
        if kind == "iq4_nl":
            return _nearest_nonlinear(weight_OI.float())
        gguf = require_package("gguf", "gguf", "GGUF")
        data = np.ascontiguousarray(weight_OI.detach().float().cpu().numpy())
        raw = gguf.quants.quantize(data, gguf.GGMLQuantizationType[kind.upper()])
        return cls.from_raw(raw, kind)

    @classmethod
    def from_raw(cls, raw_OB: NDArray[np.uint8], kind: BlockKind) -> BlockMatrix:
        """Read the bytes of a GGUF file, a row per output."""
        made, rows = BLOCK_TYPES[kind], len(raw_OB)
        blocks = raw_OB.reshape(-1, made.size)
        heads = np.ascontiguousarray(blocks[:, : 2 * (1 + made.offset)]).view(np.float16)
        scales = [
            torch.from_numpy(heads[:, n].reshape(rows, -1).copy()) for n in range(heads.shape[1])
        ]
        codes = _unpacked(blocks[:, 2 * (1 + made.offset) :], made.bits)
        return cls(kind, torch.from_numpy(codes.reshape(rows, -1)), *scales)

    @property
    def raw_OB(self) -> NDArray[np.uint8]:
        """The bytes of the matrix in a GGUF file, a row per output."""
        made, rows = BLOCK_TYPES[self.kind], len(self.codes_OI)
        heads = [self.scale_OG] if self.offset_OG is None else [self.scale_OG, self.offset_OG]
        parts = [np.ascontiguousarray(h.cpu().numpy()).reshape(-1, 1).view(np.uint8) for h in heads]
        parts.append(_packed(self.codes_OI.cpu().numpy().reshape(-1, BLOCK), made.bits))
        return np.concatenate(parts, axis=1).reshape(rows, -1)

    @property
    def bytes(self) -> int:
        """Size in a file."""
        return self.scale_OG.numel() * BLOCK_TYPES[self.kind].size

    def dequantized(self) -> Tensor:
        """Return the weights, float32 (O, I)."""
        rows = max(1, _SLICE // max(self.codes_OI.shape[1], 1))
        parts = [
            values_of(self.kind, c, s, o)
            for c, s, o in zip(
                self.codes_OI.split(rows),
                self.scale_OG.split(rows),
                [None] * len(self.codes_OI)
                if self.offset_OG is None
                else self.offset_OG.split(rows),
                strict=False,
            )
        ]
        return torch.cat(parts)

    def in_order(self, order_O: Tensor) -> BlockMatrix:
        """Return the matrix with its rows in another order."""
        offset = None if self.offset_OG is None else self.offset_OG[order_O]
        return BlockMatrix(self.kind, self.codes_OI[order_O], self.scale_OG[order_O], offset)

    def followed_by(self, other: BlockMatrix) -> BlockMatrix:
        """Return the matrix with the rows of another one of the same kind after its own."""
        codes_OI = torch.cat([self.codes_OI, other.codes_OI])
        scale_OG = torch.cat([self.scale_OG, other.scale_OG])
        if self.offset_OG is None or other.offset_OG is None:
            return BlockMatrix(self.kind, codes_OI, scale_OG)
        return BlockMatrix(
            self.kind, codes_OI, scale_OG, torch.cat([self.offset_OG, other.offset_OG])
        )


def values_of(
    kind: BlockKind, codes_OI: Tensor, scale_OG: Tensor, offset_OG: Tensor | None
) -> Tensor:
    """Return the weights of codes, float32 (O, I)."""
    levels = torch.tensor(BLOCK_TYPES[kind].levels, dtype=torch.float32, device=codes_OI.device)
    blocks_OGK = levels[codes_OI.long()].view(*scale_OG.shape, BLOCK)
    values_OGK = blocks_OGK * scale_OG.float()[..., None]
    if offset_OG is not None:
        values_OGK = values_OGK + offset_OG.float()[..., None]
    return values_OGK.view_as(codes_OI)


def nearest_codes(kind: BlockKind, ratio: Tensor) -> Tensor:
    """Return the indices of the levels that are nearest to ``(weight - offset) / scale``, uint8."""
    made = BLOCK_TYPES[kind]
    if made.even:
        return (ratio - made.levels[0]).round_().clamp_(0, len(made.levels) - 1).to(torch.uint8)
    levels = torch.tensor(made.levels, dtype=ratio.dtype, device=ratio.device)
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(ratio, middles).to(torch.uint8)


def _nearest_nonlinear(weight_OI: Tensor) -> BlockMatrix:
    blocks_OGK = weight_OI.view(len(weight_OI), -1, BLOCK)
    largest = blocks_OGK.abs().argmax(-1, keepdim=True)
    scale_OG = (blocks_OGK.gather(-1, largest)[..., 0] / _NONLINEAR[0]).half()
    inverse_OG = torch.where(scale_OG == 0, 0.0, 1 / scale_OG.float())
    codes_OGK = nearest_codes("iq4_nl", blocks_OGK * inverse_OG[..., None])
    return BlockMatrix("iq4_nl", codes_OGK.view_as(weight_OI), scale_OG)


def _packed(codes_NK: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return the bytes of codes: half a byte each, the fifth bits before them; or signed bytes."""
    if bits == 8:
        signed: Any = (codes_NK.astype(np.int16) - 127).astype(np.int8)
        return signed.view(np.uint8)
    low, half = codes_NK & 15, BLOCK // 2
    halves: Any = low[:, :half] | (low[:, half:] << 4)
    if bits == 4:
        return halves
    fifth = np.packbits(codes_NK >> 4, axis=-1, bitorder="little")
    found: NDArray[np.uint8] = np.concatenate([fifth, halves], axis=1)
    return found


def _unpacked(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return the codes (N, 32) that ``_packed`` made bytes of."""
    if bits == 8:
        signed: Any = np.ascontiguousarray(data).view(np.int8).astype(np.int16)
        shifted: NDArray[np.uint8] = (signed + 127).astype(np.uint8)
        return shifted
    halves: NDArray[np.uint8] = data[:, -BLOCK // 2 :]
    codes: Any = np.concatenate([halves & 15, halves >> 4], axis=1)
    if bits == 5:
        codes = codes | np.unpackbits(data[:, :4], axis=-1, bitorder="little") << 4
    found: NDArray[np.uint8] = codes
    return found
