from .names import OKINA, bound, runs
from .values import compile_all, is_unspaced, qualified, whole_values

__all__ = [
    "OKINA",
    "bound",
    "compile_all",
    "is_unspaced",
    "qualified",
    "runs",
    "whole_values",
]
