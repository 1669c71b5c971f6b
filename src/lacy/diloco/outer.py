"""The outer step: weights that all workers share, and Nesterov momentum on mean deltas.

With the mean delta ``d`` (weights after local training minus before): ``m = mu m + d`` and
``w = w + lr (d + mu m)``, which is ``torch.optim.SGD(nesterov=True)`` with the gradient ``-d``
(DiLoCo, 2311.08105, §2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lacy.deltas import Shapes, require_fits, shapes_of


@dataclass
class OuterState:
    """The shared weights and their momentum, in float32 on the CPU.

    Equal in all processes bit by bit, because all apply the same decoded deltas in the same order.
    """

    weights: dict[str, Tensor]
    momentum: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.momentum:
            self.momentum = {name: torch.zeros_like(t) for name, t in self.weights.items()}

    def apply(self, delta: Mapping[str, Tensor], *, lr: float, momentum: float) -> None:
        """Apply a mean delta of all or some of the weights."""
        for name, change in delta.items():
            speed = self.momentum[name].mul_(momentum).add_(change)
            self.weights[name].add_(change + momentum * speed, alpha=lr)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors by a name with a prefix."""
        groups = {"weights": self.weights, "momentum": self.momentum}
        return {
            f"{group}|{n}": t.clone() for group, found in groups.items() for n, t in found.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the tensors.

        Raises:
            LacyError: E356, names or shapes differ, or values are not finite.
        """
        require_fits(state, shapes_of(self.state_dict()))
        for group, mine in (("weights", self.weights), ("momentum", self.momentum)):
            for name in mine:
                mine[name] = state[f"{group}|{name}"].float().clone()


def split_fragments(shapes: Shapes, count: int) -> list[list[str]]:
    """Divide tensors into fragments of about the same size, keeping layers whole.

    Streaming DiLoCo (2501.18512, §2.2) exchanges layers in turn. Groups are names up to the first
    number (a layer), so embeddings and head are groups of their own. There may be fewer fragments
    than requested.

    Args:
        shapes: names and shapes.
        count: number of fragments.
    """
    groups: dict[str, list[str]] = {}
    for name in shapes:
        words = name.split(".")
        end = next((n + 1 for n, word in enumerate(words) if word.isdigit()), len(words))
        groups.setdefault(".".join(words[:end]), []).append(name)

    def size(names: Sequence[str]) -> int:
        return sum(torch.Size(shapes[name]).numel() for name in names)

    found: list[list[str]] = [[] for _ in range(min(count, len(groups)))]
    for names in sorted(groups.values(), key=lambda names: -size(names)):
        min(found, key=size).extend(names)
    return [sorted(names) for names in found]
