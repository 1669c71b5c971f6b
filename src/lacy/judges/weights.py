"""Store an encoder's weights in one byte each, and read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, load_file
from torch import Tensor

from lacy.errors import LacyError
from lacy.judges.network import EncoderShape, FactEncoder

SCALE = ".scale"
"""Suffix of the name of a matrix's scales, one per row."""

LEFT, RIGHT = ".left", ".right"
"""Suffixes of the names of two factors."""

OWN = ("flags", "head", "score")
"""Parts that only facts use."""

MINILM_LAYER = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "out": "attention.output.dense", "norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "last_norm": "output.LayerNorm",
}  # fmt: skip
"""Names of a layer's parts here and in BERT."""


def quantised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with every matrix as int8 and a float32 scale per row."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 2:
            found[name] = tensor.float().contiguous()
            continue
        scale = tensor.float().abs().amax(1).clamp(min=1e-8) / 127.0
        found[name] = torch.round(tensor.float() / scale[:, None]).to(torch.int8).contiguous()
        found[name + SCALE] = scale
    return found


def dequantised(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo ``quantised``, but for the rounding."""
    return {
        name: tensor.float() * stored[name + SCALE][:, None] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }


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


def load_minilm(encoder: FactEncoder, folder: str | Path) -> None:
    """Start an encoder from a BERT model in a folder, such as all-MiniLM-L6-v2.

    Raises:
        LacyError: E218, the folder has no such model.
    """
    path = Path(folder) / "model.safetensors"
    try:
        stored = {name.removeprefix("bert."): t for name, t in load_file(path).items()}
        state = {
            "words.weight": stored["embeddings.word_embeddings.weight"],
            "positions.weight": stored["embeddings.position_embeddings.weight"],
            "kinds.weight": stored["embeddings.token_type_embeddings.weight"][[0, 0]],
        }
        state["positions.weight"] = state["positions.weight"][: encoder.shape.positions]
        for part in ("weight", "bias"):
            state[f"norm.{part}"] = stored[f"embeddings.LayerNorm.{part}"]
            for number in range(encoder.shape.layers):
                for here, there in MINILM_LAYER.items():
                    name = f"encoder.layer.{number}.{there}.{part}"
                    state[f"layers.{number}.{here}.{part}"] = stored[name]
        encoder.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)
    except (OSError, KeyError, IndexError, RuntimeError) as error:
        raise LacyError("E218", path=path, why=f"{type(error).__name__}: {error}") from error
