"""Use the same objective in ``transformers.Trainer``, with callbacks, PEFT and several processes.

    trainer = CallTrainer(model, TrainingArguments(...), data=PackedData.load("data/wiki"),
                          objective=Objective(call_rate=0.15))
    trainer.train()

The Trainer computes the loss once per micro-batch. If a batch is one micro-batch of one process,
the choice is exact and the run equals one of ``lacy.train.train`` (``tests/invariant`` compares
losses and weights). With gradient accumulation or several processes, a running quantile is used and
saved in each checkpoint. All micro-batches have equal weight, however many targets they have.

With ``data``, checkpoints also contain the tokenizer and ``lacy.json``, so ``lacy.load_model`` can
open them; those of a ``peft`` model are adapters, which need their base. The ``<CALL>`` row of a
``peft`` model is trained only if ``trainable_token_indices`` names it. Resuming from a checkpoint
without weights is an error.
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
    model_fingerprint,
    require_context,
    set_gate,
    write_beside,
)
from lacy.objective import Objective, RunningQuantile, select_and_loss
from lacy.train.batches import MicroBatch
from lacy.train.head import frozen_head, trained_row
from lacy.train.processes import first_process
from lacy.train.trained import Base, adapter_meta

if TYPE_CHECKING:
    from lacy.corpus import PackedData

QUANTILE = "lacy_quantile.safetensors"
"""File of the running quantile in the Trainer's checkpoint folders."""


class RowDataset(Dataset[dict[str, Any]]):
    """Packed data as a torch dataset of rows."""

    def __init__(self, data: PackedData) -> None:
        self.data = data

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.data)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one row: ``input_ids``, ``marks``, ``segments``."""
        return {name: part[0] for name, part in self.data.batch([row]).items()}


class EpochOrder(Sampler[int]):
    """Samples rows in the order of ``BatchOrder``: one permutation per epoch, given the seed."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows per epoch."""
        return self.rows

    def __iter__(self) -> Iterator[int]:
        """Iterate over the rows of this epoch."""
        from lacy.corpus import permutation

        return iter(permutation(self.rows, self.seed, self.epoch).tolist())


class CallTrainer(Trainer):  # type: ignore[misc]
    """A ``Trainer`` with lacy's loss; everything else works as in ``Trainer``.

    Args:
        model: a causal model whose last row is ``<CALL>``.
        args: the Trainer's arguments; they determine optimizer, schedule, precision and saving.
        data: packed data with marks; alternatively, pass ``train_dataset`` with the same columns.
        objective: settings of delegation and loss; by default the defaults of ``lacy train``.
        kwargs: other arguments of ``Trainer``.

    Raises:
        LacyError: E25, the data were changed after packing; E59, the vocabulary or context of the
            model does not match the data.
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
        kwargs.setdefault("data_collator", default_data_collator)  # with a tokenizer, it would pad
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
        output = model(  # call the DDP or FSDP wrapper, so that gradients are exchanged
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
            frozen_head(plain),
            micro.targets_BT,
            micro.marks_BT,
            self.objective,
            row_D=trained_row(plain),
            generator=generator,
            quantile=self.quantile,
        )
        counts = torch.stack((found.loss.delegated, found.loss.positions)).detach()
        self._counts = counts if self._counts is None else self._counts + counts
        return (found.loss.total, output) if return_outputs else found.loss.total

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add ``call_rate``, the share of targets since the last log line that were delegated."""
        if self._counts is not None and "loss" in logs:
            delegated, positions = self._counts.tolist()
            logs["call_rate"] = delegated / max(1, positions)
            self._counts = None
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train like ``Trainer.train``; a resumed run also restores the running quantile."""
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
        tokenizer, about = self._tokenizer, {}
        if hasattr(plain, "get_base_model"):  # peft
            place = str(plain.active_peft_config.base_model_name_or_path)
            plain = plain.get_base_model()
            about = adapter_meta(plain, Base(place, _fingerprint(place)), "lora")
        if tokenizer is None or not isinstance(plain, PreTrainedModel):
            return
        if plain.config.vocab_size == len(tokenizer):
            write_beside(Path(output_dir or self.args.output_dir), plain, tokenizer, about)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        place = Path(resume_from_checkpoint)
        if any((place / name).is_file() for name in (WEIGHTS, INDEX)):
            check_complete(place)
        self._resumed = place
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raise an error if weights are missing, except weights that are tied to others."""
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


def _fingerprint(place: str) -> str:
    """Return the fingerprint of the base of an adapter; "" if it is not on this machine."""
    try:
        return model_fingerprint(place)
    except (LacyError, OSError):
        return ""


def _require_fit(model: Any, data: PackedData) -> None:
    """Raise E59 unless the model's last row is ``<CALL>`` and data rows fit into its context."""
    config, wanted = model.config.get_text_config(), data.info.vocab_size
    where = getattr(config, "_name_or_path", "") or "memory"
    rows = getattr(config, "vocab_size", None)
    if rows != wanted:
        why = (
            f"it has {rows} rows; the tokenizer of {data.path} has {wanted} tokens, <CALL> the last"
        )
        do = "open it with lacy.model.from_checkpoint(name, data.tokenizer)"
        raise LacyError("E59", path=where, why=why, do=do)
    do = "annotate the texts again with --context {longest} or less"
    require_context(model, data.context, where, do)
