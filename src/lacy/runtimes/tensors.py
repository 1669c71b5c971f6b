"""Count the bytes of a model's tensors, each once, and compare files with them.

Embedding and head of a small model are often one matrix, and a large part of all weights. Tools
that replace or export weights easily lose this link; the file then contains the matrix twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from lacy.errors import LacyError
from lacy.model import plain_parts


def distinct_tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the ordinary tensors of a model's state with their names, each tensor once.

    Args:
        model: a ``transformers`` model, also one with int8 weights of torchao.
    """
    seen: set[tuple[int, int]] = set()
    for item in model.state_dict().items():
        for name, tensor in plain_parts(*item):
            place = (tensor.data_ptr(), tensor.nbytes)
            if place not in seen or not tensor.nbytes:
                seen.add(place)
                yield name, tensor


def distinct_bytes(model: Any) -> int:
    """Return the bytes of a model's tensors, where tied matrices count once."""
    return sum(tensor.nbytes for _, tensor in distinct_tensors(model))


def stored_bytes(folder: Path) -> int:
    """Return the bytes of the tensors in a folder's safetensors files, without their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(header))
        spans = [entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__"]
        total += sum(end - begin for begin, end in spans)
        if path.stat().st_size != 8 + header + max((end for _, end in spans), default=0):
            raise LacyError("E313", path=path, found=path.stat().st_size - 8 - header, wanted=total)
    return total


def require_size(path: Path, found: int, wanted: int, *, tolerance: float = 0.0) -> None:
    """Raise E313 if a file's weights take more or fewer bytes than the model's tensors.

    Args:
        path: what was written, for the message.
        found: bytes of the weights in the file.
        wanted: bytes of the model's distinct tensors, in the file's precision.
        tolerance: largest difference, as a share of ``wanted``.
    """
    if abs(found - wanted) > tolerance * wanted:
        raise LacyError("E313", path=path, found=found, wanted=wanted)
