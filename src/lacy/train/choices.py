"""Choose settings that depend on the model, the data and the machine, and say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.model import META, bf16_is_fast, gate_of, resolve
from lacy.objective import METHODS
from lacy.train.config import AUTOMATIC, RatePasses, TrainConfig
from lacy.train.depth import TOO_HIGH, choose_lr
from lacy.train.head import new_row
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lacy.corpus import DataInfo

EVAL_ROWS, SLOW_EVAL_ROWS, SLOW_ON_CPU = 256, 32, 50_000_000
"""Default rows of a validation; models above ``SLOW_ON_CPU`` parameters use fewer on a CPU."""


def preset_of(config: TrainConfig) -> str | None:
    """Return the preset of a new model, or the one that the model to start from began with.

    It is kept, because a model that began with new weights here does not read sources
    (``lacy.cascade``), however often it is trained again.
    """
    if config.new_model:
        return config.model
    place = resolve(config.model)
    try:
        name = parse_json((Path(place) / META).read_text(encoding="utf-8")).get("preset")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def with_choices(config: TrainConfig, stored: Mapping[str, Any]) -> TrainConfig:
    """Return the settings; those that are not given are the automatic choices of another run."""
    chosen = {n: stored[n] for n in AUTOMATIC if getattr(config, n) is None and n in stored}
    return replace(config, **chosen)


def settle(
    config: TrainConfig, model: PreTrainedModel, device: torch.device
) -> tuple[TrainConfig, list[str]]:
    """Choose the settings that depend on the model and were not given (``AUTOMATIC``).

    Args:
        config: the settings.
        model: the model before the first step.
        device: where it will be trained.

    Returns:
        The complete settings, and sentences for the user about choices and doubtful settings.
    """
    notes = []
    parameters = sum(p.numel() for p in model.parameters())
    lr, why = choose_lr(config.depth, parameters, pretrained=not config.new_model)
    if config.lr is None:
        notes.append(why)
    elif not config.new_model and config.lr > TOO_HIGH * lr:
        notes.append(
            f"WARNING: a learning rate of {config.lr:g} will probably destroy what this model"
            f" knows; {lr:g} suits its size and depth {config.depth} (leave out --lr)"
        )
    gate = "softmax" if config.new_model else gate_of(model)
    negative = config.call_negative
    if config.method == "none" or config.new_model:
        negative = negative or "softmax"
    elif negative is None:
        negative = "sigmoid" if gate == "sigmoid" else "softmax"
        if gate == "sigmoid":
            notes.append("call_negative sigmoid: the model has a gate, which training continues")
    elif gate == "sigmoid" and negative != "sigmoid":
        notes.append(
            f"WARNING: the model has a gate, but call_negative is {negative}: its <CALL> row must"
            " be retrained (leave out --call-negative)"
        )
    if config.method != "none" and not config.new_model and new_row(model):
        notes.append(
            "the <CALL> row is new and starts at a high call loss; a row fitted by lacy tune"
            " starts at a low one"
        )
    rows = config.eval_rows
    if rows is None:
        slow = device.type == "cpu" and parameters > SLOW_ON_CPU
        rows = SLOW_EVAL_ROWS if slow else EVAL_ROWS
        if slow:
            notes.append(f"validation on at most {rows} rows: the model is large for a CPU")
    return replace(config, lr=config.lr or lr, call_negative=negative, eval_rows=rows), notes


def choose_passes(config: TrainConfig, processes: int) -> tuple[RatePasses, str]:
    """Return how to enforce the call rate over the whole batch, and a sentence about its cost."""
    count = config.grad_accum
    if config.method == "none":
        return "exact", "rate control: none, a plain model"
    if count == 1:
        if config.rate_control == "running":
            return "running", "rate control running: as requested; exact would cost nothing more"
        if processes > 1:
            return "exact", f"rate control exact: {processes} processes exchange their losses"
        return "exact", "rate control exact: the batch is one micro-batch"
    if config.rate_control == "running":
        why = f"{count} micro-batches per batch; correct on average at no cost"
        return "running", f"rate control running: {why}"
    why = (
        f"{count} micro-batches per batch; exact by one more forward pass, about a third more time"
    )
    alternative = "--rate-control running costs nothing and is correct on average"
    return "two_pass", f"rate control two_pass: {why} ({alternative})"


def choose_bf16(config: TrainConfig, device: torch.device) -> tuple[bool, str]:
    """Return True if the body should run in bfloat16, and a sentence that explains why."""
    fast, why = bf16_is_fast(device)
    if config.dtype == "auto":
        return fast, f"precision {'bf16' if fast else 'fp32'}: {why}"
    wanted = config.dtype == "bf16"
    warning = f"; slow here: {why}" if wanted and not fast else ""
    return wanted, f"precision {config.dtype}: as requested{warning}"


def check_rate(config: TrainConfig, info: DataInfo) -> str:
    """Raise an error if the data contain fewer marks than the call rate needs.

    With ``delegate: start``, fewer values than the rate needs are normal: all starts are delegated,
    and the returned note says so. Only data without any value are an error.

    Returns:
        A note for the user, or "".

    Raises:
        LacyError: E46, there are too few marks.
    """
    among = METHODS[config.method].among
    if among not in ("facts", "values"):
        return ""
    flag = MarkFlag.FACT if among == "facts" else MarkFlag.VALUE
    kind = "facts" if among == "facts" else "labelled values"
    if config.delegate == "start":
        flag, kind = MarkFlag.START, "starts of values"
    share = info.flags.get(str(flag.name), 0) / max(1, info.tokens - info.segments)
    if share >= config.call_rate:
        return ""
    if config.delegate == "start" and share > 0:
        return (
            f"delegate start: {share:.1%} of the targets begin a value; all are delegated"
            f" (call_rate is {config.call_rate:.1%})"
        )
    raise LacyError(
        "E46", rate=config.call_rate, share=share, kind=kind, method=config.method,
        most=int(share * 100) / 100,
    )  # fmt: skip
