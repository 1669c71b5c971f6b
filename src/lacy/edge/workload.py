"""What one model asks of a device: operations per token, memory, bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy._text import did_you_mean
from lacy.edge.assumptions import EdgeAlgorithm, EdgeAssumptions
from lacy.errors import LacyError
from lacy.model import PRESETS, training_memory

MODEL_BITS = 16.0
"""Bits per parameter of a whole model that is sent to a device that has none."""


@dataclass(frozen=True)
class Workload:
    """A model as numbers."""

    name: str
    parameters: float
    flop_per_token: float
    """Operations to train on one token: forward and backward pass."""
    memory_bytes: float
    """Memory of a device that trains it: weights, gradients, moments, one batch's activations, and
    a copy of the weights at the start of the round (unless updates are sent in every step)."""

    def update_bytes(self, bits: float) -> float:
        """Return the bytes of all parameters with ``bits`` each."""
        return self.parameters * bits / 8.0


def flop_per_token(parameters: float, layers: int = 0, width: int = 0, context: int = 0) -> float:
    """Return the operations to train on one token: 6 per parameter, and attention.

    Attention multiplies queries, keys and values of half of the context on average: ``6 * layers *
    width * context`` for forward and backward pass (Chowdhery et al. 2022, appendix B, with a
    causal mask).
    """
    return 6.0 * parameters + 6.0 * layers * width * context


def workload_of(assumed: EdgeAssumptions, algorithm: EdgeAlgorithm) -> Workload:
    """Return the numbers of the assumed model.

    Raises:
        LacyError: E366, there is no such model.
    """
    preset = PRESETS.get(assumed.model)
    if preset is None:
        parameters = _number(assumed.model)
        memory = parameters * assumed.bytes_per_parameter
        flop = flop_per_token(parameters)
    else:
        parameters = preset.parameters(assumed.vocabulary, assumed.context)
        estimate = training_memory(
            preset, vocabulary=assumed.vocabulary, context=assumed.context,
            rows=max(1, round(algorithm.batch_tokens / assumed.context)),
        )  # fmt: skip
        memory = parameters * assumed.bytes_per_parameter + estimate.activations + estimate.head
        matrices = preset.matrices + assumed.vocabulary * preset.width  # the head is a matrix, too
        flop = flop_per_token(matrices, preset.layers, preset.width, assumed.context)
    if algorithm.steps > 1:
        memory += 4.0 * parameters
    return Workload(assumed.model, parameters, assumed.flop_per_token or flop, memory)


def _number(model: str) -> float:
    """Read a number of parameters."""
    try:
        parameters = float(model)
    except ValueError:
        parameters = math.nan
    if not 1 <= parameters <= 1e15:
        hint = did_you_mean(model, PRESETS)
        raise LacyError("E366", model=model, hint=hint, known=", ".join(PRESETS))
    return parameters
