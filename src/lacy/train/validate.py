"""Loss on held-out rows, apart for facts and the rest, and how much the choice moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lacy.model import head_weight, hidden_states
from lacy.objective import METHODS, select, token_losses
from lacy.train.setup import Session
from lacy.types import MarkFlag


@torch.no_grad()
def validate(session: Session, last_BT: Tensor | None) -> tuple[dict[str, Any], Tensor | None]:
    r"""Measure the model on the validation rows.

    Args:
        session: the run.
        last_BT: which targets would have been delegated at the last validation.

    Returns:
        Nats per token, ``-log p_\CALL``: ``valid_loss`` over all targets, ``valid_fact_loss`` and
        ``valid_other_loss``; and ``turnover``, the share of the targets to delegate now that would
        not have been at the last validation. And the choice, for the next call.
    """
    model = session.model
    model.eval()
    losses, marks, valid = [], [], []
    for micro in session.valid_micros():
        hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
        losses.append(token_losses(hidden_BTD, head_weight(model), micro.targets_BT))
        marks.append(micro.marks_BT)
        valid.append(micro.valid_BT)
    model.train()
    loss_BT, marks_BT, valid_BT = torch.cat(losses), torch.cat(marks), torch.cat(valid)
    fact_BT = select.has(marks_BT, MarkFlag.FACT) & valid_BT
    row = {
        "valid_loss": _mean(loss_BT, valid_BT),
        "valid_fact_loss": _mean(loss_BT, fact_BT),
        "valid_other_loss": _mean(loss_BT, valid_BT & ~fact_BT),
    }
    config = session.config
    if METHODS[config.method].by != "loss" or config.method == "none":
        return row, None
    call_BT = select.choose(
        config.method, loss_BT, marks_BT, config.call_rate, valid_BT,
        delegate=config.delegate, rank_within=config.rank_within,
    )  # fmt: skip
    if last_BT is not None and last_BT.shape == call_BT.shape:
        moved = (call_BT & ~last_BT.to(call_BT.device)).sum() / call_BT.sum().clamp_min(1)
        row["turnover"] = float(moved)
    return row, call_BT


def _mean(loss_BT: Tensor, among_BT: Tensor) -> float | None:
    """Mean loss of some positions; ``None`` for none."""
    count = int(among_BT.sum())
    return float(loss_BT[among_BT].double().sum() / count) if count else None
