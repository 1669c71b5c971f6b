"""Keep what a codec lost, and add it to the next change (error feedback)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lacy.deltas.codec import Codec
from lacy.deltas.frame import Shapes, require_fits, shapes_of


class ErrorFeedback:
    """The sender's memory of what receivers have not got yet.

    With a decay of 1, everything that was decoded so far, plus the rest, is the sum of all changes.
    SparseLoCo (2508.15706) lets the rest decay by 0.95, because old changes become stale.

    Args:
        codec: turns changes into bytes.
        decay: factor of the rest before a change is added.
    """

    def __init__(self, codec: Codec, decay: float = 1.0) -> None:
        self.codec, self.decay = codec, decay
        self._rest: dict[str, Tensor] = {}

    def encode(self, delta: Mapping[str, Tensor]) -> bytes:
        """Return the bytes of a change plus the rest of earlier ones.

        Raises:
            LacyError: E355 or E356, it is not finite, or has other names or shapes than the change
                before; the rest stays as it was.
        """
        if self._rest:
            require_fits(delta, shapes_of(self._rest))
        total = {
            name: tensor.detach().to("cpu", torch.float32) + self.decay * self._rest.get(name, 0.0)
            for name, tensor in delta.items()
        }
        data = self.codec.encode(total)
        decoded = self.codec.decode(data, shapes_of(total))
        self._rest = {name: total[name] - decoded[name] for name in total}
        return data

    def give_back(self, data: bytes) -> None:
        """Add a message to the rest again, because no receiver has used it."""
        for name, tensor in self.codec.decode(data, shapes_of(self._rest)).items():
            self._rest[name] += tensor

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rest by name; empty before the first message. Sums need all of it."""
        return {name: tensor.clone() for name, tensor in self._rest.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], shapes: Shapes | None = None) -> None:
        """Restore the rest.

        Args:
            state: what ``state_dict`` returned.
            shapes: the expected names and shapes, if the state comes from a file.

        Raises:
            LacyError: E356, names or shapes differ, or values are not finite.
        """
        if state:
            require_fits(state, shapes_of(state) if shapes is None else shapes)
        self._rest = {name: tensor.detach().float().clone() for name, tensor in state.items()}
