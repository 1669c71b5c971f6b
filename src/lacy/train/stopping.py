"""Detect what stops a run early: signals, a closed output, too little memory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import torch

from lacy._signals import handle_signals

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals on which a run saves and stops; SIGHUP means that the terminal was closed."""

CLOSED_OUTPUT = "the output was closed"
"""Reason to stop if the output is a pipe without a reader."""


@contextlib.contextmanager
def signals() -> Iterator[list[str]]:
    """Yield a list that receives the name of the first signal; a second signal aborts at once.

    Outside the main thread, the list stays empty. An ignored SIGHUP (``nohup``) stays ignored.
    """
    received: list[str] = []

    def note(number: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    def replaceable(name: str, before: object) -> bool:
        return name != "SIGHUP" or before is not signal.SIG_IGN

    with handle_signals(SIGNALS, note, replaceable=replaceable):
        yield received


def is_out_of_memory(error: BaseException) -> bool:
    """True if an error means that CPU or GPU memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "allocate memory" in text or "not enough memory" in text
