"""Quantize the linear layers of a model to int8 with torchao, after training or with training.

``transformers`` quantizes while it loads (``TorchAoConfig``): only then can it save the result as
safetensors. It leaves embedding and head alone, so a head that is tied to the embedding stays tied,
and the ``<CALL>`` row exact. Each row of a matrix has one scale, ``max |w| / 127.5``.

4 bits are not offered: torchao's int4 does not run on a CPU, and its intx formats store a byte per
weight. GGUF files have 4 bits that do.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from lacy._require import require_one_of, require_package
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    Loaded,
    model_fingerprint,
    plain_parts,
    probe,
    read_model,
    require_unquantized,
    write_model,
)
from lacy.runtimes.tensors import distinct_bytes

Int8 = Literal["int8", "int8_dynamic"]
"""``int8`` rounds weights; ``int8_dynamic`` also rounds the inputs of each layer, per token."""


@dataclass(frozen=True, slots=True)
class Int8Record:
    """What ``quantize_int8`` did."""

    kind: Int8
    matrices: int
    """Number of quantized weight matrices."""
    bytes_before: int
    """Bytes of the distinct tensors before."""
    bytes_after: int


def quantize_int8(
    loaded: Loaded, kind: Int8 = "int8", *, notify: Callable[[str], object] = lambda _: None
) -> tuple[Loaded, Int8Record]:
    """Quantize all linear layers except the head to int8.

    Args:
        loaded: the model; it must not be used afterwards.
        kind: ``int8`` or ``int8_dynamic``.
        notify: called with a sentence about the result.

    Returns:
        A new model, and what was done. The ``<CALL>`` row stays as it is until ``lacy.tune`` fits
        it again; if it was fitted on the weights of ``loaded``, the new model loads with it.

    Raises:
        LacyError: E11, torchao is not installed; E12, unknown kind; E90, the model has no linear
            layers that torchao can quantize, or does not run with them; E311, it is quantized
            already; E312, a precision that lacy does not write.
    """
    refused_precision(kind, "safetensors")
    require_one_of("precision", kind, get_args(Int8))
    check_int8(loaded, kind)
    config = _torchao_config(kind)
    before, matrices = distinct_bytes(loaded.model), len(_matrices(loaded.model))
    fits = loaded.meta.get(FINGERPRINT) == model_fingerprint(loaded.model)
    from transformers import TorchAoConfig

    with tempfile.TemporaryDirectory(prefix="lacy-int8-") as folder:
        write_model(Path(folder), loaded.model, loaded.tokenizer, loaded.meta)
        model = read_model(Path(folder), quantization=TorchAoConfig(config)).eval()
    model.config.name_or_path = loaded.model.config.name_or_path
    _require_running(model, kind, loaded.name or str(loaded.path or "memory"))
    meta = dict(loaded.meta)
    if fits:
        meta[FINGERPRINT] = model_fingerprint(model)
    after = distinct_bytes(model)
    record = Int8Record(kind, matrices, before, after)
    notify(f"{matrices} matrices in {kind}: {before / 1e6:.1f} MB became {after / 1e6:.1f} MB.")
    return (
        Loaded(model, loaded.tokenizer, meta, loaded.path, loaded.name, loaded.notes),
        record,
    )


@contextlib.contextmanager
def quantization_aware(model: Any, kind: Int8 = "int8") -> Iterator[None]:
    """Within the block, the model computes as if it were quantized, and can be trained so.

    The linear layers except the head round their weights (and inputs, for ``int8_dynamic``) in the
    forward pass; gradients pass the rounding unchanged (straight-through, Bengio et al. 2013).
    Inputs are rounded with a zero point, unlike in the result: torchao trains no other way.
    Afterwards the layers are ordinary again, with the trained weights, for ``quantize_int8``.

    Args:
        model: the model in float32; its layers are replaced within the block, their parameters
            stay the same objects.
        kind: ``int8`` or ``int8_dynamic``.

    Raises:
        LacyError: E11, torchao is not installed; E12, unknown kind; E311, the model is quantized.
    """
    refused_precision(kind, "training")
    require_one_of("precision", kind, get_args(Int8))
    require_unquantized(model, model.config.name_or_path or "memory", "trained")
    base = _torchao_config(kind)
    from torchao.quantization import quantize_
    from torchao.quantization.qat import FakeQuantizedLinear, IntxFakeQuantizeConfig, QATConfig

    weights = IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True)
    inputs = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    activation = inputs if kind == "int8_dynamic" else None
    body = {id(module) for module in _matrices(model)}
    prepare = QATConfig(activation_config=activation, weight_config=weights, step="prepare")
    assert base is not None
    quantize_(model, prepare, filter_fn=lambda module, _: id(module) in body)
    try:
        yield
    finally:
        back = QATConfig(step="convert")
        quantize_(model, back, filter_fn=lambda m, _: isinstance(m, FakeQuantizedLinear))


def refused_precision(precision: str, target: str) -> None:
    """Raise E312 for precisions of torchao that lacy does not write, with what to use instead."""
    reasons = {
        "int4": "torchao's int4 kernels do not run on a CPU",
        "intx": "torchao stores its intx weights as one byte each, so the file is not smaller",
    }
    for name, why in reasons.items():
        if precision.startswith(name):
            do = "for 4 bits: lacy export MODEL --to gguf --precision q4_0; or --precision int8"
            raise LacyError("E312", precision=precision, target=target, why=why, do=do)


def quantized_matrices(model: Any) -> list[str]:
    """Return the names of the weights that torchao has quantized."""
    return [
        name
        for name, weight in model.named_parameters()
        if [part for part, _ in plain_parts(name, weight)] != [name]
    ]


def check_int8(loaded: Loaded, kind: Int8 = "int8") -> None:
    """Check that ``quantize_int8`` can be applied, without changing anything.

    Raises:
        LacyError: E11, torchao is not installed; E90, the model has no linear layers that torchao
            can quantize; E311, it is quantized already.
    """
    require_package("torchao", "quant", "int8 weights")
    where = loaded.name or str(loaded.path or "memory")
    require_unquantized(loaded.model, where, f"quantized to {kind}")
    if not _matrices(loaded.model):
        why = f"{type(loaded.model).__name__} has no linear layers (torch.nn.Linear) to quantize"
        raise LacyError("E90", path=where, to=kind, why=why)


def _require_running(model: Any, kind: Int8, where: str) -> None:
    """Raise E90 if a quantized model cannot compute, as one that uses weights without their layer.

    Mamba multiplies a projection's weight itself, which torchao's tensors do not support.
    """
    try:
        with probe(model) as ids_BT:
            model(input_ids=ids_BT, use_cache=False)
    except Exception as error:  # torchao raises exceptions of several classes
        why = f"torchao cannot compute it ({first_line(error)[:120]})"
        raise LacyError("E90", path=where, to=kind, why=why) from error


def _matrices(model: Any) -> list[torch.nn.Linear]:
    """Return the linear layers except the head."""
    head = model.get_output_embeddings()
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]


def _torchao_config(kind: Int8) -> Any:
    """Return torchao's settings; they leave the global settings of torch's compiler alone."""
    require_package("torchao", "quant", "int8 weights")
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
    )

    if kind == "int8":
        return Int8WeightOnlyConfig(set_inductor_config=False)
    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
