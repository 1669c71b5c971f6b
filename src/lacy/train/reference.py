"""Compute the losses of a reference model once, for methods that rank by them (Rho-1, §5.1)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.corpus import PackedData
from lacy.errors import LacyError
from lacy.model import head_weight, hidden_states, load_model, require_context
from lacy.objective import METHODS, token_losses
from lacy.run import write_atomic
from lacy.train.batches import MicroBatch
from lacy.train.config import TrainConfig
from lacy.train.processes import first_process

FILE = "reference.safetensors"
ROWS = 16
"""Rows per forward pass."""


def reference_losses(
    config: TrainConfig, data: PackedData, device: torch.device
) -> NDArray[np.float16] | None:
    """Return the reference model's ``-log p(target)`` [rows, T]; 0 without target.

    The losses are stored in the run's folder, so a resumed run can load them. Returns None if the
    method needs no reference.

    Raises:
        LacyError: E13, E55-E59, the model cannot be loaded, or its tokenizer differs from the
        data's.
    """
    if not METHODS[config.method].needs_reference or config.reference is None:
        return None
    key = json.dumps({"model": str(config.reference), "data": data.info.tokenizer,
                        "rows": data.info.rows, "tokens": data.info.tokens})  # fmt: skip
    file = config.out / FILE
    if file.exists() and (stored := _read(file, key)) is not None:
        return stored
    losses = _compute(config.reference, data, device)
    if not config.dry_run and first_process():
        from safetensors.numpy import save

        write_atomic(file, save({"loss": losses}, metadata={"of": key}))
    return losses


def _read(file: Path, key: str) -> NDArray[np.float16] | None:
    """Return the stored losses if they belong to this model and these data, else None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            if (opened.metadata() or {}).get("of") != key:
                return None
            stored: NDArray[np.float16] = opened.get_tensor("loss")
            return stored
    except (SafetensorError, OSError):
        return None


@torch.no_grad()
def _compute(path: Path, data: PackedData, device: torch.device) -> NDArray[np.float16]:
    loaded = load_model(path)
    do = f"train the reference model on rows of {data.context} tokens"
    require_context(loaded.model, data.context, path, do)
    if loaded.meta.get("tokenizer", data.info.tokenizer) != data.info.tokenizer:
        raise LacyError(
            "E59",
            path=path,
            why="its tokenizer differs from the data's",
            do="train the reference model on data with the same tokenizer",
        )
    model = loaded.model.to(device).eval()  # type: ignore[arg-type]
    found = np.zeros((len(data), data.context), np.float16)
    for first in range(0, len(data), ROWS):
        rows = np.arange(first, min(first + ROWS, len(data)))
        micro = MicroBatch.of(data.batch(rows), device)
        hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
        found[rows] = token_losses(hidden_BTD, head_weight(model), micro.targets_BT).cpu().numpy()
    return found
