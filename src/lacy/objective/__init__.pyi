from . import select
from .losses import IGNORE_INDEX, Loss, choose_impl, loss, shift, token_losses
from .methods import METHODS, CallNegative, Delegate, Ignore, MethodName, RankWithin
from .quantile import RunningQuantile
from .step import select_and_loss

__all__ = [
    "IGNORE_INDEX",
    "METHODS",
    "CallNegative",
    "Delegate",
    "Ignore",
    "Loss",
    "MethodName",
    "RankWithin",
    "RunningQuantile",
    "choose_impl",
    "loss",
    "select",
    "select_and_loss",
    "shift",
    "token_losses",
]
