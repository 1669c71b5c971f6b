"""Make optimizers, and convert their state to named tensors and back.

The state is stored by parameter *name* in safetensors, so checkpoints contain no pickle and do not
depend on the order of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.train.head import ROW
from lacy.train.sharding import is_sharded, split_like, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALAR = "@"
"""Suffix of entries that are numbers, not tensors (a step count)."""


def make_optimizers(
    model: PreTrainedModel,
    *,
    kind: Literal["adamw", "muon"] = "adamw",
    lr: float = 3e-3,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.95),
) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for the body's matrices and AdamW for the rest.

    Weight decay applies only to the body's matrices: in embeddings and head, it would shrink the
    rows of rare tokens between their updates. Norms and biases do not decay either.
    """
    tables = {id(module.weight) for module in _tables(model)}
    tables |= {id(p) for name, p in model.named_parameters() if ROW in name}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and id(p) not in tables]
    rest = [p for p in trained if p.ndim < 2 or id(p) in tables]
    if kind == "muon":
        others = [{"params": rest, "weight_decay": 0.0}]
        muon = torch.optim.Muon(
            matrices,
            lr=lr,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",  # so that both optimizers use the same learning rate
        )
        return [muon, _adamw(others, lr, betas)]
    groups = [  # fused kernels take either split weights or whole ones
        {"params": [p for p in params if is_sharded(p) == split], "weight_decay": decay}
        for params, decay in ((matrices, weight_decay), (rest, 0.0))
        for split in (False, True)
    ]
    return [_adamw([group for group in groups if group["params"]], lr, betas)]


def _adamw(
    groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)


def _tables(model: PreTrainedModel) -> list[Any]:
    """Return embeddings, head and position table."""
    found = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    return [*found, head] if head is not None else found


def set_lr(optimizers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def state_tensors(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """Return the state of all optimizers as CPU copies by the name ``{parameter}/{entry}``.

    If weights are split over processes, all call this together.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for parameter, entries in optimizer.state.items():
            for entry, value in entries.items():
                key = f"{names[id(parameter)]}/{entry}"
                if isinstance(value, Tensor):
                    found[key] = whole(value.detach()).cpu().contiguous().clone()
                else:
                    found[key + SCALAR] = torch.tensor(value, dtype=torch.float64)
    return found


def load_state_tensors(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], state: dict[str, Tensor]
) -> None:
    """Restore the state returned by ``state_tensors``.

    Raises:
        LacyError: E49, the state belongs to another model or optimizer.
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
            why=f"it has optimizer state of {next(iter(by_parameter))!r}, which is not trained",
            do="resume with the settings that the checkpoint was written with",
        )


def _placed(value: Any, parameter: Tensor) -> Any:
    """Move a state tensor to its parameter's device; fused kernels need even the step there.

    If the parameter is split over processes, so is its state.
    """
    if not isinstance(value, Tensor):
        return value
    return split_like(value.to(parameter.device), parameter)
