"""Switch inputs of a matrix off, let the others make up for it, and cut tensors to what remains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lacy.layerwise import Matrix

DAMPING = 0.01
"""Share of the mean diagonal of the Hessian that is added to it, as in GPTQ and SparseGPT."""


def contributions(weight_OI: Tensor, squares_I: Tensor) -> Tensor:
    """Return for each input the squared norm of what it adds to the output, over all texts."""
    return weight_OI.double().square().sum(0) * squares_I


def group_contribution(weight_OI: Tensor, hessian_II: Tensor, columns: Tensor) -> float:
    """Return the squared norm of what several inputs together add to the output."""
    part_OG = weight_OI[:, columns].double()
    return float(((part_OG @ hessian_II[columns][:, columns]) * part_OG).sum())


def compensated(weight_OI: Tensor, hessian_II: Tensor, kept: Tensor) -> Tensor:
    """Return the weights of the kept inputs that come closest to the output of all inputs.

    With removed inputs R and kept inputs K, ``W_K + W_R H_RK (H_KK + damping)^-1``: what the kept
    inputs can predict of the removed ones is added to their weights. The damping pulls towards
    the original weights, so inputs that say nothing about others change nothing.

    Args:
        weight_OI: the weights.
        hessian_II: sum of ``x @ x.T`` over the inputs.
        kept: positions of the kept inputs.
    """
    weight_OI = weight_OI.double()
    removed = _others(kept, len(hessian_II))
    damped_KK = hessian_II[kept][:, kept].clone()
    # A very small number more, so that inputs that were always 0 can be solved for.
    damped_KK.diagonal().add_(DAMPING * float(hessian_II.diagonal().mean()) + 1e-12)
    target_KO = hessian_II[kept][:, removed] @ weight_OI[:, removed].T
    return weight_OI[:, kept] + torch.cholesky_solve(target_KO, torch.linalg.cholesky(damped_KK)).T


def switch_off(matrix: Matrix, kept: Tensor, hessian_II: Tensor | None) -> None:
    """Set the weights of all other inputs to zero; with a Hessian, the kept ones make up for it."""
    weight_OI = matrix.weight_OI
    new_OI = torch.zeros_like(weight_OI)
    if hessian_II is None:
        new_OI[:, kept] = weight_OI[:, kept]
    else:
        new_OI[:, kept] = compensated(weight_OI, hessian_II, kept).to(weight_OI)
    matrix.set_weight(new_OI)


def switch_off_outputs(matrix: Matrix, kept: Tensor) -> None:
    """Set all other outputs of a matrix to zero."""
    weight_OI = matrix.weight_OI.clone()
    others = _others(kept, len(weight_OI))
    weight_OI[others] = 0
    matrix.set_weight(weight_OI)
    bias: Any = getattr(matrix.module, "bias", None)
    if bias is not None:
        bias.data[others] = 0


def _others(kept: Tensor, size: int) -> Tensor:
    mask = torch.ones(size, dtype=torch.bool)
    mask[kept] = False
    return mask.nonzero().flatten()


@dataclass
class Cuts:
    """Which outputs and inputs of modules remain, by the module's name."""

    rows: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    """Factors of the weights of norms."""

    def applied(self, model: Any, *, shapes: bool = False) -> dict[str, Tensor]:
        """Return the model's tensors, cut to what remains.

        Args:
            model: the model.
            shapes: only their shapes matter; the tensors have no values and take no memory.
        """
        from transformers.pytorch_utils import Conv1D

        modules = dict(model.named_modules())
        state = {}
        for name, tensor in model.state_dict().items():
            tensor = tensor.to("meta") if shapes else tensor
            module, _, kind = name.rpartition(".")
            turned = isinstance(modules[module], Conv1D) and kind == "weight"
            tensor = tensor.T if turned else tensor
            if module in self.rows:
                tensor = tensor[self.rows[module].to(tensor.device)]
            if module in self.columns and kind == "weight":
                tensor = tensor[:, self.columns[module].to(tensor.device)]
            if module in self.scales and kind == "weight":
                tensor = tensor * self.scales[module]
            state[name] = (tensor.T if turned else tensor).contiguous()
        return state
