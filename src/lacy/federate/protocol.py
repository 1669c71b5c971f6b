"""Define what a client is; ``Update`` is in ``lacy.types``, so that lower layers can return it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from lacy.types import Update

State = Mapping[str, Tensor]
"""The trained tensors by name, in float32 on the CPU; they must not be changed in place."""


class Client(Protocol):
    """Trains on its own data, which never leave it."""

    def train(self, state: State, round: int) -> Update:
        """Train from ``state`` on the client's data, and return the change.

        Must depend only on its arguments, the client's data and its seed, so that a repeated round
        gives the same update.

        Args:
            state: the trained tensors as the server sent them.
            round: number of the round, from 1.
        """
        ...
