"""Get the head of a model under training, and its ``<CALL>`` row if only this row is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy.model import head_weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROW = "trainable_tokens_delta"
"""Part of the name of the parameter in which ``peft`` holds single trained rows of a table."""


def frozen_head(model: PreTrainedModel) -> Tensor:
    """Return the output matrix head_VD; if only its last row is trained, the frozen matrix.

    The losses get the trained row beside it (``trained_row``), so that neither a copy of the matrix
    nor its gradient is needed.
    """
    output: Any = model.get_output_embeddings()
    if not hasattr(output, "token_adapter"):
        return head_weight(model)
    weight_VD: Tensor = output.original_module.weight
    return weight_VD


def trained_row(model: PreTrainedModel) -> Tensor | None:
    """Return the ``<CALL>`` row as row_D if it is trained without the rest of the head."""
    output: Any = model.get_output_embeddings()
    adapter = getattr(output, "token_adapter", None)
    if adapter is None:
        return None
    (rows,) = (getattr(adapter, ROW)[name] for name in output.active_adapters)
    return rows[-1]  # type: ignore[no-any-return]


def new_row(model: PreTrainedModel) -> bool:
    """True if the ``<CALL>`` row is untrained: the mean of the other rows (``from_checkpoint``)."""
    weight_VD, row_D = frozen_head(model).detach(), trained_row(model)
    row_D = weight_VD[-1] if row_D is None else row_D.detach()
    return torch.allclose(row_D, weight_VD[:-1].mean(0), rtol=1e-4, atol=1e-7)
