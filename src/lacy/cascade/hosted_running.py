"""Many texts of a model at a server at once, in the shape of ``Running``.

Each text has a thread (``hosted_turns``): it waits for its own requests alone, neighbours change
nothing in what it says. The server is asked in one thread with one event loop, so that connections
are shared; sources are asked in another.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack

from lacy.cascade.hosted import HostedEngine
from lacy.cascade.hosted_turns import Here, Place, Turns
from lacy.cascade.stream import Stream
from lacy.errors import LacyError
from lacy.remote import LoopThread


class HostedRunning:
    """Texts that a server is writing; to be closed.

    Listeners are called in the texts' threads, one at a time.

    Args:
        engine: the model, its source and what all texts share; each stream has a ``variant``. It is
            not to be used otherwise until this is closed.
        loop_thread: where sources are asked.
        told: called when a text has ended.
        threads: texts that are written at the same time.
    """

    def __init__(
        self,
        engine: HostedEngine,
        loop_thread: LoopThread,
        told: Callable[[], None] = lambda: None,
        threads: int = 32,
    ) -> None:
        self.engine, self._told = engine, told
        self.turn = threading.Lock()
        self._places: set[Place] = set()
        self._held = threading.Lock()
        self._numbers = itertools.count()
        self._here = Here()
        self._open = ExitStack()
        serving = self._open.enter_context(LoopThread())
        self._serving = Turns(serving, self.turn, self._here)
        self._asking = Turns(loop_thread, self.turn, self._here)
        self._open.enter_context(engine.server.connected(self._serving))  # type: ignore[arg-type]  # runs like a loop
        self._pool = ThreadPoolExecutor(threads, "lacy-text")

    def __len__(self) -> int:
        """Texts in hand, whatever they wait for."""
        return len(self._places)

    @property
    def stuck(self) -> bool:
        """Whether a step could do nothing: the threads go on by themselves."""
        return not any(place.stream.cancelled and not place.stopped for place in self._known())

    def add(self, streams: Sequence[Stream]) -> None:
        """Take up texts. Whoever holds ``turn`` meanwhile is done before they begin.

        Raises:
            LacyError: E60 for a prompt that leaves no room in the context.
        """
        row, context = streams[0].row, self.engine.context
        needed = len(row.ids) + (not row.done)
        if needed > context:
            raise LacyError("E60", tokens=needed, context=context)
        for stream in streams:
            stream.row.stream = next(self._numbers)
            place = Place(stream)
            with self._held:
                self._places.add(place)
            self._pool.submit(self._write, place)

    def step(self) -> None:
        """Stop those that were cancelled, whatever they wait for."""
        for place in self._known():
            if place.stream.cancelled and not place.stopped:
                place.stop()

    def fail(self, failure: Exception) -> None:
        """End all texts with an error."""
        for place in self._known():
            place.stream.fail(failure)
        self.step()

    def close(self) -> None:
        """End all texts as they stand, and let go of the server."""
        for place in self._known():
            place.stream.cancelled = True
        self.step()
        self._pool.shutdown()
        self._open.close()

    def _known(self) -> list[Place]:
        with self._held:
            return list(self._places)

    def _write(self, place: Place) -> None:
        """One text from its beginning to its end, in a thread of the pool."""
        stream, self._here.place = place.stream, place
        engine = stream.engine
        assert isinstance(engine, HostedEngine)
        with self.turn:
            try:
                engine.write(stream, self._serving, self._asking)
            except CancelledError:
                stream.cancelled = True
            except Exception as error:  # whoever's fault: this text's alone
                stream.fail(error)
            with self._held:
                self._places.discard(place)
            stream.finish()
        self._here.place = None
        self._told()
