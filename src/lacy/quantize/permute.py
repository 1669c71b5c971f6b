"""Shuffle the channels of a model without changing what it computes.

Weights that were quantized before lie on a grid of blocks, and rounding them again to the same grid
costs nothing. After a shuffle of channels, each block contains weights of many old blocks, so the
model is as hard to quantize as one that was never quantized: a control without training.

What is shuffled: the channels of the residual stream (embedding, norms, inputs and outputs of all
matrices), the neurons of each MLP, and within each head the channels of the values. In heads of 32
channels or fewer, the blocks of the attention's output matrix stay together.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.layerwise import Matrix, find_blocks
from lacy.model import Loaded, shape_of
from lacy.quantize.parts import tables_of

_READ = re.compile(r"\b([qkv]_proj|qkv_proj|c_attn|gate_proj|up_proj|gate_up_proj|c_fc)$")
"""Matrices whose inputs are channels of the residual stream."""
_WRITE = re.compile(r"\b(o_proj|down_proj|c_proj)$")
"""Matrices whose outputs are channels of the residual stream."""
_NEURONS = re.compile(r"\b(gate_proj|up_proj|c_fc)$")
"""Matrices whose outputs are the neurons of an MLP."""
_HEAD_NORM = re.compile(r"\b[qk]_norm\b")


@torch.no_grad()
def permute_channels(loaded: Loaded, seed: int = 0) -> Loaded:
    """Shuffle the channels of a model; its logits stay equal up to rounding.

    Args:
        loaded: a model of an architecture that can be written as GGUF; changed in place.
        seed: determines the order.

    Returns:
        The same object.

    Raises:
        LacyError: E90, an architecture with matrices that are not known here.
    """
    model: Any = loaded.model
    where = loaded.path or loaded.name or "memory"
    shape_of(model, where)
    random = torch.Generator().manual_seed(seed)
    tables = tables_of(model)
    width = next(iter(tables.values())).shape[1]
    channels_D = torch.randperm(width, generator=random)
    for table in tables.values():
        table.copy_(table[:, channels_D])
    if hasattr(model.base_model, "wpe"):
        model.base_model.wpe.weight.copy_(model.base_model.wpe.weight[:, channels_D])
    inner = {parameter for block in find_blocks(model) for parameter in block.module.parameters()}
    for parameter in model.parameters():  # the final norm
        if parameter not in inner and parameter.shape == (width,):
            parameter.copy_(parameter[channels_D])
    for block in find_blocks(model):
        matrices = {m.name.removeprefix(f"{block.name}."): m for m in block.matrices}
        if unknown := [n for n in matrices if not (_READ.search(n) or _WRITE.search(n))]:
            why = f"the role of its matrix {unknown[0]} is not known"
            raise LacyError("E90", path=where, to="shuffled channels", why=why)
        for name, parameter in block.module.named_parameters():
            of_matrix = any(name.startswith(f"{matrix}.") for matrix in matrices)
            if parameter.shape == (width,) and not of_matrix and not _HEAD_NORM.search(name):
                parameter.copy_(parameter[channels_D])
        for name, matrix in matrices.items():
            if _READ.search(name):
                matrix.set_weight(matrix.weight_OI[:, channels_D])
            else:
                _reorder_outputs(matrix, channels_D)
        _permute_neurons(matrices, random)
        _permute_values(model.config, matrices, random)
    return loaded


def _permute_neurons(matrices: dict[str, Matrix], random: torch.Generator) -> None:
    """Shuffle the neurons of an MLP: rows of its first matrices, columns of its last one."""
    last = next(m for name, m in matrices.items() if name.endswith(("down_proj", "mlp.c_proj")))
    count = last.weight_OI.shape[1]
    order_N = torch.randperm(count, generator=random)
    last.set_weight(last.weight_OI[:, order_N])
    for name, matrix in matrices.items():
        if name.endswith("gate_up_proj"):
            _reorder_outputs(matrix, torch.cat([order_N, order_N + count]))
        elif _NEURONS.search(name):
            _reorder_outputs(matrix, order_N)


def _permute_values(config: Any, matrices: dict[str, Matrix], random: torch.Generator) -> None:
    """Shuffle the channels of the values in each head: rows that make them, columns that read them.

    Query heads that share keys and values share the order.
    """
    out = next(m for name, m in matrices.items() if name.endswith(("o_proj", "attn.c_proj")))
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size = out.weight_OI.shape[1] // heads
    orders = [torch.randperm(size, generator=random) for _ in range(shared)]
    rows_V = torch.cat([n * size + order for n, order in enumerate(orders)])
    readers = [orders[head // (heads // shared)] + head * size for head in range(heads)]
    out.set_weight(out.weight_OI[:, torch.cat(readers)])
    makers = ("v_proj", "qkv_proj", "c_attn")
    values = next(m for name, m in matrices.items() if name.endswith(makers))
    before = len(values.weight_OI) - len(rows_V)  # queries and keys, if in the same matrix
    _reorder_outputs(values, torch.cat([torch.arange(before), before + rows_V]))


def _reorder_outputs(matrix: Matrix, order_O: Tensor) -> None:
    matrix.set_weight(matrix.weight_OI[order_O])
    bias: Any = getattr(matrix.module, "bias", None)
    if bias is not None:
        bias.copy_(bias[order_O])
