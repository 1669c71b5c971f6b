"""Detect what stops a run early: signals, a closed output, too little memory."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals on which a run saves and stops; SIGHUP means that the terminal was closed."""

CLOSED_OUTPUT = "the output was closed"
"""Reason to stop if the output is a pipe without a reader."""


@contextlib.contextmanager
def signals() -> Iterator[list[str]]:
    """Yield a list that receives the name of the first signal; a second signal aborts at once.

    Handlers can only be set in the main thread; elsewhere the list stays empty. If SIGHUP is
    ignored (``nohup``), it stays ignored.
    """
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if signal.Signals(number).name != "SIGHUP" or handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_out_of_memory(error: BaseException) -> bool:
    """True if an error means that CPU or GPU memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "allocate memory" in text or "not enough memory" in text
