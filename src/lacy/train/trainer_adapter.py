"""The same objective in ``transformers.Trainer``: callbacks, FSDP, DeepSpeed, PEFT, the Hub.

    trainer = CallTrainer(model, TrainingArguments(...), data=PackedData.load("data/wiki"),
                          objective={"method": "lacy", "call_rate": 0.15})
    trainer.train()

The Trainer shows its loss hook one piece at a time. Where a batch is one piece of one process, the
choice is exact and a run is that of ``lacy.train.train`` (``tests/invariant`` holds losses and
weights equal); under gradient accumulation or several processes a running quantile is used, which
is saved with each checkpoint. Each piece's mean counts alike, however many targets it has.

With ``data``, a checkpoint also contains the tokenizer and ``lacy.json``, so that
``lacy.load_model`` can open it. Resuming from a checkpoint without weights is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from lacy.errors import LacyError
from lacy.model import (
    INDEX,
    WEIGHTS,
    check_whole,
    damaged,
    head_weight,
    require_context,
    set_gate,
    write_beside,
)
from lacy.objective import RunningQuantile, select_and_loss
from lacy.train.choices import first_process
from lacy.train.step import GatheredQuantile, Micro

if TYPE_CHECKING:
    from lacy.corpus import PackedData

SELECTOR = "lacy_selector.safetensors"
"""The running quantile, in the Trainer's checkpoint folders."""


class PackedRows(Dataset[dict[str, Any]]):
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
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Rows per epoch."""
        return self.rows

    def __iter__(self) -> Iterator[int]:
        """The rows of this epoch."""
        from lacy.corpus import permutation

        return iter(permutation(self.rows, self.seed, self.epoch).tolist())


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack rows into arrays of shape [B, T]."""
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


class CallTrainer(Trainer):  # type: ignore[misc]
    """``Trainer`` with the loss of this package; everything else is the Trainer's.

    Args:
        model: a causal model whose last row is ``<CALL>``.
        args: the Trainer's own; they rule optimizer, schedule, precision and saving.
        data: packed data with marks; or give ``train_dataset`` with the same columns.
        objective: keywords of ``lacy.objective.select_and_loss`` (``method``, ``call_rate``, ...).
        kwargs: of ``Trainer``.

    Raises:
        LacyError: E25 the data were changed after they were packed, E59 the model has not one row
            per token of theirs, or reads shorter texts than their rows.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        data: PackedData | None = None,
        objective: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        args.remove_unused_columns = False
        if data is not None:
            _require_fit(model, data)
            if first_process():
                data.verify()
            kwargs.setdefault("train_dataset", PackedRows(data))
        kwargs.setdefault("data_collator", collate)
        super().__init__(model, args, **kwargs)
        self.objective = {"method": "lacy", "call_rate": 0.15, **(objective or {})}
        pieces = args.gradient_accumulation_steps * args.world_size
        calling = self.objective["method"] != "none"
        if calling:
            set_gate(self.model, self.objective.get("call_negative", "none"))
        rate = self.objective["call_rate"]
        self.selector = RunningQuantile(rate) if pieces > 1 and calling else None
        self._tokenizer = data.tokenizer if data is not None else None
        self._counts: Tensor | None = None

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective of one piece; ``inputs`` has ``input_ids``, ``marks``, ``segments``."""
        micro = Micro.of_tensors(inputs["input_ids"], inputs["marks"], inputs["segments"])
        output = model(  # through the wrapper of DDP or FSDP, so that gradients are exchanged
            input_ids=micro.ids_BT,
            position_ids=micro.positions_BT,
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        selector: Any = self.selector
        if selector is not None and self.args.world_size > 1:
            selector = GatheredQuantile(selector, self.accelerator.gather)
        plain = self.accelerator.unwrap_model(model)
        chance = torch.Generator(micro.ids_BT.device).manual_seed(self.state.global_step)
        found = select_and_loss(
            output.hidden_states[-1],
            head_weight(plain),
            micro.targets_BT,
            micro.marks_BT,
            **self.objective,
            generator=chance,
            selector=selector,
        )
        counts = torch.stack((found.loss.delegated, found.loss.positions)).detach()
        self._counts = counts if self._counts is None else self._counts + counts
        return (found.loss.total, output) if return_outputs else found.loss.total

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds ``call_rate``, the share of the targets since the last line that were delegated."""
        if self._counts is not None and "loss" in logs:
            delegated, positions = self._counts.tolist()
            logs["call_rate"] = delegated / max(1, positions)
            self._counts = None
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As ``Trainer.train``; the running quantile goes on as well."""
        place = resume_from_checkpoint
        if place is True:
            place = get_last_checkpoint(self.args.output_dir)
        if self.selector is not None and place and (Path(place) / SELECTOR).exists():
            from safetensors.torch import load_file

            self.selector.load_state_dict(load_file(Path(place) / SELECTOR))
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
            check_whole(place)
        self._resumed = place
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raises if weights are missing, except those that are tied to others."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        lacking = sorted(set(load_result.missing_keys) - set(tied))
        if lacking:
            raise damaged(self._resumed, f"{len(lacking)} weights missing, e.g. {lacking[0]}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.selector is not None and self.args.should_save:
            from safetensors.torch import save_file

            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            save_file(self.selector.state_dict(), folder / SELECTOR)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        return EpochOrder(len(dataset), self.args.data_seed or self.args.seed)


def _require_fit(model: Any, data: PackedData) -> None:
    """Raise E59 unless the last row of the model is ``<CALL>``, and its context holds a row."""
    config, wanted = model.config.get_text_config(), data.info.vocab_size
    where = getattr(config, "_name_or_path", "") or "memory"
    rows = getattr(config, "vocab_size", None)
    if rows != wanted:
        why = f"it has {rows} rows, the tokenizer of {data.path} {wanted} tokens, <CALL> the last"
        do = "open it with lacy.model.building.from_checkpoint(name, data.tokenizer)"
        raise LacyError("E59", path=where, why=why, do=do)
    do = "annotate the texts again with --context {longest} or less"
    require_context(model, data.context, where, do)
