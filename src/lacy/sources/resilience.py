"""Sources around sources: one rests when it fails, one declares a fallback, one counts.

They nest in any order, and each is guarded: whatever happens inside, every request gets a reply.
A chain ends in the SLM's own words, as every call that nobody answers:

    Chain([Breaker(Cached(endpoint, "answers.sqlite")), Database("facts.sqlite")])
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lacy.errors import LacyError
from lacy.sources.protocol import Source, guarded
from lacy.types import Reply, Request

DEFAULT_TIMEOUT = 25.0
"""Seconds for a source inside another; below the 30 that an engine waits for all of them."""

KEPT_LATENCIES = 4096
"""Latest requests from which quantiles are read."""

State = Literal["closed", "open", "half-open"]
"""Of a breaker: as always, resting, or resting but for one request that tries."""


def about(source: Source) -> list[Any]:
    """What tells a source from another one: its kind, name, ``settings()`` and ``path`` if any."""
    settings = getattr(source, "settings", None)
    path = getattr(source, "path", None)
    place = str(path.resolve()) if isinstance(path, Path) else None
    told = settings() if callable(settings) else None
    return [type(source).__qualname__, source.name, told, place]


class Breaker:
    """Leaves a failing source alone for a while, so that no text waits for it.

    After ``failures`` failed requests in a row (replies with ``fault``; not knowing is no failure)
    it rests and answers at once with an error. After ``rest`` seconds one request is let through:
    if it fails, the source rests again.

    Args:
        source: whom to ask.
        failures: how many in a row.
        rest: seconds.
        timeout: seconds for one ``ask``; later is a failure.
        clock: seconds, never going back.

    Raises:
        LacyError: E12, a setting out of range.
    """

    def __init__(
        self,
        source: Source,
        failures: int = 5,
        rest: float = 30.0,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or not rest >= 0:
            key, value, least = ("failures", failures, 1) if failures < 1 else ("rest", rest, 0)
            do = f"give at least {least}"
            raise LacyError("E12", key=key, value=value, why="too little", do=do)
        self.source, self.name = source, source.name
        self.failures, self.rest, self.timeout = failures, rest, timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._since: float | None = None
        self._trying = False
        self._last = ""

    @property
    def inner(self) -> tuple[Source, ...]:
        """The source that it stands around."""
        return (self.source,)

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: the source."""
        return {"source": about(self.source)}

    @property
    def state(self) -> State:
        """Whether it asks, rests, or would let one request through."""
        with self._lock:
            return self._state()

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """The source's replies; errors at once for those that are not let through."""
        replies: list[Reply] = []
        while len(replies) < len(requests):
            left = requests[len(replies) :]
            allowed, trial = self._allowed(len(left))
            if not allowed:
                return replies + [self._resting()] * len(left)
            replies += await self._ask(left[:allowed], trial)
        return replies

    def _state(self) -> State:
        if self._since is None:
            return "closed"
        return "half-open" if self._clock() - self._since >= self.rest else "open"

    def _allowed(self, wanted: int) -> tuple[int, bool]:
        """How many requests may pass now (all, one or none), and whether the one is a trial."""
        with self._lock:
            state = self._state()
            if state == "closed":
                return wanted, False
            if state == "open" or self._trying:
                return 0, False
            self._trying = True
            return 1, True

    async def _ask(self, requests: Sequence[Request], trial: bool) -> list[Reply]:
        try:
            replies = await guarded(self.source, requests, timeout=self.timeout)
        except BaseException:
            # Nobody waits any more: an engine's own limit is shorter. That is a failure as well.
            self._note([Reply(error=f"{self.name}: it was not waited for", fault=True)], trial)
            raise
        self._note(replies, trial)
        return replies

    def _note(self, replies: Sequence[Reply], trial: bool) -> None:
        """Count failures in a row, and begin or end a rest."""
        with self._lock:
            if trial:
                self._trying = False
            for reply in replies:
                self._failed = self._failed + 1 if reply.fault else 0
                self._last = reply.error or "" if reply.fault else self._last
            if self._failed >= self.failures:
                self._since = self._clock()
            elif self._failed == 0:
                self._since = None

    def _resting(self) -> Reply:
        with self._lock:
            left = max(0.0, self.rest - (self._clock() - (self._since or 0.0)))
            last = self._last.removeprefix(f"{self.name}: ")
        when = f"asked again in {left:.0f} s" if left else "it is being tried"
        return Reply(error=f"{self.name}: rests after failures ({last}); {when}", fault=True)


