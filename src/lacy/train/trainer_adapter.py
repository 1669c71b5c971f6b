"""The same objective in ``transformers.Trainer``: callbacks, FSDP, DeepSpeed, PEFT, the Hub.

    trainer = CallTrainer(model, TrainingArguments(...), data=PackedData.load("data/wiki"),
                          objective=Objective(call_rate=0.15))
    trainer.train()

The Trainer calls its loss once per micro-batch. If a batch is one micro-batch of one process, the
choice is exact and a run equals that of ``lacy.train.train`` (``tests/invariant`` compares losses
and weights). With gradient accumulation or several processes, a running quantile is used, which is
saved with each checkpoint. All micro-batches count alike, however many targets they have.

With ``data``, a checkpoint also contains the tokenizer and ``lacy.json``, so that
``lacy.load_model`` can open it. Resuming from a checkpoint without weights is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.trainer_utils import get_last_checkpoint

from lacy.errors import LacyError
from lacy.model import (
    INDEX,
    WEIGHTS,
    check_complete,
    damaged_model,
    head_weight,
    require_context,
    set_gate,
    write_beside,
)
from lacy.objective import Objective, RunningQuantile, select_and_loss
from lacy.train.fitting import MicroBatch
from lacy.train.setup import first_process

if TYPE_CHECKING:
    from lacy.corpus import PackedData

QUANTILE = "lacy_quantile.safetensors"
"""File of the running quantile in the Trainer's checkpoint folders."""


class RowDataset(Dataset[dict[str, Any]]):
    """Packed data as a dataset of rows."""

    def __init__(self, data: PackedData) -> None:
        self.data = data

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.data)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """One row: ``input_ids``, ``marks``, ``segments``."""
        return {name: part[0] for name, part in self.data.batch([row]).items()}


class EpochOrder(Sampler[int]):
    """Rows in the order of ``BatchOrder``: one permutation per epoch from the seed."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Rows per epoch."""
        return self.rows

    def __iter__(self) -> Iterator[int]:
        """Iterate over the rows of this epoch."""
        from lacy.corpus import permutation

        return iter(permutation(self.rows, self.seed, self.epoch).tolist())


class CallTrainer(Trainer):  # type: ignore[misc]
    """``Trainer`` with the loss of this package; everything else is the Trainer's.

    Args:
        model: a causal model whose last row is ``<CALL>``.
        args: the Trainer's arguments; they determine optimizer, schedule, precision and saving.
        data: packed data with marks; or pass ``train_dataset`` with the same columns.
        objective: what to delegate and how to train it; by default as ``lacy train`` does.
        kwargs: further arguments of ``Trainer``.

    Raises:
        LacyError: E25, the data were changed after packing; E59, the vocabulary or context of the
            model does not fit the data.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        data: PackedData | None = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        args.remove_unused_columns = False
        if data is not None:
            _require_fit(model, data)
            if first_process():
                data.verify()
            kwargs.setdefault("train_dataset", RowDataset(data))
        kwargs.setdefault("data_collator", default_data_collator)  # also if a tokenizer is given
        super().__init__(model, args, **kwargs)
        self.objective = objective or Objective()
        self.quantile: RunningQuantile | None = None
        if self.objective.delegates:
            set_gate(self.model, self.objective.call_negative)
            if args.gradient_accumulation_steps * args.world_size > 1:
                gather: Any = self.accelerator.gather if args.world_size > 1 else None
                self.quantile = RunningQuantile(self.objective.call_rate, gather=gather)
        self._tokenizer = data.tokenizer if data is not None else None
        self._counts: Tensor | None = None

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the loss of one micro-batch of ``input_ids``, ``marks`` and ``segments``."""
        micro = MicroBatch.of(inputs, inputs["input_ids"].device)
        output = model(  # through the wrapper of DDP or FSDP, so that gradients are exchanged
            input_ids=micro.ids_BT,
            position_ids=micro.positions_BT,
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        plain = self.accelerator.unwrap_model(model)
        generator = torch.Generator(micro.ids_BT.device).manual_seed(self.state.global_step)
        found = select_and_loss(
            output.hidden_states[-1],
            head_weight(plain),
            micro.targets_BT,
            micro.marks_BT,
            self.objective,
            generator=generator,
            quantile=self.quantile,
        )
        counts = torch.stack((found.loss.delegated, found.loss.positions)).detach()
        self._counts = counts if self._counts is None else self._counts + counts
        return (found.loss.total, output) if return_outputs else found.loss.total

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add ``call_rate``, the share of the targets since the last line that were delegated."""
        if self._counts is not None and "loss" in logs:
            delegated, positions = self._counts.tolist()
            logs["call_rate"] = delegated / max(1, positions)
            self._counts = None
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train as ``Trainer.train``; the running quantile is restored as well."""
        place = resume_from_checkpoint
        if place is True:
            place = get_last_checkpoint(self.args.output_dir)
        if self.quantile is not None and place and (Path(place) / QUANTILE).exists():
            from safetensors.torch import load_file

            self.quantile.load_state_dict(load_file(Path(place) / QUANTILE))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        plain = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        tokenizer = self._tokenizer
        if tokenizer is None or not isinstance(plain, PreTrainedModel):
            return
        if plain.config.vocab_size == len(tokenizer):
            write_beside(Path(output_dir or self.args.output_dir), plain, tokenizer)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        place = Path(resume_from_checkpoint)
        if any((place / name).is_file() for name in (WEIGHTS, INDEX)):
            check_complete(place)
        self._resumed = place
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raise if weights are missing, except those that are tied to others."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing_weights = sorted(set(load_result.missing_keys) - set(tied))
        if missing_weights:
            raise damaged_model(
                self._resumed, f"{len(missing_weights)} weights missing, e.g. {missing_weights[0]}"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.quantile is not None and self.args.should_save:
            from safetensors.torch import save_file

            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            save_file(self.quantile.state_dict(), folder / QUANTILE)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        return EpochOrder(len(dataset), self.args.data_seed or self.args.seed)


def _require_fit(model: Any, data: PackedData) -> None:
    """Raise E59 unless the last row of the model is ``<CALL>`` and a data row fits its context."""
    config, wanted = model.config.get_text_config(), data.info.vocab_size
    where = getattr(config, "_name_or_path", "") or "memory"
    rows = getattr(config, "vocab_size", None)
    if rows != wanted:
        why = f"it has {rows} rows, the tokenizer of {data.path} {wanted} tokens, <CALL> the last"
        do = "open it with lacy.model.from_checkpoint(name, data.tokenizer)"
        raise LacyError("E59", path=where, why=why, do=do)
    do = "annotate the texts again with --context {longest} or less"
    require_context(model, data.context, where, do)
