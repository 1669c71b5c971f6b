"""A BERT encoder in which facts attend to windows of a page, but windows never to facts.

In a usual cross-encoder, each pair of a fact and a passage is encoded together, so nothing can be
kept for the next fact. Here a window is encoded alone; the keys and values of all its layers are
computed once and serve every fact. A fact's tokens attend, in each layer, to those of its windows
and to each other. The weights start as those of BERT; what is new is an embedding that tells, for
each token of the fact, where its word occurs (``FLAGS``), and the classifier. Facts and windows may
have networks of their own with the same shape.

Shapes: W windows, L tokens of a window, F facts, S tokens of a fact, K windows of a fact, H heads,
D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacy.encoder import EncoderBody, EncoderShape, KeysValues, attention_bias

FLAGS = 6
"""Where a fact's word occurs: 0 not a word, 1 in the topic's name, 2 in the fact's windows, 3
elsewhere on the page, 4 only its stem on the page, 5 nowhere."""


@dataclass(frozen=True, slots=True)
class FactBatch:
    """Facts of a page and the windows they are compared with.

    Attributes:
        windows_WL: token ids, 0 is padding.
        facts_FS: token ids, 0 is padding.
        flags_FS: see ``FLAGS``.
        choice_FK: numbers of windows, -1 for none.
    """

    windows_WL: Tensor
    facts_FS: Tensor
    flags_FS: Tensor
    choice_FK: Tensor


class FactEncoder(EncoderBody):
    """Scores facts against windows of a page (see the module's docstring).

    Args:
        shape: its size.
        dropout: share of the states that training drops.
    """

    def __init__(self, shape: EncoderShape | None = None, dropout: float = 0.0) -> None:
        super().__init__(shape, dropout)
        shape = self.shape  # kind 0 is that of tokens in windows, 1 in facts
        self.flags = nn.Embedding(FLAGS, shape.width)
        self.head = nn.Linear(2 * shape.width, shape.width)
        self.score = nn.Linear(shape.width, 1)
        nn.init.normal_(self.flags.weight, std=0.02)

    def encode_windows(self, windows_WL: Tensor) -> list[KeysValues]:
        """Return the keys and values of the windows in each layer."""
        bias = attention_bias(windows_WL != 0)
        states = self.embed(windows_WL, 0)
        cached = []
        for number, layer in enumerate(self.layers):
            keys, values = layer.keys_values(states)
            cached.append((keys, values))
            if number + 1 < len(self.layers):
                states = layer(states, keys, values, bias)
        return cached

    def score_facts(
        self, cached: Sequence[KeysValues], windows_WL: Tensor, batch: FactBatch
    ) -> Tensor:
        """Return a logit per fact ``[F]``.

        Args:
            cached: what ``encode_windows`` returned for the windows.
            windows_WL: the windows, to know which tokens are padding.
            batch: the facts; its own windows are not read.
        """
        choice_FK = batch.choice_FK.clamp(min=0)
        seen_FKL = (windows_WL != 0)[choice_FK] & (batch.choice_FK >= 0)[..., None]
        present_FS = batch.facts_FS != 0
        bias = attention_bias(torch.cat([seen_FKL.flatten(1), present_FS], 1))
        states = self.embed(batch.facts_FS, 1, self.flags(batch.flags_FS))
        for layer, (keys, values) in zip(self.layers, cached, strict=True):
            own_keys, own_values = layer.keys_values(states)
            all_keys = torch.cat([_chosen(keys, choice_FK), own_keys], 2)
            all_values = torch.cat([_chosen(values, choice_FK), own_values], 2)
            states = layer(states, all_keys, all_values, bias)
        states = states.float()
        mean_FD = (states * present_FS[..., None]).sum(1) / present_FS.sum(1, keepdim=True)
        pooled = torch.tanh(self.head(torch.cat([states[:, 0], mean_FD], 1)))
        pooled = functional.dropout(pooled, self.dropout, self.training)
        logits: Tensor = self.score(pooled)[:, 0]
        return logits

    def forward(self, batch: FactBatch) -> Tensor:
        """Encode the windows, and return a logit per fact ``[F]``."""
        return self.score_facts(self.encode_windows(batch.windows_WL), batch.windows_WL, batch)


def _chosen(cached: Tensor, choice_FK: Tensor) -> Tensor:
    """Return the keys or values of each fact's windows, one after another ``[F, H, K*L, D/H]``."""
    return cached[choice_FK].permute(0, 2, 1, 3, 4).flatten(2, 3)
