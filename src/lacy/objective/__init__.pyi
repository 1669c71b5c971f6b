from .combined import BatchLoss, select_and_loss
from .fused import chunk_rows
from .losses import IGNORE_INDEX, Loss, choose_impl, loss, shift, token_losses
from .quantile import RunningQuantile
from .select import choose_targets
from .settings import METHODS, CallNegative, Delegate, Ignore, MethodName, Objective, RankWithin

__all__ = [
    "IGNORE_INDEX",
    "METHODS",
    "BatchLoss",
    "CallNegative",
    "Delegate",
    "Ignore",
    "Loss",
    "MethodName",
    "Objective",
    "RankWithin",
    "RunningQuantile",
    "choose_impl",
    "choose_targets",
    "chunk_rows",
    "loss",
    "select_and_loss",
    "shift",
    "token_losses",
]
