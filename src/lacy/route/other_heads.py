"""Heads that are not linear: nearest neighbours, a small network, and inputs taken as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import Floats
from lacy.route.features import Matrix


@dataclass(frozen=True)
class IdentityHead:
    """Inputs that already are scores, one per route."""

    name = "identity"

    def scores(self, matrix: Matrix) -> Floats:
        """Return the inputs."""
        return np.asarray(matrix, np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


@dataclass(frozen=True)
class NeighbourHead:
    """The mean target of the nearest cases by cosine, and of all cases as one more.

    Attributes:
        cases_MF: inputs of the cases, of length 1, as float16.
        targets_MR: their targets; NaN where a model is missing.
        neighbours: cases that are looked at.
    """

    cases_MF: NDArray[np.float16]
    targets_MR: Floats
    neighbours: int

    name = "neighbours"

    def scores(self, matrix: Matrix) -> Floats:
        """Return the scores ``[N, R]``."""
        near_NK, _ = self.nearest(matrix)
        found_NKR = self.targets_MR[near_NK]
        known_NKR = ~np.isnan(found_NKR)
        all_known_MR = ~np.isnan(self.targets_MR)
        mean_R = np.where(all_known_MR, self.targets_MR, 0.0).sum(0)
        mean_R = mean_R / np.maximum(all_known_MR.sum(0), 1)
        sums_NR = np.where(known_NKR, found_NKR, 0.0).sum(1) + mean_R
        scores: Floats = sums_NR / (known_NKR.sum(1) + 1.0)
        return scores

    def nearest(self, matrix: Matrix) -> tuple[NDArray[np.int64], Floats]:
        """Return the places of the nearest cases ``[N, K]``, the nearest first, and cosines."""
        own_NF = np.asarray(matrix, np.float32)
        own_NF = own_NF / np.maximum(np.linalg.norm(own_NF, axis=1, keepdims=True), 1e-12)
        cosine_NM = own_NF @ self.cases_MF.astype(np.float32).T
        count = min(self.neighbours, cosine_NM.shape[1])
        near_NK = np.argsort(-cosine_NM, axis=1, kind="stable")[:, :count]
        return near_NK, np.take_along_axis(cosine_NM, near_NK, 1).astype(np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        return {"cases": self.cases_MF, "targets": np.nan_to_num(self.targets_MR, nan=-1.0),
                "neighbours": np.array([self.neighbours])}  # fmt: skip


def fit_neighbours(matrix: Matrix, targets_NR: Floats, neighbours: int) -> NeighbourHead:
    """Keep the cases."""
    own_NF = np.asarray(matrix, np.float64)
    own_NF = own_NF / np.maximum(np.linalg.norm(own_NF, axis=1, keepdims=True), 1e-12)
    return NeighbourHead(own_NF.astype(np.float16), targets_NR, neighbours)


@dataclass(frozen=True)
class NetworkHead:
    """One inner layer of rectified units.

    Attributes:
        first_FH: weights of the inner layer.
        first_H: its offsets.
        last_HR: weights of the scores.
        last_R: their offsets.
    """

    first_FH: Floats
    first_H: Floats
    last_HR: Floats
    last_R: Floats

    name = "network"

    def scores(self, matrix: Matrix) -> Floats:
        """Return the scores ``[N, R]``."""
        inner_NH = np.maximum(np.asarray(matrix) @ self.first_FH + self.first_H, 0.0)
        scores: Floats = inner_NH @ self.last_HR + self.last_R
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        return {"first": self.first_FH.astype(np.float32), "first_bias": self.first_H,
                "last": self.last_HR.astype(np.float32), "last_bias": self.last_R}  # fmt: skip


EPOCHS, RATE, DECAY = 40, 3e-3, 1e-2
"""Passes, learning rate and weight decay of a network."""

NETWORK_BATCH = 64


def fit_network(
    matrix: Matrix, targets_NR: Floats, width: int, seed: int, kind: str
) -> NetworkHead:
    """Train a network with AdamW: cross-entropy on classes, logistic loss on outcomes.

    Args:
        matrix: inputs, whose columns are standardised.
        targets_NR: targets; NaN is left out.
        width: inner units.
        seed: seed of the weights and the order of the cases.
        kind: classes or outcomes.
    """
    import torch

    dense = np.asarray(matrix, np.float64)
    mean_F, scale_F = dense.mean(0), np.maximum(dense.std(0), 1e-6)
    inputs_NF = torch.tensor((dense - mean_F) / scale_F).float()
    known_NR = torch.tensor(~np.isnan(targets_NR))
    goal_NR = torch.tensor(np.nan_to_num(targets_NR)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(dense.shape[1], width), torch.nn.ReLU(), torch.nn.Dropout(0.2),
            torch.nn.Linear(width, targets_NR.shape[1]),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(dense)).split(NETWORK_BATCH):
                logits_NR = network(inputs_NF[rows])
                if kind == "classes":
                    loss = torch.nn.functional.cross_entropy(logits_NR, goal_NR[rows])
                else:
                    own = known_NR[rows]
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(
                        logits_NR[own], goal_NR[rows][own]
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    first: Any = network[0]
    last: Any = network[3]
    with torch.no_grad():
        first_FH = first.weight.double().numpy().T / scale_F[:, None]
        first_H = first.bias.double().numpy() - mean_F @ first_FH
        return network_from({
            "first": first_FH.astype(np.float32), "first_bias": first_H,
            "last": last.weight.numpy().T.copy(), "last_bias": last.bias.double().numpy(),
        })  # fmt: skip


def network_from(arrays: dict[str, NDArray[Any]]) -> NetworkHead:
    """Return a stored network."""
    first_FH, first_H, last_HR, last_R = (
        arrays[name].astype(np.float64) for name in ("first", "first_bias", "last", "last_bias")
    )
    return NetworkHead(first_FH, first_H, last_HR, last_R)


def neighbours_from(arrays: dict[str, NDArray[Any]]) -> NeighbourHead:
    """Return stored cases."""
    targets_MR = np.where(arrays["targets"] < 0, np.nan, arrays["targets"])
    return NeighbourHead(arrays["cases"], targets_MR, int(arrays["neighbours"][0]))
