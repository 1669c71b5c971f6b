"""Send all values in a floating-point type: f32 (nothing is lost), f16 or bf16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lacy.deltas.codec import Codec
from lacy.deltas.frame import Parts, Shapes, all_finite, count_of
from lacy.errors import LacyError

PlainKind = Literal["f32", "f16", "bf16"]

_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class PlainCodec(Codec):
    """All values, one after the other.

    Args:
        kind: the type of the numbers. OpenDiLoCo (2407.07852) found f16 to lose nothing.
    """

    kind: PlainKind = "f32"

    @property
    def name(self) -> str:
        """The type."""
        return self.kind

    def parts(self, shapes: Shapes) -> Parts:
        """One part with all values."""
        return {"values": (_TYPES[self.kind], sum(count_of(s) for s in shapes.values()))}

    def _pack(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = torch.cat([tensor.flatten() for tensor in delta.values()]).to(_TYPES[self.kind])
        if not all_finite(values):
            raise LacyError("E355", why=f"a value is too large for {self.kind}")
        return {"values": values}

    def _unpack(self, parts: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        ordered = sorted(shapes.items())
        pieces = parts["values"].float().split([count_of(shape) for _, shape in ordered])
        return {
            name: piece.view(shape).clone()
            for (name, shape), piece in zip(ordered, pieces, strict=True)
        }
