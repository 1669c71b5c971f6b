"""Prepare a run from its settings: data, model, optimizers, schedule, and automatic choices."""

from __future__ import annotations

import os
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
from lacy.model import (
    build_model,
    freeze_biases,
    from_checkpoint,
    read_model,
    require_context,
    set_gate,
    set_taught,
)
from lacy.objective import Objective, RunningQuantile, choose_impl
from lacy.train.batches import ExtraLoss, MicroBatch
from lacy.train.checkpoint import (
    Saved,
    data_fingerprint,
    find_start,
    random_state,
    set_random_state,
)
from lacy.train.choices import (
    EVAL_ROWS,
    check_rate,
    choose_bf16,
    choose_passes,
    preset_of,
    settle,
    with_choices,
)
from lacy.train.config import TrainConfig
from lacy.train.fitting import FitState, ModelBody
from lacy.train.mixing import Mixture
from lacy.train.optim import load_state_tensors, make_optimizers, state_tensors
from lacy.train.reference import reference_losses
from lacy.train.schedule import WSD, make_schedule
from lacy.train.trained import Base, Trained
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


@dataclass
class Session:
    """A run that is ready for its next step."""

    config: TrainConfig
    data: PackedData
    mixture: Mixture
    """The rows of each step."""
    valid: PackedData
    valid_rows: NDArray[np.int64]
    state: FitState
    trained: Trained
    """Which part of ``state.model`` is trained and saved."""
    schedule: WSD
    device: torch.device
    preset: str | None = None
    """The preset whose new weights this run, or the run that it is forked from, began with."""
    saved: Saved | None = None
    """The checkpoint of *this* run from which it resumes."""
    reference: NDArray[np.float16] | None = None
    extra: ExtraLoss | None = None
    """A loss beside the objective."""
    general: PackedData | None = None
    """Texts of other kinds, on which forgetting is measured."""
    reasons: list[str] = field(default_factory=list)
    """Sentences for the user about automatic choices."""
    unreadable: list[Path] = field(default_factory=list)
    """Newer checkpoints of this run that are unreadable."""

    @property
    def main(self) -> bool:
        """True if this is the process that writes files and prints."""
        return self.state.accelerator is None or self.state.accelerator.is_main_process

    @property
    def tokens_per_step(self) -> int:
        """Number of positions in the whole batch."""
        return self.config.batch_rows * self.data.context

    @property
    def delegates_from(self) -> int:
        """The first step that delegates; earlier steps use plain cross-entropy."""
        steps = self.schedule.total - self.schedule.start
        return self.schedule.start + round(self.config.call_warmup * steps)

    def objective(self, step: int) -> Objective:
        """Return the objective of a step."""
        return self.config.objective(delegate=step >= self.delegates_from)

    def lr(self, step: int) -> float:
        """Return the learning rate of a step."""
        assert self.config.lr is not None
        return self.config.lr * self.schedule.at(step)

    def batches(self) -> Iterator[list[MicroBatch]]:
        """Yield the batches of the remaining steps."""
        for step in range(self.state.step, self.schedule.total):
            yield self.batch(step)

    def batch(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of this process; they depend only on seed and step."""
        mask, numbers = self.mixture.numbers(step)
        parts = np.split(np.arange(len(numbers)), self.config.grad_accum)
        return [
            MicroBatch.of(
                self.mixture.columns(mask[part], numbers[part]),
                self.device,
                None if self.reference is None else self.reference[numbers[part]],
                None if mask[part].any() else numbers[part].tolist(),
            )
            for part in parts
        ]

    def valid_micros(self, *, general: bool = False) -> Iterator[MicroBatch]:
        """Yield the validation rows, or those of the general texts, in micro-batches."""
        data, chosen = self.valid, self.valid_rows
        if general:
            assert self.general is not None
            most = self.config.eval_rows or EVAL_ROWS
            data, chosen = self.general, np.arange(min(len(self.general), most))
        size = max(1, self.config.batch_rows // self.config.grad_accum)
        for first in range(0, len(chosen), size):
            yield MicroBatch.of(data.batch(chosen[first : first + size]), self.device)

    def meta(self) -> dict[str, Any]:
        """Return the training entries of ``lacy.json``."""
        return {
            "preset": self.preset,
            "training": {
                "step": self.state.step,
                "of": self.schedule.total,
                "tokens": self.state.step * self.tokens_per_step,
                "settings": to_dict(self.config),
            },
        }

    def saved_groups(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensor groups of a checkpoint; the loop adds its own."""
        quantile = self.state.quantile
        return {
            "optimizer": state_tensors(self.state.model, self.state.optimizers),
            "quantile": {} if quantile is None else quantile.state_dict(),
            "random": random_state(),
        }


def prepare_session(config: TrainConfig, *, resume: bool = True) -> Session:
    """Open the data, build or load the model, and restore the state of a stopped run.

    Args:
        config: settings that have passed ``check``.
        resume: True continues from the checkpoints in ``config.out``.

    Raises:
        LacyError: E13, E20, E25, E26, errors of the data; E55-E59, errors of the model; E49, errors
            of the checkpoint; E46, the call rate exceeds the share of marks; E45, settings do not
            match data and model.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator, device = _device(config)
    assert config.data is not None
    data = PackedData.load(config.data)
    replay, general = (_beside(data, path) for path in (config.replay, config.valid_general))
    rate_note = check_rate(config, data.info)
    start = find_start(
        config, data_fingerprint(data, replay), lambda saved: _trained(config, data, saved),
        resume=resume,
    )  # fmt: skip
    source = start.saved or start.forked
    trained = start.trained or _trained(config, data, start.forked)
    if start.forked is not None:  # continue with its learning rate and gate
        config = with_choices(config, start.forked.settings())
    config, settled = settle(config, trained.model, device)
    valid, valid_rows, train_rows = _validation(config, data)
    if first_process():
        for packed in {id(each): each for each in (data, valid, replay, general) if each}.values():
            packed.verify()
    order = _order(config, train_rows, accelerator)
    mixture = Mixture(data, order, replay, config.replay_share)
    trained.model.to(device)  # type: ignore[arg-type]
    state, notes = _fit_state(config, trained.model, device, accelerator)
    first_step, preset = 0, None if config.fork else preset_of(config)
    if source is not None:  # a resumed run must keep the start step of its schedule
        first_step = source.step if source is start.forked else int(source.info["start"])
        preset = source.preset()
    session = Session(
        config=config,
        data=data,
        mixture=mixture,
        valid=valid,
        valid_rows=valid_rows,
        state=state,
        trained=trained,
        schedule=make_schedule(
            config, rows=mixture.rows_per_epoch, context=data.context, start=first_step
        ),
        device=device,
        preset=preset,
        saved=start.saved,
        reference=reference_losses(config, data, device),
        general=general,
        reasons=[
            *settled,
            *notes,
            *[rate_note] * bool(rate_note),
            *_replay_note(mixture),
            *start.notes,
        ],
        unreadable=start.unreadable,
    )
    if source is not None:
        _restore(session, source)
    else:
        torch.manual_seed(config.seed % 2**63)  # for dropout, which some pretrained models have
    return session


def _fit_state(
    config: TrainConfig,
    model: PreTrainedModel,
    device: torch.device,
    accelerator: Accelerator | None,
) -> tuple[FitState, list[str]]:
    """Return the state before the first step, and one note per automatic choice."""
    if config.method != "none":
        set_gate(model, str(config.call_negative))
    elif config.new_model:  # nothing trains the row of <CALL>
        set_taught(model, taught=False)
    model.train()
    bf16, dtype_note = choose_bf16(config, device)
    passes, passes_note = choose_passes(
        config, 1 if accelerator is None else accelerator.num_processes
    )
    quantile = None
    if passes == "running":
        gather: Any = None if accelerator is None else accelerator.gather
        quantile = RunningQuantile(config.call_rate, gather=gather)
    state = FitState(
        model,
        make_optimizers(
            model, kind=config.optimizer, lr=config.lr or 0.0, weight_decay=config.weight_decay,
            betas=config.betas,
        ),
        quantile=quantile,
        accelerator=accelerator,
        bf16=bf16,
        body=_body(model, config, accelerator),
    )  # fmt: skip
    return state, [f"device {device}", dtype_note, passes_note, f"loss {choose_impl()[1]}"]


def _device(config: TrainConfig) -> tuple[Accelerator | None, torch.device]:
    """Return the accelerator (None for a single process) and the device."""
    if process_count() > 1:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=config.device == "cpu")
        return accelerator, accelerator.device
    from accelerate import PartialState

    return None, PartialState(cpu=config.device == "cpu").device


def _beside(data: PackedData, path: Path | None) -> PackedData | None:
    """Load packed data that is used beside the training data; None without a path.

    Raises:
        LacyError: E45, its rows have another length; E26, it has another tokenizer.
    """
    if path is None:
        return None
    packed = PackedData.load(path, data.tokenizer)
    if packed.context != data.context:
        problem = f"\n  - {path} has rows of {packed.context} tokens, {data.path} of {data.context}"
        raise LacyError("E45", count=1, problems=problem)
    return packed


def _replay_note(mixture: Mixture) -> list[str]:
    """Return sentences about the replayed rows."""
    replay = mixture.replay
    if replay is None:
        return []
    note = f"replay: {mixture.replay_share:.0%} of the rows are general texts ({replay.path})"
    if not replay.info.flags.get(str(MarkFlag.FACT.name)):
        note += "; WARNING: they have no marks, so the model learns not to call in such texts"
    return [note]


def _validation(config: TrainConfig, data: PackedData) -> tuple[PackedData, NDArray[np.int64], int]:
    """Return data and rows for validation, and the number of (first) rows for training."""
    most = config.eval_rows or EVAL_ROWS
    if config.valid is not None:
        valid = PackedData.load(config.valid, data.tokenizer)
        return valid, np.arange(min(len(valid), most)), len(data)
    train_rows = len(data) - min(round(config.hold_out * len(data)), len(data) - 1)
    return data, np.arange(train_rows, len(data))[:most], train_rows


def _order(config: TrainConfig, rows: int, accelerator: Accelerator | None) -> BatchOrder:
    """Return the order that assigns rows to steps and processes."""
    rank, processes = 0, 1
    if accelerator is not None:
        rank, processes = accelerator.process_index, accelerator.num_processes
    if config.batch_rows % (processes * config.grad_accum):
        parts = f"{processes} processes times {config.grad_accum} micro-batches"
        problem = f"\n  - batch_rows {config.batch_rows} does not split into {parts}"
        raise LacyError("E45", count=1, problems=problem)
    return BatchOrder(rows, config.batch_rows, config.seed, rank=rank, world_size=processes)


def _trained(config: TrainConfig, data: PackedData, source: Saved | None) -> Trained:
    """Load the model of a checkpoint or of --model, or build one from a preset; then freeze it."""
    if source is None:
        if config.new_model:
            model = build_model(
                config.model, data.tokenizer, context=data.context, seed=config.seed
            )
            return Trained.start(model, config, config.model)
        place = str(Path(config.model).resolve()) if Path(config.model).exists() else config.model
        model, _ = from_checkpoint(config.model, data.tokenizer)
        _require_context(model, data, place)
        return Trained.start(model, config, place)
    depth = str(source.info.get("depth", "full"))
    if depth != config.depth:
        why = f"it was trained with depth {depth}, not {config.depth}"
        do = f"add --depth {depth}, or start from the finished model with --model"
        raise LacyError("E49", path=source.path, why=why, do=do)
    if "base" in source.info:
        base = Base(**source.info["base"])
        trained = Trained.reopen(source.path, base, config, data.tokenizer)
    elif source.info["data"]["tokenizer"] == data.info.tokenizer:
        trained = Trained(read_model(source.path))
        freeze_biases(trained.model)
    else:
        trained = Trained(from_checkpoint(source.path, data.tokenizer)[0])
    _require_context(trained.model, data, str(source.path))
    return trained


def _require_context(model: PreTrainedModel, data: PackedData, place: str) -> None:
    do = "annotate the texts again with --context {longest} or less"
    require_context(model, data.context, place, do)


def _body(model: PreTrainedModel, config: TrainConfig, accelerator: Accelerator | None) -> Any:
    """Return the module that computes hidden states, compiled and wrapped as requested."""
    body: Any = ModelBody(model)
    if config.compile:
        body = torch.compile(body)
    return body if accelerator is None else accelerator.prepare(body)


def _restore(session: Session, source: Saved) -> None:
    """Restore step, optimizers, running quantile and random state of a checkpoint."""
    state = session.state
    state.step = source.step
    load_state_tensors(state.model, state.optimizers, source.group("optimizer"))
    quantile = source.group("quantile")
    if state.quantile is not None and quantile:
        state.quantile.load_state_dict(quantile)
    set_random_state(source.group("random"))
    if session.saved is not None:
        session.reasons.append(f"resuming at step {source.step}, from {source.path}")
    else:
        session.reasons.append(
            f"forked at step {source.step} from {source.path}, with its optimizer"
        )


def process_count() -> int:
    """Return the number of processes of a distributed run (accelerate launch, torchrun)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first_process() -> bool:
    """True if this process is the only one or the first of a distributed run."""
    return int(os.environ.get("RANK", "0")) == 0
