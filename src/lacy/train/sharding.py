"""Split the weights of a model's layers over the processes (``--shard``, torch's FSDP2).

Each process keeps a part of every weight of the layers, with its gradient and optimizer state. A
layer's weights are gathered for its forward and backward pass (ZeRO stage 3, Rajbhandari et al.,
arXiv 1910.02054). Embeddings, head and final norm stay whole in every process, because the loss
reads the head itself; their gradients are averaged here. Checkpoints contain whole tensors, so a
run may go on with or without splitting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make_mesh(device: torch.device, count: int) -> Any:
    """Return torch's description of all processes of a run; all call this together."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (count,))


def shard_layers(model: PreTrainedModel, mesh: Any) -> None:
    """Split the weights of each layer; all other parameters stay whole.

    Raises:
        LacyError: E51, the family of the model does not say what its layers are.
    """
    from torch.distributed.fsdp import fully_shard

    kinds = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if not layers:
        why = f"models of the type {type(model).__name__} have no layers that can be split"
        raise LacyError("E51", why=why, do="leave out --shard")
    for layer in layers:
        fully_shard(layer, mesh=mesh)


def is_sharded(tensor: Any) -> bool:
    """True if a process keeps only a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the parts of all processes; all call this together."""
    found: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the whole weights of a model on the CPU, by name; all processes call this together."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in model.state_dict().items()}


def split_like(value: Tensor, parameter: Any) -> Tensor:
    """Return this process's part of a tensor that every process has, split as a parameter is."""
    if not is_sharded(parameter) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def average_rest(parameters: Sequence[nn.Parameter]) -> None:
    """If some parameters are split, average the gradients of the others over all processes."""
    if not any(map(is_sharded, parameters)):
        return
    for parameter in parameters:
        if parameter.grad is not None and not is_sharded(parameter):
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def clip_gradients(parameters: list[nn.Parameter], most: float) -> Tensor:
    """Scale the gradients to a norm of at most ``most``; return the norm before.

    Args:
        parameters: the trained parameters, split or not.
        most: maximum norm; 0 for no limit.
    """
    limit = most or math.inf
    split = [p for p in parameters if is_sharded(p)]
    if not split:
        return nn.utils.clip_grad_norm_(parameters, limit)
    parts = (split, [p for p in parameters if not is_sharded(p)])
    norms = [
        whole(nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]))
        for part in parts
    ]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    for part in parts:
        nn.utils.clip_grads_with_norm_(part, limit, norm)
    return norm
