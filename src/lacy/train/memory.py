"""Estimate the memory of training any model, from its config alone.

The model is built and run on *fake* tensors, which have shapes but no numbers, so this takes
seconds and no memory. Autograd reports each tensor that it would keep for the backward pass, so the
estimate follows from architecture and depth, without a formula for each family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model import Memory, head_weight
from lacy.train.flops import Work
from lacy.train.processes import rows_at_once
from lacy.train.trained import freeze

if TYPE_CHECKING:
    from pathlib import Path

    from lacy.train.config import TrainConfig

HEAD_ROWS, KEPT = 128, 64 << 20
"""Rows of logits that exist at once, and bytes of kept probabilities (``objective.fused``)."""


@dataclass(frozen=True, slots=True)
class Traced:
    """Sizes of a training run, found without loading the weights."""

    parameters: int
    trained: int
    """Parameters with a gradient, including adapters."""
    memory: Memory
    work: Work


def trace(
    place: Path, config: TrainConfig, *, vocabulary: int, context: int, bf16: bool
) -> Traced | None:
    """Return the sizes of training the model in a folder; None if it cannot be traced.

    Args:
        place: the model's folder; only its ``config.json`` is read.
        config: the settings.
        vocabulary: number of tokens including ``<CALL>``.
        context: tokens per row.
        bf16: the body runs in bfloat16.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoConfig, AutoModelForCausalLM

    rows = rows_at_once(config)
    try:
        shape = AutoConfig.from_pretrained(place, trust_remote_code=False)
        shape.get_text_config().vocab_size = vocabulary
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(
                shape, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False
            )
            parameters = sum(p.numel() for p in model.parameters())
            work = Work.of_model(model, context)
            freeze(model, config, str(place))
        model.train()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        whole_head = head_weight(model).numel() if config.depth == "full" else 0
        with FakeTensorMode():
            activations = _kept_bytes(model.base_model, rows, context, bf16=bf16)
    except LacyError:
        raise
    except Exception:  # architectures differ in what they need; an estimate is not worth a failure
        return None
    head = 2 * HEAD_ROWS * vocabulary * 4 + KEPT + 2 * 4 * whole_head
    if bf16:  # the head in bfloat16, and a chunk of its logits before and after the loss
        head += 2 * work.head + 2 * 2 * HEAD_ROWS * vocabulary
    matrices = work.matrices if config.optimizer == "muon" and config.depth == "full" else 0
    memory = Memory(
        weights=4 * parameters,
        gradients=4 * trained,
        optimizer=4 * (2 * trained - matrices),
        activations=activations,
        head=head,
    )
    return Traced(parameters, trained, memory, work)


def trained_share(model: Any) -> tuple[float, float]:
    """Return two shares of the weights: those gradients pass through, and those that are trained.

    Gradients pass through all weights from the first trained one on (in the model's order).
    """
    sizes = [(p.numel() * (p.ndim > 1), p.requires_grad) for p in model.parameters()]
    whole = max(1, sum(size for size, _ in sizes))
    first = next((n for n, (_, trained) in enumerate(sizes) if trained), len(sizes))
    return (
        sum(size for size, _ in sizes[first:]) / whole,
        sum(size for size, trained in sizes if trained) / whole,
    )


def _kept_bytes(body: Any, rows: int, context: int, *, bf16: bool) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, without the weights."""
    state = {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).requires_grad_(tensor.requires_grad)
        for name, tensor in (*body.named_parameters(), *body.named_buffers())
    }
    weights = {tensor.untyped_storage()._cdata for tensor in state.values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    ids_BT = torch.zeros(rows, context, dtype=torch.int64)
    positions_BT = torch.arange(context).expand(rows, context)
    # A mask of packed documents; transformers would look for borders in positions, which are fake.
    mask_B1TT = torch.ones(rows, 1, context, context, dtype=torch.bool)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        torch.func.functional_call(
            body,
            state,
            kwargs={
                "input_ids": ids_BT, "position_ids": positions_BT, "attention_mask": mask_B1TT,
                "use_cache": False,
            },
        )  # fmt: skip
    return sum(
        tensor.untyped_storage().nbytes()
        for storage, tensor in kept.items()
        if storage not in weights
    )
