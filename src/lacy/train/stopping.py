"""What ends a run early: signals, an output whose reader went away, too little memory."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""On these signals a run saves and stops. SIGHUP: the terminal was closed."""

CLOSED_OUTPUT = "the output was closed"
"""Why a run stops if its output is a pipe whose reader went away."""


@contextlib.contextmanager
def signals() -> Iterator[list[str]]:
    """A list that receives the name of the first signal; the second one ends the run at once.

    Handlers can only be set in the main thread; elsewhere the list stays empty. If SIGHUP is
    ignored (``nohup``), it stays ignored.
    """
    came: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(signal.Signals(number).name)

    heard = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in heard}
    for number, handler in before.items():
        if signal.Signals(number).name != "SIGHUP" or handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was too little memory, on the CPU or the GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "allocate memory" in text or "not enough memory" in text
