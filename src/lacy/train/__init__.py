"""Training: our own loop, readable from top to bottom, and an adapter for ``transformers.Trainer``.

Read ``loop.py`` first. ``config`` and ``schedule`` are free of torch; ``step`` is one batch, from
forward pass to gradients; ``checkpoint`` makes a run that is killed at any moment go on bit for bit
(on a CPU, with the same number of threads).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lacy.train.config import TrainConfig

if TYPE_CHECKING:
    from lacy.train.dry import dry_run
    from lacy.train.loop import TrainResult, train
    from lacy.train.schedule import WSD
    from lacy.train.trainer_adapter import CallTrainer

__all__ = ["WSD", "CallTrainer", "TrainConfig", "TrainResult", "dry_run", "train"]

_HOME = {
    "CallTrainer": "trainer_adapter",
    "TrainResult": "loop",
    "WSD": "schedule",
    "dry_run": "dry",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    """Import torch only when a name that needs it is first used."""
    if name in _HOME:
        return getattr(import_module(f"lacy.train.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
