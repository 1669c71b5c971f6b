"""Put the parts of a message into the bytes of a safetensors file, and check what arrives.

A receiver knows which names and shapes it expects, so every length is known before a byte is read:
what is too long is refused unread, and no length in a message decides how much memory is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lacy.errors import LacyError

Shapes = Mapping[str, tuple[int, ...]]
"""Names and shapes of tensors."""

Parts = dict[str, tuple[torch.dtype, int]]
"""Type and length of each part of a message; all parts are flat."""

_ENTRY = "delta"
"""The only entry of the metadata, a JSON object: safetensors writes several in random order."""

_FORMAT = 1
_HEADER = 2000
"""Bytes of a header beside names and shapes: at most four parts of 120 bytes, codec, padding."""


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of tensors."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def count_of(shape: tuple[int, ...]) -> int:
    """Return the number of values of a tensor."""
    return math.prod(shape)


def frame(codec: str, shapes: Shapes, parts: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a safetensors file with the parts, the codec's name and all shapes."""
    about = {"format": _FORMAT, "codec": codec, "shapes": _listed(shapes)}
    return bytes(save(dict(parts), {_ENTRY: json.dumps(about, separators=(",", ":"))}))


def unframe(data: bytes, codec: str, shapes: Shapes, parts: Parts) -> dict[str, Tensor]:
    """Return the parts of a message after all checks that need no values.

    Raises:
        LacyError: E356, see ``Codec.decode``.
    """
    payload = sum(dtype.itemsize * length for dtype, length in parts.values())
    most = payload + _HEADER + 2 * len(json.dumps(_listed(shapes)))
    if len(data) > most:
        raise LacyError("E356", why=f"it has {len(data)} bytes, where at most {most} are expected")
    about = _about(data)
    if about.get("format") != _FORMAT:
        raise LacyError("E356", why=f"it is not of the format {_FORMAT}")
    if about.get("codec") != codec:
        raise LacyError("E356", why=f"its codec is {about.get('codec')!r}, not {codec!r}")
    if about.get("shapes") != _listed(shapes):
        raise LacyError("E356", why=_difference(about.get("shapes"), shapes))
    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise LacyError("E356", why=f"it is no safetensors file ({error})") from None
    expected = {name: (dtype, (length,)) for name, (dtype, length) in parts.items()}
    if {name: (part.dtype, tuple(part.shape)) for name, part in found.items()} != expected:
        raise LacyError("E356", why="its parts have other names, types or lengths")
    return found


def require_fits(delta: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Raise E356 unless tensors have exactly these names and shapes and are finite.

    A check for changes that arrive without a codec, from another process or another library.
    """
    if shapes_of(delta) != dict(shapes):
        raise LacyError("E356", why=_difference(_listed(shapes_of(delta)), shapes))
    for name, tensor in delta.items():
        require_numbers(name, tensor)


def all_finite(tensor: Tensor) -> bool:
    """True if no value is NaN or infinite.

    Smallest and largest value tell it, and are found ten times as fast as a mask is made.
    """
    return not tensor.numel() or all(math.isfinite(value) for value in torch.aminmax(tensor))


def require_numbers(name: str, tensor: Tensor) -> None:
    """Raise E356 unless all values are finite."""
    if not all_finite(tensor):
        raise LacyError("E356", why=f"{name} has NaN or infinite values")


def _listed(shapes: Shapes) -> dict[str, list[int]]:
    """Return shapes as JSON has them."""
    return {name: list(shape) for name, shape in sorted(shapes.items())}


def _about(data: bytes) -> dict[str, Any]:
    """Return what a message says about itself; empty if it says nothing."""
    length = int.from_bytes(data[:8], "little")
    try:
        if 8 + length > len(data):
            raise ValueError
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_ENTRY])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LacyError("E356", why="it is no safetensors file with a delta") from None
    return about if isinstance(about, dict) else {}


def _difference(found: Any, shapes: Shapes) -> str:
    """Say how the shapes in a message differ from the expected ones."""
    if not isinstance(found, dict):
        return "it names no shapes"
    for name, shape in _listed(shapes).items():
        if name not in found:
            return f"it lacks {name}"
        if found[name] != shape:
            return f"{name} has the shape {found[name]}, not {shape}"
    extra = next(name for name in found if name not in shapes)
    return f"it has {extra}, which is not expected"
