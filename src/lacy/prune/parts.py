"""Find the parts of a block that width pruning removes: heads, neurons, residual channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.layerwise import Block, Matrix, find_blocks

_MLPS = (
    (("gate_proj", "up_proj"), "down_proj"),  # Llama, Qwen, Mistral, Gemma
    (("gate_up_proj",), "down_proj"),  # Phi-3: both in one matrix, one after the other
    (("up_proj",), "down_proj"),
    (("c_fc",), "mlp.c_proj"),  # GPT-2, GPT-Neo
    (("dense_h_to_4h",), "dense_4h_to_h"),  # GPT-NeoX
    (("fc1",), "fc2"),
)
"""Ends of the names of the matrices that write and read the neurons of a block."""

_SIZES = ("intermediate_size", "n_inner", "ffn_dim")
"""Names of the number of neurons in configs."""


@dataclass(frozen=True)
class Neurons:
    """The neurons of one block."""

    writers: tuple[Matrix, ...]
    """Matrices whose outputs are neurons; each neuron may be written by several rows."""
    reader: Matrix
    """The matrix whose inputs are neurons."""

    @property
    def count(self) -> int:
        """Number of neurons."""
        return int(self.reader.weight_OI.shape[1])

    def rows(self, writer: Matrix, kept: Tensor) -> Tensor:
        """Return the rows of a writer that belong to neurons."""
        repeats = writer.weight_OI.shape[0] // self.count
        return torch.cat([kept + n * self.count for n in range(repeats)])


@dataclass(frozen=True)
class Heads:
    """The attention heads of one block; query heads ``g*G .. g*G+G-1`` share key-value head g."""

    query: Matrix
    key: Matrix
    value: Matrix
    output: Matrix
    heads: int
    kv_heads: int
    size: int
    """Numbers per head."""

    def columns(self, heads: Sequence[int]) -> Tensor:
        """Return the positions of the numbers of these heads."""
        return torch.cat([torch.arange(h * self.size, (h + 1) * self.size) for h in heads])


def find_neurons(model: Any) -> tuple[str, list[Neurons]]:
    """Return the config's name of the number of neurons, and the neurons of every block.

    Raises:
        LacyError: E291, a block has no plain MLP.
    """
    config = model.config.to_dict()
    field = next((name for name in _SIZES if name in config), None)
    if field is None:
        raise _unsupported(model, "its config has no number of neurons")
    return field, [_neurons(model, block) for block in find_blocks(model)]


def _neurons(model: Any, block: Block) -> Neurons:
    for writers, reader in _MLPS:
        found = [_named(block, name) for name in (*writers, reader)]
        if all(len(matrices) == 1 for matrices in found):
            first = [matrices[0] for matrices in found]
            return Neurons(tuple(first[:-1]), first[-1])
    raise _unsupported(model, f"{block.name} has no plain MLP (or several: experts)")


def find_heads(model: Any) -> list[Heads]:
    """Return the attention heads of every block.

    Raises:
        LacyError: E291, a block has no separate matrices for query, key and value, or the config
            has no size of heads that is independent of the width.
    """
    config = model.config
    fields = config.to_dict()
    if not {"num_attention_heads", "num_key_value_heads"} <= fields.keys():
        raise _unsupported(model, "its heads are as many as fit into its width")
    found = []
    for block in find_blocks(model):
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        parts = [_named(block, name) for name in names]
        if any(len(matrices) != 1 for matrices in parts):
            why = f"{block.name} has no separate matrices for query, key, value and output"
            raise _unsupported(model, why)
        query, key, value, output = (matrices[0] for matrices in parts)
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        size = query.weight_OI.shape[0] // heads
        found.append(Heads(query, key, value, output, heads, kv_heads, size))
    return found


def norms_of(model: Any, width: int) -> Iterator[tuple[str, Any]]:
    """Yield name and module of each norm of the residual stream."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        of_heads = name.endswith(("q_norm", "k_norm"))
        if (
            "Norm" in type(module).__name__
            and not of_heads
            and getattr(weight, "shape", 0) == (width,)
        ):
            yield name, module


def _named(block: Block, name: str) -> list[Matrix]:
    return [matrix for matrix in block.matrices if matrix.name.endswith(f".{name}")]


def _unsupported(model: Any, why: str) -> LacyError:
    return LacyError("E291", architecture=type(model).__name__, why=why)
