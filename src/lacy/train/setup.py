"""Prepare a run from its settings: data, model, optimizers, schedule, and automatic choices."""

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
from lacy.train.processes import Processes, first_process, require_rows, threads_note
from lacy.train.reference import reference_losses
from lacy.train.schedule import WSD, make_schedule
from lacy.train.sharding import shard_layers, whole_weights
from lacy.train.trained import Base, Trained

if TYPE_CHECKING:
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
    processes: Processes
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
    def device(self) -> torch.device:
        """The device of this process."""
        return self.processes.device

    @property
    def main(self) -> bool:
        """True if this is the process that writes files and prints."""
        return self.processes.first

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
        """Return this process's part of each micro-batch; the rows depend only on seed and step."""
        mask, numbers = self.mixture.numbers(step)
        own, added = self.processes.part(len(numbers) // self.config.grad_accum)
        own = np.append(own, np.repeat(own[:1], added))
        micros = []
        for whole in np.split(np.arange(len(numbers)), self.config.grad_accum):
            part = whole[own]
            micro = MicroBatch.of(
                self.mixture.columns(mask[part], numbers[part]),
                self.device,
                None if self.reference is None else self.reference[numbers[part]],
                None if mask[part].any() else numbers[part].tolist(),
            )
            micros.append(micro.without_targets(added) if added else micro)
        return micros

    def valid_micros(self, *, general: bool = False) -> tuple[int, Iterator[MicroBatch]]:
        """Return the number of validation rows, and this process's part of them in micro-batches.

        Args:
            general: use the rows of the general texts.
        """
        data, chosen = self.valid, self.valid_rows
        if general:
            assert self.general is not None
            most = self.config.eval_rows or EVAL_ROWS
            data, chosen = self.general, np.arange(min(len(self.general), most))
        own, added = self.processes.part(len(chosen))
        rows = np.append(chosen[own], np.repeat(chosen[:1], added))
        size = max(1, self.config.batch_rows // (self.config.grad_accum * self.processes.count))
        parts = (rows[first : first + size] for first in range(0, len(rows), size))
        return len(chosen), (MicroBatch.of(data.batch(part), self.device) for part in parts)

    def join(self) -> None:
        """Let all processes train the same model together; each must have prepared the same run.

        Raises:
            LacyError: E51, the processes differ; E52, one is gone.
        """
        if self.state.accelerator is None:
            return
        settings = to_dict(self.config)
        self.processes.require_same(
            first_step=self.state.step,
            contents_of_the_data=data_fingerprint(self.data, self.mixture.replay),
            precision="bf16" if self.state.bf16 else "fp32",
            **{n: value for n, value in settings.items() if n not in self.config.may_differ},
        )
        if self.processes.mesh is None:
            self.state.body = self.state.accelerator.prepare(self.state.body)

    @property
    def saves(self) -> bool:
        """True if this process takes part in saving: the first, or all if weights are split."""
        return self.main or self.processes.mesh is not None

    def weights(self) -> dict[str, Tensor] | None:
        """Return the whole weights if they are split; then, all processes call this together."""
        return None if self.processes.mesh is None else whole_weights(self.state.model)

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
        }


def prepare_session(
    config: TrainConfig, processes: Processes | None = None, *, resume: bool = True
) -> Session:
    """Open the data, build or load the model, and restore the state of a stopped run.

    Nothing is exchanged with other processes; then, the loop calls ``Session.join``.

    Args:
        config: settings that have passed ``check``.
        processes: the processes of the run; found if not given.
        resume: True continues from the checkpoints in ``config.out``.

    Raises:
        LacyError: E13, E20, E25, E26, errors of the data; E55-E59, errors of the model; E49, errors
            of the checkpoint; E46, the call rate exceeds the share of marks; E45, settings do not
            match data and model; E51, there are fewer rows in a micro-batch than processes.
    """
    processes = processes or Processes.join(config)
    require_rows(config.batch_rows, config.grad_accum, processes.count)
    device = processes.device
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
    order = BatchOrder(train_rows, config.batch_rows, config.seed)
    mixture = Mixture(data, order, replay, config.replay_share)
    trained.model.to(device)  # type: ignore[arg-type]
    if processes.mesh is not None:
        shard_layers(trained.model, processes.mesh)
    state, notes = _fit_state(config, trained.model, processes)
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
        processes=processes,
        preset=preset,
        saved=start.saved,
        reference=reference_losses(config, data, device),
        general=general,
        reasons=[
            *(threads_note(config) if processes.count > 1 and device.type == "cpu" else []),
            *settled,
            *notes,
            *[rate_note] * bool(rate_note),
            *mixture.notes(),
            *start.notes,
        ],
        unreadable=start.unreadable,
    )
    if source is not None:
        _restore(session, source)
    else:  # for dropout, which some pretrained models have
        torch.manual_seed((config.seed + processes.rank) % 2**63)
    return session


def _fit_state(
    config: TrainConfig,
    model: PreTrainedModel,
    processes: Processes,
) -> tuple[FitState, list[str]]:
    """Return the state before the first step, and one note per automatic choice."""
    if config.method != "none":
        set_gate(model, str(config.call_negative))
    elif config.new_model:  # nothing trains the row of <CALL>
        set_taught(model, taught=False)
    model.train()
    accelerator = processes.accelerator
    bf16, dtype_note = choose_bf16(config, processes.device)
    passes, passes_note = choose_passes(config, processes.count)
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
        body=torch.compile(ModelBody(model)) if config.compile else None,
    )  # fmt: skip
    return state, [
        f"device {processes.device}",
        dtype_note,
        passes_note,
        f"loss {choose_impl()[1]}",
    ]


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


def _validation(config: TrainConfig, data: PackedData) -> tuple[PackedData, NDArray[np.int64], int]:
    """Return data and rows for validation, and the number of (first) rows for training."""
    most = config.eval_rows or EVAL_ROWS
    if config.valid is not None:
        valid = PackedData.load(config.valid, data.tokenizer)
        return valid, np.arange(min(len(valid), most)), len(data)
    train_rows = len(data) - min(round(config.hold_out * len(data)), len(data) - 1)
    return data, np.arange(train_rows, len(data))[:most], train_rows


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


def _restore(session: Session, source: Saved) -> None:
    """Restore step, optimizers, running quantile and random state of a checkpoint."""
    state = session.state
    state.step = source.step
    load_state_tensors(state.model, state.optimizers, source.group("optimizer"))
    quantile = source.group("quantile")
    if state.quantile is not None and quantile:
        state.quantile.load_state_dict(quantile)
    set_random_state(source.group("random"), session.processes.rank, session.config.seed)
    if session.saved is not None:
        session.reasons.append(f"resuming at step {source.step}, from {source.path}")
    else:
        session.reasons.append(
            f"forked at step {source.step} from {source.path}, with its optimizer"
        )
