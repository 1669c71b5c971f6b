"""Checks of arguments, and imports of optional packages."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

from lacy._text import did_you_mean
from lacy.errors import LacyError


def require_package(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its name.
        extra: the extra of lacy that installs the package.
        purpose: what needs it.

    Raises:
        LacyError: E11, it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise LacyError("E11", extra_for=purpose, package=package, extra=extra) from error


def require_at_least(key: str, value: Any, minimum: float, *, finite: bool = False) -> Any:
    """Return a number if it is large enough; otherwise raise E12."""
    if value >= minimum and not (finite and value == float("inf")):  # false for NaN
        return value
    why = f"less than {minimum:g}" if value < minimum else "not a finite number"
    raise LacyError("E12", key=key, value=value, why=why, do=f"give {minimum:g} or more")


def require_share(key: str, value: float) -> None:
    """Raise E12 if a number is not between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        do = "give a share between 0 and 1"
        raise LacyError("E12", key=key, value=value, why="not a share", do=do)


def require_one_of(key: str, value: Any, known: Collection[str]) -> Any:
    """Return a value if it is one of the known ones; otherwise raise E12, with the nearest one."""
    if value not in known:
        why = f"there is no such choice{did_you_mean(str(value), known)}"
        do = f"choose one of: {', '.join(known)}"
        raise LacyError("E12", key=key, value=value, why=why, do=do)
    return value
