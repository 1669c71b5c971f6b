"""Read models whose linear layers torchao has quantized to int8 (``lacy.runtimes`` makes them).

Embedding and head stay in floating point, so the ``<CALL>`` row is as exact as before and can be
fitted again. The quantized weights can be read but not trained, and nothing quantizes them twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lacy._require import require_package
from lacy.errors import LacyError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

INT8 = {
    "Int8WeightOnlyConfig": "int8",
    "Int8DynamicActivationInt8WeightConfig": "int8_dynamic",
}
"""Quantizations that lacy reads and writes, by torchao's name in ``config.json``."""


def int8_kind(settings: Any) -> str | None:
    """Return the quantization in the ``quantization_config`` of a ``config.json``.

    Returns:
        ``int8`` or ``int8_dynamic``; None for any other method or type.
    """
    if not isinstance(settings, Mapping) or settings.get("quant_method") != "torchao":
        return None
    kind = settings.get("quant_type")
    default = kind.get("default") if isinstance(kind, Mapping) else None
    return INT8.get(str(default.get("_type"))) if isinstance(default, Mapping) else None


def require_readable(place: Path, settings: Any) -> None:
    """Raise an error unless lacy reads the quantization of a folder.

    Args:
        place: the model's folder.
        settings: the ``quantization_config`` of its ``config.json``.

    Raises:
        LacyError: E130, it is of another kind; E11, torchao is not installed.
    """
    if int8_kind(settings) is None:
        method = settings.get("quant_method") if isinstance(settings, Mapping) else None
        raise LacyError("E130", path=place, method=method or "an unknown method")
    require_package("torchao", "quant", "a model with int8 weights")


def quantization_of(model: Any) -> str | None:
    """Return ``int8`` or ``int8_dynamic`` for a model that torchao has quantized, else None."""
    settings = getattr(model.config, "quantization_config", None)
    if settings is None:
        return None
    data = settings if isinstance(settings, Mapping) else settings.to_dict()
    return int8_kind(data) or "quantized"


def require_unquantized(model: Any, where: object, what: str) -> None:
    """Raise E311 if a model is quantized.

    Args:
        model: the model.
        where: its folder or name, for the message.
        what: what cannot be done with it, as in "cannot be {what}".
    """
    kind = quantization_of(model)
    if kind is not None:
        raise LacyError("E311", path=where, kind=kind, what=what)


def plain_parts(name: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the ordinary tensors that a weight consists of, with their names in a file.

    An int8 weight of torchao consists of integers and scales; any other weight is one tensor.
    """
    parts = [
        part
        for kind in ("tensor_data_names", "optional_tensor_data_names")
        for part in getattr(weight, kind, ())
    ]
    if not parts:
        yield name, weight
        return
    owner, _, last = name.rpartition(".")
    for part in parts:
        tensor = getattr(weight, part)
        if tensor is not None:
            yield f"{owner}._{last}_{part}", tensor
