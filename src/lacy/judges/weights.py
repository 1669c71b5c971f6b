"""Store the two networks of the verifier in one file, and read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import load
from torch import Tensor

from lacy.encoder import EncoderShape, dequantised, quantised
from lacy.judges.network import FactEncoder

LEFT, RIGHT = ".left", ".right"
"""Suffixes of the names of two factors."""

OWN = ("flags", "head", "score")
"""Parts that only facts use."""


def low_rank(
    state: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int
) -> dict[str, Tensor]:
    """Return the differences of two networks' matrices as two narrow matrices each.

    ``left.T @ right`` is the difference.

    Args:
        state: weights of a network that was tuned from ``base`` by matrices of at most this rank.
        base: weights of the network that encodes windows.
        rank: the rank.
    """
    found = {}
    for name, tensor in state.items():
        difference = tensor.float() - base[name].float()
        if not name.startswith("layers.") or tensor.ndim != 2 or not difference.any():
            continue
        left, values, right = torch.linalg.svd(difference, full_matrices=False)
        root = values[:rank].sqrt()
        found[name + LEFT] = (left[:, :rank] * root).T.contiguous()
        found[name + RIGHT] = root[:, None] * right[:rank]
    return found


def packed_weights(facts: FactEncoder, windows: FactEncoder, rank: int) -> dict[str, Tensor]:
    """Return the weights of both networks for one file (see ``load_encoders``)."""
    state, base = facts.state_dict(), windows.state_dict()
    own = {name: tensor for name, tensor in state.items() if name.startswith(OWN)}
    return quantised({**base, **own, **low_rank(state, base, rank)})


def load_encoders(data: bytes, shape: EncoderShape) -> tuple[FactEncoder, FactEncoder]:
    """Return the networks for facts and for windows that a safetensors file holds.

    The matrices of the first are those of the second plus products of two narrow matrices.
    """
    every = dequantised(load(data))
    factors = {name: t for name, t in every.items() if name.endswith((LEFT, RIGHT))}
    state = {name: t for name, t in every.items() if name not in factors}
    windows, facts = FactEncoder(shape), FactEncoder(shape)
    windows.load_state_dict(state)
    for name in [n.removesuffix(LEFT) for n in factors if n.endswith(LEFT)]:
        state[name] = state[name] + factors[name + LEFT].T @ factors[name + RIGHT]
    facts.load_state_dict(state)
    facts.words = windows.words  # the largest matrix, which both share
    for network in (windows, facts):
        network.eval().requires_grad_(False)
    return facts, windows
