"""What to learn and what to delegate: selection of tokens and the loss, pure functions of tensors.

``shift`` makes targets, ``select`` chooses which of them become ``<CALL>``, ``loss`` is the paper's
objective and its variants (section 4), ``select_and_loss`` does both in one pass over the head.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.objective import select
    from lacy.objective.losses import Loss, loss, shift, token_losses
    from lacy.objective.quantile import RunningQuantile
    from lacy.objective.step import select_and_loss

__all__ = [
    "Loss",
    "RunningQuantile",
    "loss",
    "select",
    "select_and_loss",
    "shift",
    "token_losses",
]

_HOME = {
    "Loss": "losses",
    "RunningQuantile": "quantile",
    "loss": "losses",
    "select_and_loss": "step",
    "shift": "losses",
    "token_losses": "losses",
}


def __getattr__(name: str) -> Any:
    """Loads torch only when a name is used (PEP 562)."""
    if name == "select":
        return importlib.import_module("lacy.objective.select")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lacy.objective.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
