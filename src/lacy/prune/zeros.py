"""Keep zeros of pruned weights at zero while a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.layerwise import find_blocks
from lacy.train import FitState

SPARSE = 0.25
"""A matrix with at least this share of zeros was pruned; other zeros are chance."""


def sparse_masks(model: Any) -> dict[str, Tensor]:
    """Return the masks of the nonzero weights of all pruned matrices, by the parameter's name.

    The masks have the shape of the parameters. A matrix was pruned if at least a quarter of its
    weights is zero.
    """
    linear = {id(m.module.weight) for block in find_blocks(model) for m in block.matrices}
    found = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in linear:
            nonzero = parameter.detach() != 0
            if float(nonzero.float().mean()) <= 1 - SPARSE:
                found[name] = nonzero
    return found


@contextmanager
def holding_zeros(state: FitState) -> Iterator[int]:
    """Within the context, every optimizer step leaves the zeros of pruned matrices at zero.

    Args:
        state: the state of ``lacy.train.fit``, before or between steps.

    Yields:
        Number of the held zeros.

    Raises:
        LacyError: E295, adapters are trained, which fill the zeros when they are merged.
    """
    masks = sparse_masks(state.model)
    parameters = dict(state.model.named_parameters())
    if masks and any("lora_" in name for name, p in parameters.items() if p.requires_grad):
        raise LacyError("E295", matrices=len(masks))
    trained = [(parameters[n], mask) for n, mask in masks.items() if parameters[n].requires_grad]

    def hold(*_: Any) -> None:
        _apply(trained)

    hooks = [optimizer.register_step_post_hook(hold) for optimizer in state.optimizers]
    try:
        yield sum(int((~mask).sum()) for _, mask in trained)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _apply(masks: list[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, mask in masks:
        parameter.masked_fill_(~mask, 0.0)
