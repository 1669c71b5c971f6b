"""A KV cache with spare room: a step writes its token beside the others instead of copying all.

``transformers``' own layer grows by concatenation, a copy of everything per token; with many rows
that costs more than the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

SPARE = 64
"""Tokens of room that are kept beside those there are, at least."""


class RoomyLayer(DynamicLayer):
    """Keys and values are the beginning of larger tensors, as long as nobody replaces them.

    Cropping and selecting replace ``keys`` and ``values`` by tensors of their own; then the next
    token makes new room. To be written to under ``torch.inference_mode`` throughout.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rooms: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, T, D); gives all there are."""
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if not length:
            self.hold([(key_states, value_states)], total)
            return self.keys, self.values
        if not self._fits(total):
            self.hold([(self.keys, self.values)], length, total)
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., length:total, :] = new
        self._show(total)
        return self.keys, self.values

    def hold(self, pieces: Sequence[tuple[Tensor, Tensor]], length: int, total: int = 0) -> None:
        """Hold copies of the rows of pieces, which all end at column ``length``; zeros before.

        Args:
            pieces: keys and values (B, heads, T, D), T at most ``length``.
            length: columns.
            total: columns that there must be room for, if more.
        """
        self.dtype, self.device = pieces[0][0].dtype, pieces[0][0].device
        self.is_initialized = True
        width = max(length, total)
        width += max(SPARE, width // 4)
        self._rooms = []
        for states in zip(*pieces, strict=True):
            rows, (_, heads, _, size) = sum(len(piece) for piece in states), states[0].shape
            room, row = states[0].new_empty((rows, heads, width, size)), 0
            for piece in states:
                begin = length - piece.shape[-2]
                rows_of = room[row : row + len(piece)]
                rows_of[..., :begin, :] = 0
                rows_of[..., begin:length, :] = piece
                row += len(piece)
            self._rooms.append(room)
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)

    def _fits(self, length: int) -> bool:
        """Whether what there is still begins its room, and the room is large enough."""
        if not self._rooms or self._rooms[0].shape[-2] < length:
            return False
        return all(
            states.data_ptr() == room.data_ptr()
            and states.stride() == room.stride()
            and len(states) == len(room)
            for states, room in zip((self.keys, self.values), self._rooms, strict=True)
        )


def keeps_keys_and_values(model: Any) -> bool:
    """Whether the model's cache in ``transformers`` contains only keys and values, as ours does."""
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception:  # no transformers config: a model that accepts any cache
        return True
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def new_cache(layers: int = 0) -> Any:
    """An empty cache of such layers, which come by themselves where none are asked for."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = RoomyLayer
    cache.layers.extend(RoomyLayer() for _ in range(layers))
    return cache
