from .combined import BatchLoss, select_and_loss
from .losses import IGNORE_INDEX, Loss, choose_impl, loss, shift, token_losses
from .quantile import RunningQuantile
from .select import choose
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
    "choose",
    "choose_impl",
    "loss",
    "select_and_loss",
    "shift",
    "token_losses",
]
