"""Where else a run is logged: ``accelerate``'s trackers, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lacy.errors import LacyError
from lacy.run import flatten


class Log(Protocol):
    """Takes a row of the metrics."""

    def __call__(self, row: dict[str, Any]) -> None:
        """Log the numbers of a row at its step."""


@contextmanager
def trackers(names: tuple[str, ...], folder: Path, settings: dict[str, Any]) -> Iterator[Log]:
    """Open the trackers of these names and close them at the end.

    Raises:
        LacyError: E12 for a name that accelerate does not know, E11 for one that is not installed.
    """
    if not names:
        yield lambda row: None
        return
    from accelerate import Accelerator
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in known:
            do = f"choose of: {', '.join(known)}"
            why = "accelerate has no tracker of this name"
            raise LacyError("E12", key="trackers", value=name, why=why, do=do)
        if name not in installed:
            raise LacyError("E11", extra_for=f"tracker {name}", package=name, extra="trackers")
    accelerator = Accelerator(log_with=list(names), project_dir=str(folder))
    plain = {key: str(value) for key, value in flatten(settings).items()}
    accelerator.init_trackers("lacy", config=plain)

    def log(row: dict[str, Any]) -> None:
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and k != "step"}
        accelerator.log(numbers, step=int(row["step"]))

    try:
        yield log
    finally:
        accelerator.end_training()
