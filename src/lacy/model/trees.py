"""Arrange the candidates of a text as a tree of tokens, so that common prefixes are computed once.

A tree is fed to the model as one row after the text's cached keys and values, so nothing is copied
per candidate or padded to the longest candidate. A mask lets each token attend only to the text and
to its own ancestors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

NODES = 256
"""Maximum number of tokens of one tree; the cost of attention grows with its square."""

UNEVEN, FEW = 2, 16
"""Trees of one pass are padded to the largest: at most ``UNEVEN`` times the smallest."""

MODEL_TYPES = ("llama", "gpt2")
"""Architectures that use a given 4D attention mask unchanged (tested)."""


def takes_trees(model: Any) -> bool:
    """True if a model supports trees; other models need one row per candidate."""
    config = model.config
    attention = getattr(config, "_attn_implementation", None)
    return getattr(config, "model_type", "") in MODEL_TYPES and attention in ("sdpa", "eager")


@dataclass(eq=False)
class Tree:
    """The candidates of one row.

    Args:
        row: index of the row in the decoder.
        first: the row's last token, if it must be recomputed before all candidates.
    """

    row: int
    first: Sequence[int] = ()
    tokens: list[int] = field(init=False)
    parents: list[int] = field(init=False)
    depths: list[int] = field(init=False)
    steps: list[tuple[int, int, int]] = field(default_factory=list, init=False)
    """(predicting node, predicted token, candidate); a candidate's score is the sum of these.
    Predictions of the row's own last token (node -1) are excluded."""
    ends: list[tuple[int, int]] = field(default_factory=list, init=False)
    """(last node, candidate) of each candidate."""
    _children: dict[tuple[int, int], int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.first)
        self.parents = [-1] * len(self.tokens)
        self.depths = [0] * len(self.tokens)

    def add(self, job: int, tokens: Sequence[int], *, whole: bool) -> None:
        """Add a candidate; its last token is computed only if ``whole`` is True."""
        node = 0 if self.first else -1
        for place, token in enumerate(tokens):
            if node >= 0:
                self.steps.append((node, token, job))
            if whole or place < len(tokens) - 1:
                node = self._child(node, token)
        if whole:
            self.ends.append((node, job))

    def _child(self, parent: int, token: int) -> int:
        node = self._children.setdefault((parent, token), len(self.tokens))
        if node == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
        return node

    def attention_mask(self) -> np.ndarray:
        """Return a mask ``[node, node]``: each node attends to its ancestors and itself."""
        found = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[node] |= found[parent]
        return found


def build_trees(
    jobs: Sequence[tuple[int, Sequence[int]]],
    firsts: Sequence[Sequence[int]],
    *,
    whole: bool,
    length: int,
    cells: int,
    nodes: int,
    shared: bool = True,
) -> Iterator[list[Tree]]:
    """Yield groups of trees of similar size; each group is one forward pass.

    Args:
        jobs: row and tokens of each candidate.
        firsts: for each row, tokens to recompute before its candidates.
        whole: also compute the last tokens of candidates.
        length: number of cached tokens per row.
        cells: maximum number of cached positions (text and trees) per pass.
        nodes: maximum number of tokens per pass.
        shared: True puts all candidates of a row into one tree; False makes one tree per candidate.
    """
    trees: list[Tree] = []
    widest = lightest = 0
    together = Counter[int]()
    for row, tokens in jobs:
        together[row] += len(tokens)
    weights = [together[row] if shared else len(tokens) for row, tokens in jobs]
    order = sorted(range(len(jobs)), key=lambda n: (weights[n], jobs[n][0], tuple(jobs[n][1])))
    for job in order:
        row, tokens = jobs[job]
        new = not (trees and shared and trees[-1].row == row)
        held = len(firsts[row]) if new else len(trees[-1].tokens)
        width, count = max(widest, held + len(tokens)), len(trees) + new
        much = held + len(tokens) > NODES or count * (length + width) > cells
        uneven = bool(trees) and weights[job] > UNEVEN * max(lightest, FEW)
        if trees and (much or count * width > nodes or uneven):
            yield trees
            trees, widest, new = [], 0, True
        if new:
            lightest = weights[job] if not trees else lightest
            trees.append(Tree(row, firsts[row]))
        trees[-1].add(job, tokens, whole=whole)
        widest = max(widest, len(trees[-1].tokens))
    if trees:
        yield trees


def tree_inputs(
    trees: Sequence[Tree], begins: Sequence[int], before: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the model's inputs for trees after ``before`` cached columns.

    Args:
        trees: one per row of the batch, padded on the right.
        begins: for each tree, the column at which its text begins.
        before: number of cached columns.
        dtype: the model's dtype, for the mask.

    Returns:
        ``input_RN``, ``positions_RN`` and the additive ``mask_R1NM`` over all columns.
    """
    width = max(len(tree.tokens) for tree in trees)
    input_RN = np.zeros((len(trees), width), np.int64)
    position_RN = np.zeros((len(trees), width), np.int64)
    sees_RNM = np.zeros((len(trees), width, before + width), bool)
    sees_RNM[:, :, before:] = np.eye(width, dtype=bool)  # padding attends to itself
    for n, (tree, begin) in enumerate(zip(trees, begins, strict=True)):
        size = len(tree.tokens)
        input_RN[n, :size] = tree.tokens
        position_RN[n, :size] = np.asarray(tree.depths) + before - begin
        sees_RNM[n, :size, begin:before] = True
        sees_RNM[n, :size, before : before + size] = tree.attention_mask()
    hidden = torch.from_numpy(~sees_RNM)[:, None]
    mask_R1NM = torch.zeros(hidden.shape, dtype=dtype)
    mask_R1NM.masked_fill_(hidden, torch.finfo(dtype).min)
    return torch.from_numpy(input_RN), torch.from_numpy(position_RN), mask_R1NM
