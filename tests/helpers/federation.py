"""Clients of a federation that compute instead of train, and states for them."""

import torch

from lacy.federate import derived_seed
from lacy.types import Update


def state_of(values=7, other=3):
    return {"a": torch.zeros(values), "b": torch.ones(other, 2)}


class Steady:
    """Moves the state half of the way to a target, plus noise of its own seed."""

    def __init__(self, name, target=1.0, samples=10, noise=0.1):
        self.name, self.target, self.samples, self.noise = name, target, samples, noise

    def train(self, state, round):
        generator = torch.Generator().manual_seed(derived_seed(0, round, self.name))
        delta = {
            name: (self.target - tensor) / 2
            + self.noise * torch.randn(tensor.shape, generator=generator)
            for name, tensor in state.items()
        }
        counts, metrics = {"seen": self.samples}, {"loss": float(delta["a"].square().mean())}
        return Update(delta, self.samples, round, "m", counts, metrics)


class Broken:
    """Fails in every round."""

    def train(self, state, round):
        raise RuntimeError("out of memory")


def steady(count, **how):
    return {f"c{n:02}": Steady(f"c{n:02}", samples=10 + n, **how) for n in range(count)}
