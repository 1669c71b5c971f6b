"""Send all values in 8 or 4 bits, with a scale for each block of values.

A block holds integers from ``-L`` to ``L`` (127 or 7) times its scale: the largest magnitude
divided by ``L``. The scale is a bfloat16, because changes of weights may be far smaller than what
float16 can express, and it is rounded up, so that no value is cut off: the error of a value is at
most half a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from lacy.deltas.codec import Codec
from lacy.deltas.frame import Parts, Shapes, count_of
from lacy.errors import LacyError


@dataclass(frozen=True, slots=True)
class BlockCodec(Codec):
    """Integers with a scale per block.

    Args:
        bits: 8 or 4.
        block: number of values with one scale; even. The last block of a tensor is filled up.
    """

    bits: Literal[8, 4] = 4
    block: int = 64

    @property
    def name(self) -> str:
        """``int4/64``: bits and values per block."""
        return f"int{self.bits}/{self.block}"

    @property
    def _level(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def parts(self, shapes: Shapes) -> Parts:
        """A scale per block, and the integers."""
        blocks = sum(self._blocks(shape) for shape in shapes.values())
        return {
            "scales": (torch.bfloat16, blocks),
            "codes": (torch.uint8, blocks * self.block * self.bits // 8),
        }

    def _blocks(self, shape: tuple[int, ...]) -> int:
        return -(-count_of(shape) // self.block)

    def _pack(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = [pad(t.flatten(), (0, -t.numel() % self.block)) for t in delta.values()]
        values_NK = torch.cat(rows).view(-1, self.block)
        scale_N1 = _rounded_up(values_NK.abs().amax(-1, keepdim=True), self._level)
        divisor_N1 = torch.where(scale_N1 > 0, scale_N1, 1).float()
        codes_NK = (values_NK / divisor_N1).round().clamp(-self._level, self._level)
        codes_NK = (codes_NK + self._level).to(torch.uint8)
        if self.bits == 4:
            codes_NK = codes_NK[:, ::2] | codes_NK[:, 1::2] << 4
        return {"scales": scale_N1.flatten(), "codes": codes_NK.flatten()}

    def _unpack(self, parts: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        codes_NK = parts["codes"].view(-1, self.block * self.bits // 8)
        if self.bits == 4:
            codes_NK = torch.stack([codes_NK & 15, codes_NK >> 4], -1).flatten(1)
        if (codes_NK > 2 * self._level).any() or (parts["scales"] < 0).any():
            raise LacyError("E356", why="it has integers or scales out of range")
        values_NK = (codes_NK.float() - self._level) * parts["scales"].float()[:, None]
        found, first = {}, 0
        for name, shape in sorted(shapes.items()):
            last = first + self._blocks(shape)
            flat = values_NK[first:last].flatten()[: count_of(shape)]
            found[name], first = flat.view(shape).clone(), last
        return found


def _rounded_up(largest_N1: Tensor, level: int) -> Tensor:
    """Return the smallest bfloat16 numbers that, times ``level``, are not below the largest."""
    scale_N1 = (largest_N1 / level).bfloat16()
    short_N1 = scale_N1.double() * level < largest_N1.double()
    # The next larger bfloat16 has the next larger bits, for numbers that are not negative.
    return (scale_N1.view(torch.int16) + short_N1.to(torch.int16)).view(torch.bfloat16)
