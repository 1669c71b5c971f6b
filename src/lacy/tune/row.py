"""Fit the ``<CALL>`` row of a frozen model."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from lacy.model import Loaded, set_call_row, set_gate
from lacy.tune.gate import fit_row
from lacy.tune.measure import Measured, measure
from lacy.tune.shared import Tuning


def tune_row(tuning: Tuning) -> tuple[Measured, NDArray[Any]]:
    """Fit and measure the row, and write it into the model.

    Returns:
        The figures, and the row.
    """
    settings = tuning.settings
    found = tuning.label(tuning.articles.encoded)
    tokens, due = len(found.table), int(found.due_N.sum())
    tuning.clock.step(
        "Fit", f"{tokens:,} tokens of {len(tuning.articles)} articles, {due:,} calls due"
    )
    measured = measure(
        found.table, found.due_N, found.missed_N, tuning.embedding(), settings.inverse_penalty,
        settings.seed,
    )  # fmt: skip
    row_D = fit_row(found.table.hidden_ND, found.due_N, settings.inverse_penalty)
    install_row(tuning.loaded, row_D)
    return measured, row_D


def install_row(loaded: Loaded, row_D: NDArray[Any]) -> None:
    """Write the row into the head; the other rows and the layers stay as they are."""
    set_call_row(loaded.model, torch.as_tensor(row_D))
    set_gate(loaded.model, "sigmoid")
