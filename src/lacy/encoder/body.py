"""The body of a BERT encoder (Devlin et al., arXiv 1810.04805), whose heads others add.

Shapes: N texts, T tokens of a text, H heads, D width. Token id 0 is padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -1e4
"""Added to the attention scores of padding."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each ``[N, H, T, D/H]``."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The size of an encoder; the defaults are those of MiniLM-L6."""

    layers: int = 6
    width: int = 384
    heads: int = 12
    inner: int = 1536
    vocabulary: int = 30_522
    positions: int = 128


class EncoderLayer(nn.Module):
    """A BERT layer whose keys and values are given by the caller."""

    def __init__(self, shape: EncoderShape, dropout: float) -> None:
        super().__init__()
        width, inner = shape.width, shape.inner
        self.heads, self.dropout = shape.heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.last_norm = nn.LayerNorm(width, eps=1e-12)

    def keys_values(self, states: Tensor) -> KeysValues:
        """Return the keys and values of states ``[N, T, D]``, each ``[N, H, T, D/H]``."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(self, states: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Return the next states ``[N, T, D]``; ``bias`` is added to the scores of attention."""
        queries = self._split(self.query(states)) * (1.0 / math.sqrt(keys.shape[-1]))
        # Written out, because torch's fused attention is several times slower here on a CPU.
        weights = torch.softmax(queries @ keys.transpose(-1, -2) + bias, -1).to(values.dtype)
        mixed = (weights @ values).transpose(1, 2).flatten(2)
        states = self.norm(states + self._drop(self.out(mixed)))
        inner = self._drop(self.down(functional.gelu(self.up(states))))
        result: Tensor = self.last_norm(states + inner)
        return result

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


class EncoderBody(nn.Module):
    """Embeddings and layers of a BERT encoder.

    Args:
        shape: its size.
        dropout: share of the states that training drops.
    """

    def __init__(self, shape: EncoderShape | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        shape = shape or EncoderShape()
        self.shape, self.dropout = shape, dropout
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.kinds = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.layers: Sequence[EncoderLayer]
        self.layers = nn.ModuleList(EncoderLayer(shape, dropout) for _ in range(shape.layers))  # type: ignore[assignment]

    def embed(self, ids_NT: Tensor, kind: int | Tensor = 0, added: Tensor | None = None) -> Tensor:
        """Return the inputs of the first layer ``[N, T, D]``.

        Args:
            ids_NT: token ids, at most ``shape.positions`` of a text.
            kind: kind of all tokens (0 or 1), or of each (``[N, T]``): BERT's token type.
            added: a further embedding of each token ``[N, T, D]``.
        """
        places = torch.arange(ids_NT.shape[1], device=ids_NT.device)
        states = self.words(ids_NT) + self.positions(places) + self.kinds.weight[kind]
        if added is not None:
            states = states + added
        return functional.dropout(self.norm(states), self.dropout, self.training)

    def states(self, ids_NT: Tensor, kind: int | Tensor = 0) -> Tensor:
        """Return the last layer's states ``[N, T, D]``: all tokens of a text see each other."""
        bias = attention_bias(ids_NT != 0)
        states = self.embed(ids_NT, kind)
        for layer in self.layers:
            states = layer(states, *layer.keys_values(states), bias)
        return states


def attention_bias(present: Tensor) -> Tensor:
    """Return what is added to the scores of attention ``[N, 1, 1, T]``.

    Args:
        present: False at padding ``[N, T]``.
    """
    return torch.where(present, 0.0, MASKED)[:, None, None, :]
