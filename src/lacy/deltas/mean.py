"""The weighted mean of deltas."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lacy.deltas.frame import require_fits, shapes_of


class RunningMean:
    """A weighted mean of deltas that arrive one by one; it keeps one sum, not all deltas."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.weight = 0.0
        """Sum of the weights so far."""

    def add(self, delta: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Add a delta.

        Raises:
            LacyError: E356, it is not finite, or has other names or shapes than the first one.
        """
        require_fits(delta, shapes_of(self._sums or delta))
        for name, tensor in delta.items():
            # In float64, so that the order of arrival does not change the float32 result.
            part = tensor.detach().cpu().double() * weight
            self._sums[name] = self._sums[name].add_(part) if name in self._sums else part
        self.weight += weight

    def mean(self) -> dict[str, Tensor]:
        """Return the mean as float32; empty before the first delta."""
        return {name: (total / self.weight).to(torch.float32) for name, total in self._sums.items()}
