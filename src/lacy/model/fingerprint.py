"""Compute a fingerprint of a model's weights, except its ``<CALL>`` row.

A tuned ``<CALL>`` row fits only the hidden states of the weights on which it was fitted. Its
``lacy.json`` stores their fingerprint, and ``load_model`` compares it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from lacy.model.files import check_complete, stored_rows
from lacy.model.naming import resolve
from lacy.model.quantized import plain_parts
from lacy.model.weights import BODY, HARMLESS

FINGERPRINT = "fingerprint"
"""Key of ``lacy.json`` for the fingerprint of the weights that a tuned row belongs to."""

_VOCABULARY_ROWS = 64
"""Number of rows that are read from embedding and head. These rows always exist, before and after
``<CALL>`` is added or padding is dropped."""


def model_fingerprint(model: Any) -> str:
    """Return 16 hex digits that change if weights other than the ``<CALL>`` row change.

    A few rows of every matrix are read (the first, middle and last; the first 64 of embedding and
    head), so this takes milliseconds for a model in memory. It does not depend on the dtype in
    which equal numbers are stored, on the ``<CALL>`` row, on the padding of the vocabulary, or on
    whether tied matrices are stored once or twice.

    Args:
        model: a ``transformers`` model, or a name as in ``resolve`` of a model on this machine.

    Raises:
        LacyError: the errors of ``resolve`` and ``check_complete``, for a name.
    """
    parts = _of_folder(model) if isinstance(model, str | Path) else _of_model(model)
    digests = {_digest(name, shape, rows) for name, shape, rows in parts}
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16]


def _of_model(model: Any) -> Iterator[tuple[str, Sequence[int], torch.Tensor]]:
    """Yield name, shape and sampled rows of each weight of a model."""
    for parameter in model.named_parameters():
        for name, weight in plain_parts(*parameter):
            yield name, weight.shape, weight.detach()[_sample(name, weight.shape)].cpu()


def _of_folder(name: str | Path) -> Iterator[tuple[str, Sequence[int], torch.Tensor]]:
    """Yield name, shape and sampled rows of each stored weight of a folder."""
    place = Path(resolve(name))
    check_complete(place)
    for key, shape, rows in stored_rows(place, _sample):
        if not HARMLESS.search(key):
            yield key, shape, rows


def _sample(name: str, shape: Sequence[int]) -> list[int]:
    """Return the indices of the rows that are read."""
    size = shape[0] if shape else 0
    if len(shape) < 2:
        return list(range(size))
    if not BODY.search(name):
        return list(range(min(size, _VOCABULARY_ROWS)))
    return sorted({0, size // 2, size - 1})


def _digest(name: str, shape: Sequence[int], rows: torch.Tensor) -> str:
    """Return a digest of a weight.

    Names outside the layers are left out, because they depend on the class.
    """
    body = BODY.search(name)
    key = name[body.start() :].lstrip(".") if body else ""
    size = tuple(shape) if body else tuple(shape)[1:]
    digest = hashlib.sha256(f"{key} {size}".encode())
    digest.update(rows.float().contiguous().numpy().tobytes())
    return digest.hexdigest()