class Chain:
    """Asks one source after the other, for what those before it did not answer.

    The reply says who answered (``speaker``), and its evidence why the earlier ones did not. Where
    nobody does, the SLM goes on in its own words and the span holds all reasons.

    Args:
        sources: in the order in which they are asked.
        name: of the whole; by default its parts' names.
        timeout: seconds for each of them, one number or one per source.

    Raises:
        LacyError: E63 for no source, or another number of timeouts than sources.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        name: str | None = None,
        timeout: float | Sequence[float | None] | None = 10.0,
    ) -> None:
        self.sources = list(sources)
        if not self.sources:
            raise LacyError("E63", what="sources", given=0, wanted=1, do="give at least one source")
        each = list(timeout) if isinstance(timeout, Sequence) else [timeout] * len(self.sources)
        if len(each) != len(self.sources):
            raise LacyError(
                "E63", what="timeouts", given=len(each), wanted=len(self.sources),
                do="give one number, or one per source",
            )  # fmt: skip
        self.timeouts = each
        self.name = name or " > ".join(source.name for source in self.sources)

    @property
    def inner(self) -> tuple[Source, ...]:
        """The sources that it asks, in their order."""
        return tuple(self.sources)

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: the sources, in their order."""
        return {"sources": [about(source) for source in self.sources]}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """For each request, the first reply that holds candidates."""
        replies: list[Reply | None] = [None] * len(requests)
        passed = [Reply() for _ in requests]  # cost, time and reasons of those before
        for source, timeout in zip(self.sources, self.timeouts, strict=True):
            left = [n for n, reply in enumerate(replies) if reply is None]
            asked = [requests[n] for n in left]
            for n, reply in zip(left, await guarded(source, asked, timeout=timeout), strict=True):
                before = passed[n]
                cost, seconds = before.cost + reply.cost, before.seconds + reply.seconds
                if reply.candidates:
                    replies[n] = _answered(source, reply, before.error, cost, seconds)
                    continue
                why = reply.error or f"{source.name}: it does not know"
                why = f"{before.error}; {why}" if before.error else why
                fault = before.fault or reply.fault
                passed[n] = Reply(error=why, cost=cost, seconds=seconds, fault=fault)
        return [reply or last for reply, last in zip(replies, passed, strict=True)]


def _answered(
    source: Source, reply: Reply, before: str | None, cost: float, seconds: float
) -> Reply:
    """A source's reply as the chain gives it on."""
    found = reply.candidates
    if before:
        note = f"asked after {before}"
        found = tuple(
            replace(c, evidence=f"{c.evidence}; {note}" if c.evidence else note) for c in found
        )
    speaker = reply.speaker or source.name
    return replace(reply, candidates=found, cost=cost, seconds=seconds, speaker=speaker)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a source was asked and what it took; seconds by the request."""

    requests: int = 0
    answered: int = 0
    """Replies with at least one candidate."""
    unanswered: int = 0
    """Replies of a working source that found nothing, which is not an error."""
    faults: int = 0
    """Replies that report a failure of the source."""
    failing: bool = False
    """Whether the last reply reports a failure."""
    cost: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class Metered:
    """Counts how often a source found a value, found nothing or failed, and its costs and times.

    Args:
        source: the source to ask.
        timeout: seconds for one ``ask``.
    """

    def __init__(self, source: Source, *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        self.source, self.name, self.timeout = source, source.name, timeout
        self._lock = threading.Lock()
        self._usage = Usage()
        self._seconds: deque[float] = deque(maxlen=KEPT_LATENCIES)

    @property
    def inner(self) -> tuple[Source, ...]:
        """The source that it stands around."""
        return (self.source,)

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: the source."""
        return {"source": about(self.source)}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """The source's replies, counted."""
        begin = time.perf_counter()
        try:
            replies = await guarded(self.source, requests, timeout=self.timeout)
        except asyncio.CancelledError:
            seconds = time.perf_counter() - begin
            late = Reply(error="it was not waited for", seconds=seconds, fault=True)
            self._add([late] * len(requests))
            raise
        self._add(replies)
        return replies

    @property
    def usage(self) -> Usage:
        """So far; quantiles of the last 4,096 requests, those without an answer included."""
        with self._lock:
            ordered = sorted(self._seconds)
            usage = self._usage
        if not ordered:
            return usage
        at = [ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95, 0.99)]
        return replace(usage, median=at[0], p95=at[1], p99=at[2])

    def _add(self, replies: Sequence[Reply]) -> None:
        faults = sum(reply.fault for reply in replies)
        answered = sum(bool(reply.candidates) and not reply.fault for reply in replies)
        with self._lock:
            old = self._usage
            self._usage = Usage(
                old.requests + len(replies),
                old.answered + answered,
                old.unanswered + len(replies) - answered - faults,
                old.faults + faults,
                replies[-1].fault if replies else old.failing,
                old.cost + sum(reply.cost for reply in replies),
            )
            self._seconds.extend(reply.seconds for reply in replies)
