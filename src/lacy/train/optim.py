"""Optimizers: which parameters decay, which go to Muon, and their state as named tensors.

State is kept by parameter *name*, in safetensors, so that a checkpoint holds no pickle and does not
depend on the order of parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.train.config import TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALAR = "@"
"""Marks numbers of an optimizer's state (a step count) that were no tensors."""


def make_optimizers(model: PreTrainedModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of the body and AdamW for the rest.

    Weight decay falls on matrices alone: not on embeddings and head (they would shrink rows of
    rare tokens between their updates), norms and biases.
    """
    tables = {id(module.weight) for module in _tables(model)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and id(p) not in tables]
    rest = [p for p in trained if p.ndim < 2 or id(p) in tables]
    if config.optimizer == "muon":
        others = [{"params": rest, "weight_decay": 0.0}]
        muon = torch.optim.Muon(
            matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",  # so that AdamW's learning rate holds for both
        )
        return [muon, _adamw(others, config)]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [_adamw([group for group in groups if group["params"]], config)]


def _adamw(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=1e-8, fused=True)


def _tables(model: PreTrainedModel) -> list[Any]:
    """Embeddings, head, and a table of positions."""
    found = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    return [*found, head] if head is not None else found


def set_lr(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Give every parameter group this learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def state_tensors(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The state of all optimizers, ``{parameter}/{entry}`` -> tensor (copies on the CPU)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for parameter, entries in optimizer.state.items():
            for entry, value in entries.items():
                key = f"{names[id(parameter)]}/{entry}"
                if isinstance(value, Tensor):
                    found[key] = value.detach().cpu().contiguous().clone()
                else:
                    found[key + SCALAR] = torch.tensor(value, dtype=torch.float64)
    return found


def load_state_tensors(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict[str, Tensor]
) -> None:
    """Go on where ``state_tensors`` was taken.

    Raises:
        LacyError: E49 if the state is of another model or optimizer.
    """
    by_parameter: dict[str, dict[str, Any]] = {}
    for key, tensor in state.items():
        name, entry = key.rsplit("/", 1)
        value: Any = tensor
        if entry.endswith(SCALAR):
            entry, value = entry.removesuffix(SCALAR), tensor.item()
        by_parameter.setdefault(name, {})[entry] = value
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                entries = by_parameter.pop(names[id(parameter)], None)
                if entries is None:
                    continue
                optimizer.state[parameter] = {
                    entry: _placed(value, parameter) for entry, value in entries.items()
                }
    if by_parameter:
        raise LacyError(
            "E49",
            path="trainer.safetensors",
            why=f"it holds optimizer state of {next(iter(by_parameter))!r}, which is not trained",
            do="go on with the settings that the checkpoint was written with",
        )


def _placed(value: Any, parameter: Tensor) -> Any:
    """A state tensor on its parameter's device, where the fused kernels want even the step."""
    return value.to(parameter.device) if isinstance(value, Tensor) else value
