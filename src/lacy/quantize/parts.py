"""What of a model is quantized: the matrices of its blocks, its embedding and its head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.layerwise import Matrix, find_blocks
from lacy.model import BLOCK, Loaded, shape_of


def tables_of(model: Any) -> dict[str, Tensor]:
    """Return embedding and head by their names in the state dict; a tied pair once."""
    wanted = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    return {name: p for name, p in model.named_parameters() if any(p is w for w in wanted)}


def matrices_of(model: Any) -> dict[str, Matrix]:
    """Return the matrices of the blocks by the names of their weights in the state dict."""
    return {f"{m.name}.weight": m for block in find_blocks(model) for m in block.matrices}


def sizes_of(model: Any) -> dict[str, tuple[int, int]]:
    """Return the rows and columns of every matrix that is quantized."""
    tables = {name: (len(weight), weight.shape[1]) for name, weight in tables_of(model).items()}
    inner = {name: tuple(m.weight_OI.shape) for name, m in matrices_of(model).items()}
    return {**tables, **inner}  # type: ignore[dict-item]


def check_quantize(loaded: Loaded) -> None:
    """Check the shapes of a model that is to be quantized to blocks and written as GGUF.

    Args:
        loaded: the model; it may be the structure of a smaller one (``lacy.prune.check_width``).

    Raises:
        LacyError: E90, llama.cpp computes this architecture differently or not at all; E281, no
            blocks are found; E282, rows are no multiple of a block.
    """
    where = loaded.path or loaded.name or "memory"
    shape_of(loaded.model, where)
    odd = {name: size for name, (_, size) in sizes_of(loaded.model).items() if size % BLOCK}
    if odd:
        name, size = next(iter(odd.items()))
        raise LacyError("E282", path=where, name=name, size=size, count=len(odd))


def require_quantizable(loaded: Loaded) -> None:
    """Check before the work starts that a model can be quantized to blocks and written as GGUF.

    Raises:
        LacyError: E133, a weight is not finite; and the errors of ``check_quantize``.
    """
    check_quantize(loaded)
    where = loaded.path or loaded.name or "memory"
    for name, parameter in loaded.model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise LacyError("E133", path=where, name=name)
