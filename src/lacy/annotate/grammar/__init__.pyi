from .names import NAME_SIGN, capitalised_runs, joined_names, trim_value
from .values import compile_all, extend_value, is_unspaced, whole_values

__all__ = [
    "NAME_SIGN",
    "capitalised_runs",
    "compile_all",
    "extend_value",
    "is_unspaced",
    "joined_names",
    "trim_value",
    "whole_values",
]
