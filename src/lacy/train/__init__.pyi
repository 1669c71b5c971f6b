from .batches import Batch, ExtraLoss, MicroBatch, StepResult, means_of
from .choices import settle
from .config import TrainConfig
from .depth import DEPTHS, choose_lr, parse_depth
from .dry import dry_run
from .earlier import TrainResult
from .fitting import FitState, fit
from .flops import Work
from .head import frozen_head
from .loop import During, train
from .optim import load_state_tensors, make_optimizers, state_tensors
from .processes import first_process, leave_processes
from .schedule import WSD, make_schedule
from .stopping import CLOSED_OUTPUT
from .trained import Trained
from .trainer_adapter import CallTrainer

__all__ = [
    "CLOSED_OUTPUT",
    "DEPTHS",
    "WSD",
    "Batch",
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
    "first_process",
    "fit",
    "frozen_head",
    "leave_processes",
    "load_state_tensors",
    "make_optimizers",
    "make_schedule",
    "means_of",
    "parse_depth",
    "settle",
    "state_tensors",
    "train",
]
