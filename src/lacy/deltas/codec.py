"""Define what a codec is: it names its parts, fills them and reads them back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from lacy.deltas.frame import (
    Parts,
    Shapes,
    all_finite,
    frame,
    require_fits,
    require_numbers,
    shapes_of,
    unframe,
)
from lacy.errors import LacyError


class Codec(ABC):
    """Turns named tensors into bytes and back.

    A subclass says which flat tensors (parts) a message consists of and how they are computed;
    framing and checks are the same for all. Sizes depend on shapes only, never on values.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that ``codec_by_name`` understands; it is a part of each message."""

    @abstractmethod
    def parts(self, shapes: Shapes) -> Parts:
        """Return type and length of each part of a message."""

    @abstractmethod
    def _pack(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parts of finite float32 tensors."""

    @abstractmethod
    def _unpack(self, parts: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        """Return float32 tensors. Parts have the right types and lengths, but any values."""

    def encode(self, delta: Mapping[str, Tensor]) -> bytes:
        """Return the bytes of a message.

        Args:
            delta: floating-point tensors by name, on any device.

        Raises:
            LacyError: E355, there is nothing to send, or a value is not finite or too large for the
                codec.
        """
        if not delta:
            raise LacyError("E355", why="it contains no tensor")
        floats = {
            name: tensor.detach().to("cpu", torch.float32) for name, tensor in sorted(delta.items())
        }
        for name, tensor in floats.items():
            if not all_finite(tensor):
                raise LacyError("E355", why=f"{name} has NaN or infinite values")
        return frame(self.name, shapes_of(floats), self._pack(floats))

    def decode(self, data: bytes, shapes: Shapes) -> dict[str, Tensor]:
        """Return the tensors of a message as float32 on the CPU.

        Args:
            data: what ``encode`` returned.
            shapes: the names and shapes that are expected.

        Raises:
            LacyError: E356, the bytes are no message of this codec, have other names or shapes, are
                too long, or contain values that are not finite.
        """
        parts = unframe(data, self.name, shapes, self.parts(shapes))
        for name, part in parts.items():
            if part.is_floating_point():
                require_numbers(name, part)
        delta = self._unpack(parts, shapes)
        require_fits(delta, shapes)
        return delta

    def size(self, shapes: Shapes) -> int:
        """Return the number of bytes of a message, header included."""
        parts = {
            name: torch.empty(n, dtype=dtype) for name, (dtype, n) in self.parts(shapes).items()
        }
        return len(frame(self.name, shapes, parts))
