"""Floating point operations per token: by formula, and counted while the model runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lacy.train import Work


def _attention(query: Any, key: Any, value: Any, *args: Any, **more: Any) -> int:
    """Return the operations of attention from the shapes of its inputs."""
    shape = (*query[:2], *value[2:])  # heads that share keys and values
    return int(sdpa_flop_count(query, (*query[:2], *key[2:]), shape))


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
"""Products that torch's counter does not know."""


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations of a forward pass per token; a multiplication and an addition are two."""

    formula: float
    """Two per weight of every matrix and of the head, and those of attention (see ``Work``)."""
    two_n: float
    """Two per weight outside the embedding, with the head: the usual rule without attention."""
    counted: float
    """By torch's ``FlopCounterMode``, from the shapes of all products that were computed."""
    context: int
    """Number of tokens that were read together."""


@torch.inference_mode()
def count_operations(model: Any, context: int) -> Operations:
    """Count the operations of reading a text.

    Args:
        model: a causal model of ``transformers``.
        context: length of the text in tokens.
    """
    work = Work.of_model(model, context)
    ids_1T = torch.zeros((1, context), dtype=torch.int64, device=model.device)
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with counter:
        model(input_ids=ids_1T, use_cache=False)
    return Operations(
        formula=float(work.forward),
        two_n=2.0 * (work.matrices + work.head),
        counted=counter.get_total_flops() / context,
        context=context,
    )
