"""A KV cache with spare capacity: a step writes its token in place and copies nothing.

The cache of ``transformers`` grows by concatenation, which copies all keys and values for every
token; with many rows, this takes longer than the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

SPARE = 64
"""Minimum spare capacity in tokens."""


class BufferedLayer(DynamicLayer):
    """A cache layer with keys and values that are views of the start of larger buffers.

    Cropping and selecting replace ``keys`` and ``values`` by new tensors; the next token then
    allocates new buffers. All writes must happen under ``torch.inference_mode``.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._buffers: list[Tensor] = []
        self._shown: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, T, D) and return all of them."""
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if not length:
            self.fill([(key_states, value_states)], total)
            return self.keys, self.values
        if not self._fits(total):
            self.fill([(self.keys, self.values)], length, total)
        keys, values = self._buffers
        keys.narrow(-2, length, total - length).copy_(key_states)
        values.narrow(-2, length, total - length).copy_(value_states)
        self._show(total)
        return self.keys, self.values

    def fill(self, parts: Sequence[tuple[Tensor, Tensor]], length: int, total: int = 0) -> None:
        """Replace the content by copies of rows that end at column ``length``, padded with zeros.

        Args:
            parts: keys and values (B, heads, T, D), T at most ``length``.
            length: number of columns.
            total: number of columns to allocate, if larger.
        """
        self.dtype, self.device = parts[0][0].dtype, parts[0][0].device
        self.is_initialized = True
        width = max(length, total)
        width += max(SPARE, width // 4)
        self._buffers = []
        for states in zip(*parts, strict=True):
            rows, (_, heads, _, size) = sum(len(part) for part in states), states[0].shape
            buffer, row = states[0].new_empty((rows, heads, width, size)), 0
            for part in states:
                begin = length - part.shape[-2]
                rows_of = buffer[row : row + len(part)]
                rows_of[..., :begin, :] = 0
                rows_of[..., begin:length, :] = part
                row += len(part)
            self._buffers.append(buffer)
        self._show(length)

    def _show(self, length: int) -> None:
        keys, values = self._buffers
        self.keys, self.values = keys.narrow(-2, 0, length), values.narrow(-2, 0, length)
        self._shown = self.keys

    def _fits(self, length: int) -> bool:
        """True if keys and values are still views of buffers that are large enough."""
        if not self._buffers or self._buffers[0].shape[-2] < length:
            return False
        if self.keys is self._shown:  # the usual case, once per token and layer
            return True
        return all(
            states.data_ptr() == buffer.data_ptr()
            and states.stride() == buffer.stride()
            and len(states) == len(buffer)
            for states, buffer in zip((self.keys, self.values), self._buffers, strict=True)
        )


def keeps_keys_and_values(model: Any) -> bool:
    """True if the model's cache in ``transformers`` contains only keys and values, like ours."""
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception:  # without a transformers config, assume that the model accepts any cache
        return True
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def new_cache(layers: int = 0) -> Any:
    """Return an empty cache with ``layers`` layers; further layers are created on first use."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = BufferedLayer
    cache.layers.extend(BufferedLayer() for _ in range(layers))
    return cache
