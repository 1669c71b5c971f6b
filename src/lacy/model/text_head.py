"""The output head of any model as plain numbers: rows, bias, scale and cap of its logits.

``head_inputs`` returns the states before the head; this module computes the logits from them, and
the derivative of the logits, for every architecture whose logits are its head's output, scaled and
capped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model.forward import head_inputs, logit_scale, probe, relative_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-2
"""Largest difference from the model's own logits, relative to the largest of them."""


@dataclass(frozen=True, slots=True)
class TextHead:
    """Logits are ``cap(scale * (states @ weight.T + bias))``; float32, on the model's device.

    The last row is ``<CALL>``.
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    """Logits are ``cap * tanh(logits / cap)`` (Gemma 2)."""
    tied: bool = False
    """True if the head's weights are those of the input embedding."""

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits of hidden states, ``[N, V]``."""
        return self.finish(torch.nn.functional.linear(hidden_ND, self.weight_VD, self.bias_V))

    def finish(self, output_NV: Tensor) -> Tensor:
        """Scale and cap the output of the head."""
        scaled_NV = output_NV if self.scale == 1.0 else output_NV * self.scale
        return scaled_NV if self.cap is None else self.cap * torch.tanh(scaled_NV / self.cap)

    def slope(self, logits_NV: Tensor) -> Tensor | float:
        """Return the derivative of each logit by the head's output."""
        if self.cap is None:
            return self.scale
        return self.scale * (1 - (logits_NV / self.cap) ** 2)

    def text_rows(self) -> TextHead:
        """Return the head without the row of ``<CALL>``."""
        bias_V = None if self.bias_V is None else self.bias_V[:-1]
        return TextHead(self.weight_VD[:-1], bias_V, self.scale, self.cap, self.tied)


@torch.no_grad()
def read_head(model: PreTrainedModel) -> TextHead:
    """Return a model's head, checked against the logits that the model itself computes.

    Raises:
        LacyError: E58, the model's logits are something else.
    """
    output: torch.nn.Module | None = model.get_output_embeddings()
    kind = type(model).__name__
    if output is None or not hasattr(output, "weight"):
        raise LacyError("E58", architecture=kind, why="no linear head")
    bias = getattr(output, "bias", None)
    inputs: torch.nn.Module = model.get_input_embeddings()
    head = TextHead(
        output.weight.detach().float(),  # type: ignore[operator]
        None if bias is None else bias.detach().float(),
        logit_scale(model),
        getattr(model.config, "final_logit_softcapping", None),
        output.weight is getattr(inputs, "weight", None),
    )
    with probe(model) as ids_BT:
        hidden_BTD, logits_BTV = head_inputs(model, ids_BT)
        if not relative_error(logits_BTV.float(), head.logits(hidden_BTD.float())) < TOLERANCE:
            why = "its logits are more than its head's output with a scale and a cap"
            raise LacyError("E58", architecture=kind, why=why)
    return head
