"""Signal handlers that are set for the duration of a block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handle_signals(
    names: Sequence[str],
    handler: Callable[[int, FrameType | None], None],
    *,
    replaceable: Callable[[str, object], bool] = lambda name, before: True,
) -> Iterator[None]:
    """Handle signals in a block; afterwards, the previous handlers are restored.

    Handlers can only be set in the main thread; in other threads, this does nothing.

    Args:
        names: names of signals; those that the operating system does not have are ignored.
        handler: the handler to set.
        replaceable: given a signal's name and its previous handler, whether to replace the handler.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in names:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and replaceable(name, signal.getsignal(number)):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
