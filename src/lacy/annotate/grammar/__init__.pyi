from .names import NAME_SIGN, capitalised_runs, joined_names
from .values import compile_all, extend_value, is_unspaced, whole_values

__all__ = [
    "NAME_SIGN",
    "capitalised_runs",
    "compile_all",
    "extend_value",
    "is_unspaced",
    "joined_names",
    "whole_values",
]
