"""Make workers and their server from the settings of ``lacy train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.corpus import BatchOrder, PackedData
from lacy.diloco.server import OuterServer
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.shards import split_rows
from lacy.diloco.threshold import SharedThreshold
from lacy.diloco.worker import InnerWorker, WorkerData, trained_weights
from lacy.errors import LacyError
from lacy.model import (
    build_model,
    freeze_biases,
    from_checkpoint,
    hidden_states,
    require_context,
    set_gate,
    set_taught,
)
from lacy.objective import RunningQuantile, token_losses
from lacy.train import (
    WSD,
    FitState,
    MicroBatch,
    TrainConfig,
    make_optimizers,
    make_schedule,
    settle,
)
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HELD_OUT_ROWS = 256
"""Maximum number of rows per validation if the settings name none."""
SEED_STEP = 7919
"""Workers' seeds differ by this prime, so that their orders and random choices do."""


@dataclass
class Together:
    """A run of several workers that is ready for its first step."""

    config: TrainConfig
    settings: DilocoSettings
    data: PackedData
    valid: PackedData
    valid_rows: NDArray[np.int64]
    shards: list[NDArray[np.int64]]
    schedule: WSD
    make_model: Callable[[], PreTrainedModel]
    device: torch.device
    notes: list[str]

    @property
    def tokens_per_step(self) -> int:
        """Positions per step of all workers together."""
        return self.config.batch_rows * self.data.context

    def server(self, model: PreTrainedModel) -> OuterServer:
        """Return a server that starts with the weights of a model."""
        weights = trained_weights(FitState(model, self._optimizers(model)))
        return OuterServer(weights, self.settings, self.schedule.total, self.tokens_per_step)

    def worker(self, number: int) -> InnerWorker:
        """Return a worker; ``InnerWorker.welcome`` gives it the shared weights."""
        config = self.config
        rows = config.batch_rows // self.settings.workers
        seed = config.seed + SEED_STEP * number
        shard, order = self.shards[number], BatchOrder(len(self.shards[number]), rows, seed)
        total = self.schedule.total
        plain = round(config.call_warmup * total)

        def lr(step: int) -> float:
            assert config.lr is not None
            return config.lr * self.schedule.at(min(step, total - 1))

        data = WorkerData(
            batch=lambda step: MicroBatch.of(self.data.batch(shard[order.rows(step)]), self.device),
            lr=lr,
            objective=lambda step: config.objective(delegate=step >= plain),
            tokens=rows * self.data.context,
            clip=config.clip,
            seed=seed,
        )
        return InnerWorker(number, self.start, data, self.settings)

    def start(self) -> FitState:
        """Return a fresh model with fresh optimizers; equal at every call."""
        model, config = self.make_model(), self.config
        quantile: RunningQuantile | None = None
        if config.objective().delegates and self.settings.threshold != "batch":
            kind = SharedThreshold if self.settings.threshold == "shared" else RunningQuantile
            quantile = kind(config.call_rate)
        return FitState(model, self._optimizers(model), quantile=quantile)

    def _optimizers(self, model: PreTrainedModel) -> list[torch.optim.Optimizer]:
        config = self.config
        return make_optimizers(
            model, kind=config.optimizer, lr=config.lr or 0.0, weight_decay=config.weight_decay,
            betas=config.betas,
        )  # fmt: skip


