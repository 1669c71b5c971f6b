from .batches import ExtraLoss, MicroBatch, StepResult
from .config import TrainConfig
from .depth import DEPTHS, choose_lr, parse_depth
from .dry import dry_run
from .earlier import TrainResult
from .fitting import FitState, fit
from .flops import Work
from .head import frozen_head
from .loop import During, train
from .schedule import WSD
from .stopping import CLOSED_OUTPUT
from .trained import Trained
from .trainer_adapter import CallTrainer

__all__ = [
    "CLOSED_OUTPUT",
    "DEPTHS",
    "WSD",
    "CallTrainer",
    "During",
    "ExtraLoss",
    "FitState",
    "MicroBatch",
    "StepResult",
    "TrainConfig",
    "TrainResult",
    "Trained",
    "Work",
    "choose_lr",
    "dry_run",
    "fit",
    "frozen_head",
    "parse_depth",
    "train",
]
