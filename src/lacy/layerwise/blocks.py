"""Find the transformer blocks of any causal model, and the weight matrices in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError

_LIST = re.compile(r"(?:^|\.)(?:h|layers?|blocks?)$")
"""Names of the list of blocks in models of ``transformers``."""


@dataclass(frozen=True)
class Matrix:
    """The weight matrix of a linear layer, always with one row per output.

    GPT-2 stores its matrices transposed (``Conv1D``); ``weight_OI`` and ``set_weight`` hide this.
    """

    name: str
    """Full name of the module, such as ``model.layers.0.mlp.up_proj``."""
    module: nn.Module

    @property
    def weight_OI(self) -> Tensor:
        """The weights, without a gradient; a view into the model."""
        weight: Tensor = self.module.weight.detach()  # type: ignore[operator,union-attr,assignment]
        return weight.T if _is_transposed(self.module) else weight

    @torch.no_grad()
    def set_weight(self, weight_OI: Tensor) -> None:
        """Replace the weights in place; dtype and device of the model are kept."""
        self.weight_OI.copy_(weight_OI)


@dataclass(frozen=True)
class Block:
    """A transformer block: a module that maps hidden states to hidden states."""

    index: int
    name: str
    """Its name in the model, such as ``model.layers.0``."""
    module: nn.Module

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The weight matrices of its linear layers, in the order of the model."""
        return tuple(_matrices(self.name, self.module))


def find_blocks(model: Any) -> tuple[Block, ...]:
    """Return the transformer blocks of a causal model, in order.

    Args:
        model: a model of ``transformers``.

    Raises:
        LacyError: E281, no list of blocks is found, or they contain no linear layer.
    """
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and _LIST.search(name)
    ]
    if not lists:
        raise LacyError("E281", architecture=type(model).__name__, why="no list of blocks is found")
    name, found = max(lists, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))
    blocks = tuple(Block(n, f"{name}.{n}", module) for n, module in enumerate(found))
    if not any(block.matrices for block in blocks):
        why = "its blocks contain no linear layer"
        raise LacyError("E281", architecture=type(model).__name__, why=why)
    return blocks


def _matrices(prefix: str, block: nn.Module) -> Iterator[Matrix]:
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear) or _is_transposed(module):
            yield Matrix(f"{prefix}.{name}", module)


def _is_transposed(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)
