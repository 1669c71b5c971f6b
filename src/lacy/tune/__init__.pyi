from .card import TARGETS, figure_columns, figure_rows, interval, kind_rows
from .figures import AtRate, SignalFigures, TuneFigures
from .settings import Target, TuneSettings
from .tuning import TuneResult, tune

__all__ = [
    "TARGETS",
    "AtRate",
    "SignalFigures",
    "Target",
    "TuneFigures",
    "TuneResult",
    "TuneSettings",
    "figure_columns",
    "figure_rows",
    "interval",
    "kind_rows",
    "tune",
]
