"""Texts that are being written at once, wherever their model is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lacy.cascade.engine import Engine
from lacy.cascade.stream import Stream
from lacy.remote import LoopThread


class Texts(Protocol):
    """What ``Running`` and ``HostedRunning`` have in common."""

    @property
    def turn(self) -> AbstractContextManager[Any]:
        """Held by whoever uses the tokenizer or makes streams outside of ``step``."""
        ...

    @property
    def stuck(self) -> bool:
        """Whether a step could do nothing now."""
        ...

    def __len__(self) -> int: ...

    def add(self, streams: Sequence[Stream]) -> None:
        """Take up texts that begin with the same prompt."""
        ...

    def step(self) -> None:
        """Go on."""
        ...

    def fail(self, failure: Exception) -> None:
        """End all texts with an error."""
        ...

    def close(self) -> None:
        """End all texts; nothing is used any more."""
        ...


def texts_of(
    engine: Engine,
    loop_thread: LoopThread,
    wake: Callable[[], None] = lambda: None,
    most: int = 32,
) -> Texts:
    """What writes the texts of an engine.

    Args:
        engine: what all texts share.
        loop_thread: where sources are asked.
        wake: called, in another thread, when a source has replied or a text has ended.
        most: texts at the same time.
    """
    from lacy.cascade.hosted import HostedEngine

    if isinstance(engine, HostedEngine):
        from lacy.cascade.hosted_running import HostedRunning

        return HostedRunning(engine, loop_thread, wake, most)
    from lacy.cascade.running import Running

    return Running(engine, loop_thread, wake)
