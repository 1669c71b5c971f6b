"""Define the network of the bundled pipeline in torch, and write it as a spaCy pipeline.

The layers are those of ``spacy.MultiHashEmbed.v2``, ``MaxoutWindowEncoder.v2`` and ``Tagger.v2``;
torch trains them several times faster than thinc, in bfloat16 where the processor has it. After
``to_spacy``, spaCy computes the same scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import spacy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from thinc.api import NumpyOps
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = ("NORM", "PREFIX", "SUFFIX", "SHAPE")
KEYS = 4
"""Rows of the table that are added up for one feature, as in thinc's ``HashEmbed``."""
FIRST_SEED = 8
"""Seed of the first feature's hash in ``MultiHashEmbed``; each further one has the next number."""

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
HEADS = ("morphologizer", "entities", "facts")


@dataclass(frozen=True)
class Shape:
    """Size of the network."""

    width: int = 64
    depth: int = 4
    pieces: int = 3
    """Pieces of each maxout unit in the encoder."""
    rows: tuple[int, ...] = (2000, 500, 1000, 1000)
    """Rows of each feature's table."""


def table_rows(features_U4: NDArray[np.uint64], shape: Shape) -> Tensor:
    """Return the rows of the joint table for each word's features, ``(U, 4, 4)``."""
    rows = np.zeros((*features_U4.shape, KEYS), np.int64)
    first = 0
    for column, count in enumerate(shape.rows):
        ids = np.ascontiguousarray(features_U4[:, column])
        rows[:, column] = NumpyOps().hash(ids, FIRST_SEED + column) % count + first
        first += count
    return torch.from_numpy(rows)


class Maxout(nn.Module):
    """thinc's ``Maxout`` with layer normalisation."""

    def __init__(self, inputs: int, width: int, pieces: int) -> None:
        super().__init__()
        self.width, self.pieces = width, pieces
        self.weight = nn.Parameter(torch.randn(width * pieces, inputs) * (2 / inputs) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width * pieces))
        self.gain = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x_TI: Tensor) -> Tensor:
        """Return the normalised units, ``(T, width)``."""
        pieces_TWP = F.linear(x_TI, self.weight, self.bias).view(-1, self.width, self.pieces)
        out_TW = pieces_TWP.amax(-1).float()
        return F.layer_norm(out_TW, (self.width,), self.gain, self.shift, 1e-8)


class Network(nn.Module):
    """Embedding, encoder and one linear head per tagger."""

    def __init__(self, shape: Shape, labels: dict[str, list[str]]) -> None:
        super().__init__()
        self.shape, self.labels = shape, labels
        self.table = nn.EmbeddingBag(sum(shape.rows), shape.width, mode="sum")
        nn.init.uniform_(self.table.weight, -0.1, 0.1)
        self.mix = Maxout(len(FEATURES) * shape.width, shape.width, 3)
        self.encoder = nn.ModuleList(
            Maxout(3 * shape.width, shape.width, shape.pieces) for _ in range(shape.depth)
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(shape.width, len(found)) for name, found in labels.items()}
        )

    def forward(self, rows_U44: Tensor, words_T: Tensor, real_P: Tensor, drop: float = 0) -> Tensor:
        """Return the encoded tokens, ``(T, width)``.

        Args:
            rows_U44: rows of the different words of the batch.
            words_T: the word of each token.
            real_P: False at the padding before, between and after the texts: ``depth`` places.
            drop: dropout probability.
        """
        mixed_UW = self.mix(self.table(rows_U44.view(-1, KEYS)).view(len(rows_U44), -1))
        x_TW = F.dropout(mixed_UW[words_T], drop, self.training)
        x_PW = torch.zeros(len(real_P), self.shape.width).index_put((real_P,), x_TW)
        for layer in self.encoder:
            wide = F.pad(x_PW, (0, 0, 1, 1))
            y_PW = layer(torch.cat([wide[:-2], wide[1:-1], wide[2:]], 1))
            x_PW = x_PW + F.dropout(y_PW, drop, self.training)
        return x_PW[real_P]


def to_spacy(network: Network) -> Language:
    """Return a spaCy pipeline with the network's weights."""
    shape = network.shape
    nlp = spacy.blank("en")
    embed = {"@architectures": "spacy.MultiHashEmbed.v2", "width": shape.width,
             "attrs": list(FEATURES), "rows": list(shape.rows),
             "include_static_vectors": False}  # fmt: skip
    encode = {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": shape.width,
              "depth": shape.depth, "window_size": 1, "maxout_pieces": shape.pieces}  # fmt: skip
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": shape.width, "upstream": "*"}
    for name, labels in network.labels.items():
        factory = "morphologizer" if name == "morphologizer" else "tagger"
        pipe: Any = nlp.add_pipe(
            factory, name, config={"model": {"@architectures": "spacy.Tagger.v2",
                                             "tok2vec": listener}})  # fmt: skip
        for label in labels:
            pipe.add_label(label)
    nlp.initialize()
    for name, labels in network.labels.items():
        order = [labels.index(label) for label in nlp.get_pipe(name).labels]
        linear: Any = network.heads[name]
        _set(nlp, name, "softmax", [{"W": linear.weight[order], "b": linear.bias[order]}])
    tables = torch.split(network.table.weight, list(shape.rows))
    layers: list[Any] = [network.mix, *network.encoder]
    _set(nlp, "tok2vec", "hashembed", [{"E": table} for table in tables])
    _set(nlp, "tok2vec", "layernorm", [{"G": m.gain, "b": m.shift} for m in layers])
    units = [
        {"W": m.weight.view(m.width, m.pieces, -1), "b": m.bias.view(m.width, m.pieces)}
        for m in layers
    ]
    _set(nlp, "tok2vec", "maxout", units)
    return nlp


def _set(nlp: Language, pipe: str, kind: str, weights: list[dict[str, Tensor]]) -> None:
    """Set the parameters of all nodes of one kind, in the order in which data flow."""
    found: Any = nlp.get_pipe(pipe)
    nodes = [node for node in found.model.walk() if node.name == kind]
    for node, params in zip(nodes, weights, strict=True):
        for name, value in params.items():
            node.set_param(name, value.detach().numpy().astype(np.float32))
