from . import select
from .arms import ARMS, ArmName, CallNegative, Delegate, Ignore, RankWithin
from .losses import IGNORE_INDEX, Loss, choose_impl, loss, shift, token_losses
from .quantile import RunningQuantile
from .step import select_and_loss

__all__ = [
    "ARMS",
    "IGNORE_INDEX",
    "ArmName",
    "CallNegative",
    "Delegate",
    "Ignore",
    "Loss",
    "RankWithin",
    "RunningQuantile",
    "choose_impl",
    "loss",
    "select",
    "select_and_loss",
    "shift",
    "token_losses",
]
