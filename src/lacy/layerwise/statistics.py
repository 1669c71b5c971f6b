"""Statistics of the inputs of linear layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy.layerwise.blocks import Matrix


@dataclass
class InputStatistics:
    """Sums over the input vectors of one linear layer.

    If the weights change by ``d_OI``, the squared error of the layer's output, summed over all
    vectors, is ``trace(d @ hessian @ d.T)``.
    """

    count: int
    """Number of input vectors."""
    squares_I: Tensor
    """Sum of the squares of each input, float64; the diagonal of the Hessian."""
    hessian_II: Tensor | None = None
    """Sum of ``x @ x.T``, float64; None if only squares were asked for. It is half the Hessian of
    the squared output error with respect to a row of weights, and usually called *the Hessian*."""

    @property
    def norms_I(self) -> Tensor:
        """The L2 norm of each input over all vectors, float64."""
        return self.squares_I.sqrt()

    def output_error(self, change_OI: Tensor) -> float:
        """Return the mean squared change of the layer's output vector, summed over outputs.

        Args:
            change_OI: the new weights minus the old ones.

        Raises:
            ValueError: the Hessian was not collected.
        """
        if self.hessian_II is None:
            raise ValueError("these statistics have no Hessian")
        change_OI = change_OI.to(self.hessian_II)
        return float(((change_OI @ self.hessian_II) * change_OI).sum()) / max(self.count, 1)

    def add(self, inputs_NI: Tensor, product_II: Tensor | None) -> None:
        """Add input vectors, and their ``x @ x.T`` if the Hessian is collected."""
        self.count += len(inputs_NI)
        if product_II is None:
            self.squares_I += inputs_NI.double().square().sum(0)
            return
        assert self.hessian_II is not None
        self.hessian_II += product_II
        self.squares_I += product_II.diagonal()


def empty_statistics(matrix: Matrix, *, hessian: bool) -> InputStatistics:
    """Return statistics of no inputs."""
    weight_OI = matrix.weight_OI
    size, device = weight_OI.shape[1], weight_OI.device
    zeros_I = torch.zeros(size, dtype=torch.float64, device=device)
    full = torch.zeros(size, size, dtype=torch.float64, device=device) if hessian else None
    return InputStatistics(0, zeros_I, full)


@contextmanager
def collecting(
    matrices: Sequence[Matrix], *, hessian: bool
) -> Iterator[dict[str, InputStatistics]]:
    """Within the context, every use of the layers adds to their statistics, by name."""
    found = {matrix.name: empty_statistics(matrix, hessian=hessian) for matrix in matrices}
    seen: list[tuple[Tensor, Tensor | None]] = []

    def hook_of(name: str) -> Any:
        def hook(module: Any, args: tuple[Tensor, ...]) -> None:
            flat_NI = args[0].detach().flatten(0, -2)
            # Query, key and value share one input; its product is computed once.
            if not (seen and seen[0][0] is args[0]):
                # A caller may run the model in bfloat16, in which sums would be too coarse.
                with torch.autocast(flat_NI.device.type, enabled=False):
                    product = (flat_NI.float().T @ flat_NI.float()).double() if hessian else None
                seen[:] = [(args[0], product)]
            found[name].add(flat_NI, seen[0][1])

        return hook

    hooks = [m.module.register_forward_pre_hook(hook_of(m.name)) for m in matrices]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