def prepare_together(config: TrainConfig, settings: DilocoSettings) -> Together:
    """Open the data, choose what is not given, and divide the rows among the workers.

    Raises:
        LacyError: E45, invalid settings of training; E358, of the exchange, or ones that cannot be
            combined; errors of data and model.
    """
    config.check()
    settings.check()
    _require_plain(config, settings)
    if config.threads:
        torch.set_num_threads(config.threads)
    assert config.data is not None
    data = PackedData.load(config.data)
    use_gpu = config.device == "auto" and torch.cuda.is_available()
    device = torch.device("cuda" if use_gpu else "cpu")
    config, notes = settle(config, _model(config, data, device), device)
    valid, rows, train_rows = data, np.arange(0), len(data)
    if config.valid is not None:
        valid = PackedData.load(config.valid, data.tokenizer)
        rows = np.arange(len(valid))
    elif config.hold_out:
        train_rows = len(data) - min(round(config.hold_out * len(data)), len(data) - 1)
        rows = np.arange(train_rows, len(data))
    shards = split_rows(data, train_rows, settings.workers, how=settings.shards, seed=config.seed)
    return Together(
        config=config,
        settings=settings,
        data=data,
        valid=valid,
        valid_rows=rows[: config.eval_rows or HELD_OUT_ROWS],
        shards=shards,
        schedule=make_schedule(config, rows=train_rows, context=data.context),
        make_model=lambda: _model(config, data, device),
        device=device,
        notes=notes,
    )


def _model(config: TrainConfig, data: PackedData, device: torch.device) -> PreTrainedModel:
    """Return the model before the first step; equal at every call."""
    if config.new_model:
        model = build_model(config.model, data.tokenizer, context=data.context, seed=config.seed)
    else:
        model = from_checkpoint(config.model, data.tokenizer)[0]
        do = "annotate the texts again with --context {longest} or less"
        require_context(model, data.context, config.model, do)
    freeze_biases(model)
    if config.method != "none":
        set_gate(model, str(config.call_negative or "softmax"))
    elif config.new_model:
        set_taught(model, taught=False)
    model.train()
    model.to(device)  # type: ignore[arg-type]
    return model


def _require_plain(config: TrainConfig, settings: DilocoSettings) -> None:
    """Raise E358 for settings of training that workers apart do not support."""
    found = [
        f"{name} is not supported with several workers"
        for name in ("replay", "reference", "fork", "valid_general", "compile", "trackers")
        if getattr(config, name)
    ]
    if config.dtype == "bf16":
        found.append("dtype is bf16: workers compute in fp32")
    if config.depth != "full":
        found.append(f"depth is {config.depth}: workers train the whole model")
    if config.grad_accum != 1:
        found.append("grad_accum is more than 1: give more workers or smaller batches")
    if config.batch_rows % settings.workers:
        found.append(
            f"batch_rows {config.batch_rows} does not split among {settings.workers} workers"
        )
    by_token = (config.delegate, config.rank_within) == ("token", "batch")
    if settings.threshold != "batch" and not by_token:
        found.append(f"threshold {settings.threshold} ranks single tokens: leave out delegate")
    if found:
        raise LacyError("E358", problems="".join(f"\n  - {sentence}" for sentence in found))


@torch.no_grad()
def held_out_losses(
    model: PreTrainedModel, data: PackedData, rows: NDArray[np.int64], batch: int
) -> dict[str, float]:
    """Return ``valid_loss``, ``valid_fact_loss`` and ``valid_other_loss`` as in ``lacy train``."""
    if not len(rows):
        return {}
    was_training = model.training
    model.eval()
    head_VD: Tensor = model.get_output_embeddings().weight
    losses, facts = [], []
    for first in range(0, len(rows), batch):
        micro = MicroBatch.of(data.batch(rows[first : first + batch]), model.device)
        hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
        loss_BT = token_losses(hidden_BTD, head_VD, micro.targets_BT)
        losses.append(loss_BT[micro.valid_BT].double())
        facts.append((micro.marks_BT[micro.valid_BT] & int(MarkFlag.FACT)) != 0)
    model.train(was_training)
    loss_N, fact_N = torch.cat(losses), torch.cat(facts)
    parts = {
        "valid_loss": loss_N,
        "valid_fact_loss": loss_N[fact_N],
        "valid_other_loss": loss_N[~fact_N],
    }
    return {name: float(part.mean()) for name, part in parts.items() if len(part)}
