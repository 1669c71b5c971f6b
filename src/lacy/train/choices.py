"""Automatic choices before a run, each with the reason that is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lacy.errors import LacyError
from lacy.objective import METHODS
from lacy.train.config import TrainConfig
from lacy.train.step import Way
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from lacy.corpus import DataInfo


def choose_bf16(config: TrainConfig, device: torch.device) -> tuple[bool, str]:
    """Whether the body runs in bfloat16, and why."""
    fast, why = _bf16_is_fast(device)
    if config.dtype == "auto":
        return fast, f"precision {'bf16' if fast else 'fp32'}: {why}"
    asked = config.dtype == "bf16"
    warning = f"; slow here: {why}" if asked and not fast else ""
    return asked, f"precision {config.dtype}: as asked{warning}"


def _bf16_is_fast(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        return good, f"{torch.cuda.get_device_name(device)} {'has' if good else 'lacks'} bfloat16"
    if device.type != "cpu":
        return False, f"bfloat16 is not tried on {device.type}"
    flags = cpu_flags()
    good = bool({"avx512_bf16", "amx_bf16"} & flags)
    if good:
        return True, "this CPU has AVX512-BF16 or AMX"
    return False, "this CPU has no AVX512-BF16 or AMX; bfloat16 would be some 20 times slower"


def cpu_flags() -> set[str]:
    """What this CPU can do, as Linux names it; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:
        return set()
    return set(lines[0].split(":", 1)[1].split()) if lines else set()


def choose_way(config: TrainConfig, processes: int) -> tuple[Way, str]:
    """How the choice covers the whole batch, and what that costs."""
    pieces = config.grad_accum * processes
    if config.method == "none":
        return "exact", "rate control: none, a plain model"
    if pieces == 1:
        if config.rate_control == "running":
            return "running", "rate control running: as asked; exact would cost nothing more here"
        return "exact", "rate control exact: the batch is one forward pass"
    if config.rate_control == "running":
        return "running", f"rate control running: {pieces} pieces per batch; right on average, free"
    if config.grad_accum == 1:
        why = f"the losses of {processes} processes are gathered; the head runs twice"
        return "gathered", f"rate control exact: {why}"
    why = f"{pieces} pieces per batch; exact by one more forward pass, about a third more time"
    return (
        "two_pass",
        f"rate control two_pass: {why} (--rate-control running is free, right on average)",
    )


def check_rate(config: TrainConfig, info: DataInfo) -> str:
    """Raise if the data hold fewer marks than the call rate asks for.

    With ``delegate: start`` the values are usually fewer than the rate: all of their starts are
    then delegated, which is said and no error, unless there is not one.

    Returns:
        What to tell the user, or nothing.

    Raises:
        LacyError: E46.
    """
    among = METHODS[config.method].among
    if among not in ("facts", "values"):
        return ""
    flag = MarkFlag.FACT if among == "facts" else MarkFlag.VALUE
    kind = "facts" if among == "facts" else "labelled values"
    if config.delegate == "start":
        flag, kind = MarkFlag.START, "starts of values"
    share = info.flags.get(str(flag.name), 0) / max(1, info.tokens - info.pieces)
    if share >= config.call_rate:
        return ""
    if config.delegate == "start" and share > 0:
        return (
            f"delegate start: {share:.1%} of the targets begin a value; all are delegated"
            f" (call_rate asks for {config.call_rate:.1%})"
        )
    raise LacyError(
        "E46", rate=config.call_rate, share=share, kind=kind, method=config.method,
        most=int(share * 100) / 100,
    )  # fmt: skip


def process_count() -> int:
    """Processes that were started together (accelerate launch, torchrun)."""
    import os

    return int(os.environ.get("WORLD_SIZE", "1"))


def first_process() -> bool:
    """Whether this process is the only one, or the first of a distributed run."""
    import os

    return int(os.environ.get("RANK", "0")) == 0
