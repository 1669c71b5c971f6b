from .distributed import ServerLoop, work_for
from .estimate import ExchangeEstimate, estimate_exchange
from .links import meeting_store, torchrun_place
from .local import run_in_process
from .outer import OuterState, split_fragments
from .running import PretrainResult, join, pretrain, serve
from .server import OuterServer
from .settings import DilocoSettings
from .shards import split_rows
from .threshold import SharedThreshold
from .together import Together, held_out_losses, prepare_together
from .worker import InnerWorker, WorkerData

__all__ = [
    "DilocoSettings",
    "ExchangeEstimate",
    "InnerWorker",
    "OuterServer",
    "OuterState",
    "PretrainResult",
    "ServerLoop",
    "SharedThreshold",
    "Together",
    "WorkerData",
    "estimate_exchange",
    "held_out_losses",
    "join",
    "meeting_store",
    "prepare_together",
    "pretrain",
    "run_in_process",
    "serve",
    "split_fragments",
    "split_rows",
    "torchrun_place",
    "work_for",
]
