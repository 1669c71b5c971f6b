"""The thread that generates all texts of the server, each by a token per step.

Handlers submit an ``Order`` and are called with each new part of its texts. All tokenizing happens
in this thread, because tokenizers are not thread-safe.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lacy.cascade import Engine, Scorer, TextSequence
from lacy.remote import LoopThread
from lacy.serve.about import metered
from lacy.serve.places import Places
from lacy.types import Answer, Span

LOG = logging.getLogger("lacy.serve")


class Closing(Exception):
    """The server is shutting down."""


@dataclass(eq=False)
class Order:
    """Texts that begin with one prompt; listeners are called by one thread of ours at a time.

    ``heard(number, piece)`` returns True for "enough"; ``ended(number, answer)`` gets what went
    wrong instead of an answer where something did, for all numbers alike.
    """

    engine: Engine
    prompt: str
    limit: int
    """Most new tokens of each text."""
    count: int = 1
    subject: str | None = None
    tokens: Callable[[], Sequence[int]] = lambda: ()
    """Returns the prompt's tokens if they differ from the encoded prompt."""
    heard: Callable[[int, Span], bool] = lambda number, piece: False
    ended: Callable[[int, Answer | Exception], None] = lambda number, answer: None
    started: Callable[[int], None] = lambda tokens: None
    """Called with the number of prompt tokens when the order starts."""
    scored: int | None = None
    """Pieces come with scores of their tokens and so many of the likeliest (``cascade.scores``)."""
    echoed: str | None = None
    """The prompt as the client wrote it, which is then sent as the first piece."""
    implied: int = 0
    """How many of ``tokens`` the server added: the begin token, or none."""
    owner: str | None = None
    """The key that owns the texts, if several keys share the server."""
    sequences: list[TextSequence] = field(default_factory=list, init=False)
    cancelled: bool = field(default=False, init=False)
    begun: float | None = field(default=None, init=False)
    """When the order started (``time.monotonic``)."""
    left: int = field(default=0, init=False)
    """Number of texts that have not ended."""

    def __post_init__(self) -> None:
        self.left = self.count

    @property
    def tokens_left(self) -> list[int]:
        """How many more tokens each of its texts may get."""
        if not self.sequences:
            return [self.limit] * self.left
        return [max(0, self.limit - sequence.generated) for sequence in list(self.sequences)]


class Scheduler:
    """Writes ordered texts; to be closed, or used in a ``with``.

    Args:
        engine: the model and its source, of which figures are kept (``about``); orders have
            variants of it.
        streams: texts written at the same time.
        queue: further texts that may wait for their turn.
    """

    def __init__(self, engine: Engine, *, streams: int = 32, queue: int = 64) -> None:
        self.engine = engine = metered(engine)
        self.streams, self.queue = streams, queue
        self._changed = threading.Condition()
        self._places = Places(streams, queue)
        self._closing = self._closed = False
        self._loop_thread = LoopThread()
        self._loop = engine.loop(self._loop_thread.submit, self._wake)
        self._thread = threading.Thread(target=self._work, name="lacy-scheduler", daemon=True)
        self._thread.start()

    @property
    def hosted(self) -> bool:
        """Whether the model is at a server of others: it measures nothing, and may go away."""
        return self.engine.hosted is not None

    @property
    def running(self) -> int:
        """Texts being written."""
        return len(self._loop)

    @property
    def waiting(self) -> int:
        """Texts that wait for their turn."""
        with self._changed:
            return self._places.waiting

    def submit(self, *orders: Order) -> None:
        """Accept all of the orders, or none.

        Raises:
            Busy: there is no room for them, or their owner has used its share.
            Closing: the scheduler is shutting down.
        """
        with self._changed:
            if self._closing:
                raise Closing
            self._places.add(orders)
            self._changed.notify_all()

    def cancel(self, *orders: Order) -> None:
        """End these orders' texts as they stand; they are told so."""
        with self._changed:
            for order in orders:
                self._places.cancel(order)
                for sequence in order.sequences:
                    sequence.cancelled = True
            self._changed.notify_all()

    def refuse(self) -> None:
        """Take no more orders; those in hand go on."""
        with self._changed:
            self._closing = True

    def end(self) -> None:
        """Take no more orders and end those in hand as they stand."""
        self.refuse()
        with self._changed:
            orders = list(self._places)
        self.cancel(*orders)

    def close(self) -> None:
        """End everything and stop the threads."""
        self.end()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
        self._loop.close()
        self._loop_thread.close()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (orders := self._turns()) and self._loop.stuck:
                    if self._closed and not self._places:
                        return
                    self._changed.wait(timeout=0.5)
            for order in orders:
                self._begin(order)
            try:
                self._loop.step()
            except Exception as error:  # a bug must end its texts, not the server
                LOG.exception("a step failed")
                error.logged = True  # type: ignore[attr-defined]
                self._loop.fail(error)

    def _turns(self) -> list[Order]:
        """The orders to start now."""
        orders, room = [], self.streams - len(self._loop)
        while (order := self._places.next(room)) is not None:
            room -= 0 if order.cancelled else order.count
            orders.append(order)
        return orders

    def _begin(self, order: Order) -> None:
        """Make an order's texts and hand them in."""
        try:
            given = order.tokens()
            sequences = [self._sequence(order, number, given) for number in range(order.count)]
            self._loop.add(sequences)
            order.started(len(sequences[0].ids))
            for number, sequence in enumerate(sequences):
                if order.echoed is not None and sequence.scorer is None:
                    order.heard(number, sequence.spans[0])
            with self._changed:
                order.sequences = sequences
                for sequence in sequences:
                    sequence.cancelled = order.cancelled
        except Exception as error:  # the prompt's fault or ours, this order's alone in any case
            with self._changed:
                for _ in range(order.count):
                    self._places.ended(order)
            for number in range(order.count):
                order.ended(number, error)

    def _sequence(self, order: Order, number: int, given: Sequence[int]) -> TextSequence:
        """Make one of an order's texts."""
        sequence = order.engine.sequence(number, order.prompt, order.subject, order.limit, given)

        def on_end(answer: Answer | Exception) -> None:
            with self._changed:  # another thread may be cancelling them
                order.sequences.remove(sequence)
                self._places.ended(order, sequence.generated)
            order.ended(number, answer)

        sequence.on_text = lambda span: order.heard(number, span)
        sequence.on_end = on_end
        if given:
            sequence.implied = order.implied
        if order.echoed is not None:
            sequence.spans[0] = replace(sequence.spans[0], text=order.echoed)
        if order.scored is not None:
            named = order.echoed is not None and order.echoed != order.prompt
            sequence.scorer = Scorer(sequence, order.scored, order.echoed is not None, named)
        return sequence
