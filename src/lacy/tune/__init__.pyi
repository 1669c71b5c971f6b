from .card import TARGETS, figure_columns, figure_rows, interval, kind_rows
from .figures import AtRate, SignalFigures, TuneFigures
from .gaps import RelationCounts
from .loop import LoopResult, data_loop
from .settings import Target, TuneSettings
from .tuning import REPORT_FILE, TuneResult, tune

__all__ = [
    "REPORT_FILE",
    "TARGETS",
    "AtRate",
    "LoopResult",
    "RelationCounts",
    "SignalFigures",
    "Target",
    "TuneFigures",
    "TuneResult",
    "TuneSettings",
    "data_loop",
    "figure_columns",
    "figure_rows",
    "interval",
    "kind_rows",
    "tune",
]
