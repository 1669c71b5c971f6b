"""Choose whether weights are held in float32 or bfloat16 while a model generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.model.quantized import quantization_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Precision = Literal["fp32", "bf16", "auto"]
"""``"auto"`` means bf16 where the device computes quickly in it."""


def set_precision(model: PreTrainedModel, precision: Precision) -> str:
    """Convert a model's weights in place; return a sentence for the user, or "" for fp32.

    The time per token is that of reading all weights, which bf16 halves; longer inputs take a third
    of the time (``benchmarks/decode_speed.py``). The rounding changes some words.

    Raises:
        LacyError: E12, there is no such precision, or that of the weights
            is fixed.
    """
    import torch

    require_one_of("dtype", precision, get_args(Precision))
    if precision == "fp32":
        return ""
    fixed = getattr(model, "precision", None) or quantization_of(model)
    if fixed is not None:
        if precision == "auto":
            return f"Precision: {fixed}, as the model was exported."
        why, do = f"the weights of this model are {fixed}", "leave out --dtype"
        raise LacyError("E12", key="dtype", value=precision, why=why, do=do)
    fast, why = bf16_is_fast(model.device)
    if precision == "auto" and not fast:
        return f"Precision: fp32; {why}."
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    return f"Precision: bf16, {'' if fast else 'slow here: '}{why}; fp32 is exact."


def bf16_is_fast(device: torch.device) -> tuple[bool, str]:
    """Return True if the device computes quickly in bfloat16, and the reason."""
    import torch

    if device.type == "cuda":
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        return good, f"{torch.cuda.get_device_name(device)} {'has' if good else 'lacks'} bfloat16"
    if device.type != "cpu":
        return False, f"bfloat16 is not tested on {device.type}"
    flags = _cpu_flags()
    good = bool({"avx512_bf16", "amx_bf16"} & flags)
    if good:
        return True, "this CPU has AVX512-BF16 or AMX"
    return False, "this CPU has no AVX512-BF16 or AMX; bfloat16 would be about 20 times slower"


def _cpu_flags() -> set[str]:
    """Return the names of the CPU's features on Linux; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:
        return set()
    return set(lines[0].split(":", 1)[1].split()) if lines else set()
