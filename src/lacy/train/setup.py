"""From settings to everything the loop needs: data, model, optimizer, schedule, step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.config import to_dict
from lacy.corpus import BatchOrder, PackedData
from lacy.errors import LacyError
from lacy.model import build, freeze_biases, from_checkpoint, read_model, require_context, set_gate
from lacy.objective import RunningQuantile, choose_impl
from lacy.train.checkpoint import (
    Saved,
    candidates,
    fork_source,
    read_checkpoint,
    set_random_state,
)
from lacy.train.choices import (
    check_rate,
    choose_bf16,
    choose_way,
    first_process,
    process_count,
)
from lacy.train.config import TrainConfig
from lacy.train.optim import load_state_tensors, make_optimizers
from lacy.train.reference import reference_losses
from lacy.train.schedule import WSD, make_schedule
from lacy.train.step import Body, Micro, Stepper

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass
class Session:
    """What a run is made of, ready for its first (or next) step."""

    config: TrainConfig
    data: PackedData
    order: BatchOrder
    valid: PackedData
    valid_rows: NDArray[np.int64]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    schedule: WSD
    stepper: Stepper
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    accelerator: Accelerator | None
    step: int = 0
    saved: Saved | None = None
    """The checkpoint of *this* run that was gone on from."""
    reference: NDArray[np.float16] | None = None
    reasons: list[str] = field(default_factory=list)
    """Automatic choices, for the user."""
    unreadable: list[Path] = field(default_factory=list)
    """Newer checkpoints of this run that are unreadable."""

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.accelerator is None or self.accelerator.is_main_process

    @property
    def tokens_per_step(self) -> int:
        """Positions of the whole batch."""
        return self.config.batch_rows * self.data.context

    @property
    def delegates_from(self) -> int:
        """The first step that delegates; before it the loss is the plain one."""
        steps = self.schedule.total - self.schedule.start
        return self.schedule.start + round(self.config.call_warmup * steps)

    def batch(self, step: int) -> list[Micro]:
        """The pieces of this process's batch; a pure function of seed and step."""
        rows = self.order.rows(step)
        return [self.micro(part) for part in rows.reshape(self.config.grad_accum, -1)]

    def micro(self, rows: NDArray[np.int64]) -> Micro:
        """Some rows of the training data on the device."""
        stored = None if self.reference is None else self.reference[rows]
        return Micro.of(self.data.batch(rows), self.device, stored)

    def valid_micros(self) -> Iterator[Micro]:
        """The rows to validate on, a piece at a time."""
        size = max(1, self.config.batch_rows // self.config.grad_accum)
        for first in range(0, len(self.valid_rows), size):
            rows = self.valid_rows[first : first + size]
            yield Micro.of(self.valid.batch(rows), self.device)

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def meta(self, step: int) -> dict[str, Any]:
        """How the model was trained, for ``lacy.json``."""
        fresh = self.config.init_from is None and self.config.fork is None
        return {
            "preset": self.config.model if fresh else None,
            "training": {
                "step": step,
                "of": self.schedule.total,
                "tokens": step * self.tokens_per_step,
                "settings": to_dict(self.config),
            },
        }


def prepare(config: TrainConfig, *, resume: bool = True) -> Session:
    """Open the data, build or load the model, and stand where the run stopped, if it did.

    Args:
        config: checked settings.
        resume: whether checkpoints in ``config.out`` are gone on from.

    Raises:
        LacyError: of the data (E13, E20, E25, E26), the model (E55-E59), the checkpoint (E49), a
            call rate above the share of marks (E46), or settings that do not fit them (E45).
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator, device = _device(config)
    assert config.data is not None
    data = PackedData.load(config.data)
    valid, valid_rows, train_rows = _validation(config, data)
    if first_process():
        data.verify()
        if valid is not data:
            valid.verify()
    why_rate = check_rate(config, data.info)
    order = _order(config, train_rows, accelerator)
    start_from = _starting_point(config, data, resume)
    saved, forked = start_from.saved, start_from.forked
    model, tokenizer = start_from.model or _model(config, data, forked), data.tokenizer
    if config.method != "none":
        set_gate(model, config.call_negative)
    start = forked.step if forked is not None else 0
    if saved is not None:
        start = int(saved.info["start"])
    model.to(device)  # type: ignore[arg-type]
    model.train()
    bf16, why_dtype = choose_bf16(config, device)
    processes = 1 if accelerator is None else accelerator.num_processes
    way, why_way = choose_way(config, processes)
    selector = RunningQuantile(config.call_rate) if way == "running" else None
    optimizers = make_optimizers(model, config)
    session = Session(
        config=config,
        data=data,
        order=order,
        valid=valid,
        valid_rows=valid_rows,
        model=model,
        tokenizer=tokenizer,
        schedule=make_schedule(config, rows=train_rows, context=data.context, start=start),
        stepper=Stepper(model, _body(model, config, accelerator), way, selector, accelerator, bf16),
        optimizers=optimizers,
        device=device,
        accelerator=accelerator,
        saved=saved,
        reference=reference_losses(config, data, device),
        reasons=[f"device {device}", why_dtype, why_way, f"loss {choose_impl()[1]}"]
        + [why_rate] * bool(why_rate)
        + start_from.said,
        unreadable=start_from.unreadable,
    )
    source = saved or forked
    if source is not None:
        _go_on(session, source)
    return session


def _device(config: TrainConfig) -> tuple[Accelerator | None, torch.device]:
    """The device, and ``accelerate`` where there are several processes; one needs no wrappers."""
    if process_count() > 1:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=config.device == "cpu")
        return accelerator, accelerator.device
    from accelerate import PartialState

    return None, PartialState(cpu=config.device == "cpu").device


def _validation(config: TrainConfig, data: PackedData) -> tuple[PackedData, NDArray[np.int64], int]:
    """Data and rows to validate on, and how many of the first rows to train on."""
    if config.valid is not None:
        valid = PackedData.load(config.valid, data.tokenizer)
        return valid, np.arange(min(len(valid), config.eval_rows)), len(data)
    held = min(round(config.hold_out * len(data)), len(data) - 1)
    rows = np.arange(len(data) - held, len(data))
    return data, rows[: config.eval_rows], len(data) - held


def _order(config: TrainConfig, rows: int, accelerator: Accelerator | None) -> BatchOrder:
    """Which rows belong to which step and process."""
    rank, processes = 0, 1
    if accelerator is not None:
        rank, processes = accelerator.process_index, accelerator.num_processes
    if config.batch_rows % (processes * config.grad_accum):
        pieces = f"{processes} processes times {config.grad_accum} pieces"
        problem = f"\n  - batch_rows {config.batch_rows} does not split into {pieces}"
        raise LacyError("E45", count=1, problems=problem)
    return BatchOrder(rows, config.batch_rows, config.seed, rank=rank, world_size=processes)


@dataclass
class _Start:
    """The starting point of a run: its own checkpoint, one that it is forked from, or neither."""

    saved: Saved | None = None
    forked: Saved | None = None
    model: PreTrainedModel | None = None
    """The model of ``saved``."""
    unreadable: list[Path] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def _starting_point(config: TrainConfig, data: PackedData, resume: bool) -> _Start:
    """The newest readable checkpoint of this run, or the one from which it is forked.

    Raises:
        LacyError: E49, the run has checkpoints but none is readable, or the data have changed.
    """
    start = _Start()
    first: LacyError | None = None
    for path in candidates(config.out) if resume else ():
        try:
            start.saved = read_checkpoint(path)
            require_same_data(start.saved, data)
            start.model = _model(config, data, start.saved)
            return start
        except LacyError as error:
            if start.saved is not None and not same_data(start.saved, data):
                raise
            first = first or error
            start.saved = None
            start.unreadable.append(path)
            start.said.append(f"{path} cannot be read and is put aside: {error.what}")
    if first is not None:
        raise first
    if config.fork is not None:
        start.forked = read_checkpoint(fork_source(config.fork))
    return start


def same_data(saved: Saved, data: PackedData) -> bool:
    """Whether a checkpoint was written while training on these data."""
    return bool(saved.info.get("data") == fingerprint(data))


def require_same_data(saved: Saved, data: PackedData) -> None:
    """Raise E49 unless a checkpoint was written while training on these data."""
    if not same_data(saved, data):
        why = "the data have changed since it was written"
        do = "restore the old data, or start again in another folder (--out)"
        raise LacyError("E49", path=saved.path, why=why, do=do)


def fingerprint(data: PackedData) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    info = data.info
    return {"tokenizer": info.tokenizer, "context": info.context, "rows": info.rows,
            "tokens": info.tokens, "flags": info.flags,
            **({"digests": info.digests} if info.digests else {})}  # fmt: skip


def _model(config: TrainConfig, data: PackedData, source: Saved | None) -> PreTrainedModel:
    """The model of a checkpoint, of --init-from, or a new one from a preset."""
    tokenizer = data.tokenizer
    if source is not None or config.init_from is not None:
        place = source.path if source is not None else str(config.init_from)
        if source is not None and source.info["data"]["tokenizer"] == data.info.tokenizer:
            model = read_model(source.path)
            freeze_biases(model)
        else:
            model, _ = from_checkpoint(place, tokenizer)
        do = "annotate the texts again with --context {longest} or less"
        require_context(model, data.context, place, do)
        return model
    return build(config.model, tokenizer, context=data.context, seed=config.seed)


def _body(model: PreTrainedModel, config: TrainConfig, accelerator: Accelerator | None) -> Any:
    """What gives hidden states: the plain body, compiled or spread over processes as asked."""
    body: Any = Body(model)
    if config.compile:
        body = torch.compile(body)
    return body if accelerator is None else accelerator.prepare(body)


def _go_on(session: Session, source: Saved) -> None:
    """Stand where ``source`` was written: step, optimizer, running quantile, chance."""
    session.step = source.step
    load_state_tensors(session.model, session.optimizers, source.group("optimizer"))
    held = source.group("selector")
    if session.stepper.selector is not None and held:
        session.stepper.selector.load_state_dict(held)
    set_random_state(source.group("random"))
    if session.saved is not None:
        session.reasons.append(f"going on at step {source.step}, from {source.path}")
    else:
        session.reasons.append(
            f"forked at step {source.step} from {source.path}, with its optimizer"
        )


def saved_groups(session: Session) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint; the loop adds its own."""
    from lacy.train.checkpoint import random_state
    from lacy.train.optim import state_tensors

    selector = session.stepper.selector
    return {
        "optimizer": state_tensors(session.model, session.optimizers),
        "selector": {} if selector is None else selector.state_dict(),
        "random": random_state(),
    }
