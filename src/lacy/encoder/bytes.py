"""Store an encoder's weights in one byte each, and read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""Suffix of the name of a matrix's scales, one per row."""


def quantised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with every matrix as int8 and a float32 scale per row."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 2:
            found[name] = tensor.float().contiguous()
            continue
        scale = tensor.float().abs().amax(1).clamp(min=1e-8) / 127.0
        found[name] = torch.round(tensor.float() / scale[:, None]).to(torch.int8).contiguous()
        found[name + SCALE] = scale
    return found


def dequantised(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo ``quantised``, but for the rounding."""
    return {
        name: tensor.float() * stored[name + SCALE][:, None] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }
