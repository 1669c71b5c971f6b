"""Average LoRA adapters exactly: the product BA, not A and B apart.

An adapter changes a weight by ``scale * B A``. The mean of the clients' changes is the mean of
their products; the product of the mean factors is another matrix, whose error grows with the
distance between clients (Sun et al., arXiv 2403.12313, §3). Two ways avoid it:

- ``ProductMean`` averages the products and takes new factors from its singular value decomposition:
  the best approximation of rank r, without error if the clients together moved in at most r
  directions. ``lost`` is the share of the squared norm that the rank cuts off. No dense matrix is
  ever built: the product of stacked factors has rank at most clients x r.
- With A frozen (FFA-LoRA, arXiv 2403.12313), the product is linear in B, and any strategy is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lacy.federate.aggregate import Aggregate, Aggregator, Mean, Strategy
from lacy.federate.protocol import State
from lacy.types import Update

A, B = ".lora_A.", ".lora_B."
"""Parts of the names that ``peft`` gives to the factors."""


def pairs_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of all A factors in a state, with the names of their B factors."""
    found = {name: name.replace(A, B) for name in state if A in name}
    return {name: other for name, other in found.items() if other in state}


@dataclass(frozen=True)
class ProductMean:
    """The weighted mean of the products of adapters; all other tensors by another strategy.

    Args:
        rest: the strategy for tensors that are not factors, such as the ``<CALL>`` row.
    """

    rest: Strategy = field(default_factory=Mean)

    @property
    def least(self) -> int:
        """Least number of updates, that of the other strategy."""
        return self.rest.least

    def start(self, state: State) -> Aggregator:
        """Return an aggregator that keeps the factors of all clients, but no product."""
        return _Products(state, self.rest)


class _Products:
    def __init__(self, state: State, rest: Strategy) -> None:
        self._state = state
        self._pairs = pairs_of(state)
        self._factors = {*self._pairs, *self._pairs.values()}
        self._rest = rest.start({n: t for n, t in state.items() if n not in self._factors})
        self._has_rest = len(self._factors) < len(state)
        self._updates: dict[str, tuple[int, dict[str, Tensor]]] = {}

    def add(self, client: str, update: Update) -> None:
        delta = update.delta
        self._updates[client] = update.samples, {name: delta[name] for name in self._factors}
        if self._has_rest:
            others = {name: each for name, each in delta.items() if name not in self._factors}
            self._rest.add(client, Update(others, update.samples, update.round))

    def result(self) -> Aggregate:
        rest = self._rest.result() if self._has_rest else Aggregate({})
        found, lost, whole = dict(rest.delta), 0.0, 0.0
        members = [self._updates[client] for client in sorted(self._updates)]
        total = sum(samples for samples, _ in members)
        for name_a, name_b in self._pairs.items():
            a_RI, b_OR = self._state[name_a].double(), self._state[name_b].double()
            weights = [samples / total for samples, _ in members]
            stacked_a = torch.cat([a_RI + delta[name_a] for _, delta in members])
            stacked_b = torch.cat(
                [
                    w * (b_OR + delta[name_b])
                    for w, (_, delta) in zip(weights, members, strict=True)
                ],
                dim=1,
            )
            new_a, new_b, cut, all_of_it = refactor(stacked_b, stacked_a, a_RI)
            found[name_a] = (new_a - a_RI).float()
            found[name_b] = (new_b - b_OR).float()
            lost, whole = lost + cut, whole + all_of_it
        share = {"lost": lost / whole} if whole > 0 else {}
        return Aggregate(found, rest.left_out, {**rest.figures, **share})


def refactor(b_OK: Tensor, a_KI: Tensor, like_RI: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """Return factors of rank R whose product is the best approximation of ``b_OK @ a_KI``.

    The new A has orthogonal rows, all as long as the rows of ``like_RI`` are on average, and B has
    the singular values. So A never vanishes: a direction that no client uses has a zero column in
    B, as in a fresh adapter, and can be learned later.

    Args:
        b_OK: left factor.
        a_KI: right factor.
        like_RI: the A of before, which sets rank and scale.

    Returns:
        A, B, the squared norm that was cut off, and the squared norm of the whole product.
    """
    rank = like_RI.shape[0]
    q_b, r_b = torch.linalg.qr(b_OK)
    q_a, r_a = torch.linalg.qr(a_KI.T)
    left, values, right = torch.linalg.svd(r_b @ r_a.T)
    squared = values.square()
    rows_RI = (q_a @ right.T).T[:rank]
    columns_OR = (q_b @ left[:, : len(values)] * values)[:, :rank]
    if len(rows_RI) < rank:  # fewer directions than the rank: keep some of A's own
        own, _ = torch.linalg.qr(torch.cat([rows_RI, like_RI]).T)
        rows_RI = torch.cat([rows_RI, own.T[len(rows_RI) : rank]])
        # A rank above the number of inputs has no more directions.
        rows_RI = torch.nn.functional.pad(rows_RI, (0, 0, 0, rank - len(rows_RI)))
    if columns_OR.shape[1] < rank:
        missing = rank - columns_OR.shape[1]
        columns_OR = torch.nn.functional.pad(columns_OR, (0, missing))
    scale = float(like_RI.norm()) / rank**0.5 or 1.0
    return rows_RI * scale, columns_OR / scale, float(squared[rank:].sum()), float(squared.sum())
