"""Wrappers of other sources: a circuit breaker, a chain of fallbacks, and a usage meter.

They can be nested in any order. Each asks the wrapped source through ``guarded``, so every request
gets a reply even if the source fails or hangs:

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

from lacy._require import require_at_least
from lacy.errors import LacyError
from lacy.sources.protocol import Source, guarded
from lacy.types import Candidate, Reply, Request

WRAPPED_TIMEOUT = 25.0
"""Seconds for a wrapped source; less than the 30 s that an engine waits for the wrapper."""

LATENCIES_KEPT = 4096
"""Number of most recent requests from which latency quantiles are computed."""

State = Literal["closed", "open", "half-open"]
"""States of a circuit breaker: asks the source, does not ask it, lets one trial request through."""


def fingerprint(source: Source) -> list[Any]:
    """Return what identifies a source: class, name and, if present, ``settings()`` and ``path``."""
    settings = getattr(source, "settings", None)
    path = getattr(source, "path", None)
    return [
        type(source).__qualname__,
        source.name,
        settings() if callable(settings) else None,
        str(path.resolve()) if isinstance(path, Path) else None,
    ]


def with_evidence(candidates: Sequence[Candidate], note: str) -> tuple[Candidate, ...]:
    """Return the candidates with a note appended to their evidence."""
    return tuple(
        replace(c, evidence=f"{c.evidence}; {note}" if c.evidence else note) for c in candidates
    )


class Wrapper:
    """Base of sources that wrap one other source."""

    def __init__(self, source: Source, timeout: float | None) -> None:
        self.source, self.name, self.timeout = source, source.name, timeout

    @property
    def inner(self) -> tuple[Source, ...]:
        """The wrapped source."""
        return (self.source,)

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the answers: the wrapped source."""
        return {"source": fingerprint(self.source)}


class Breaker(Wrapper):
    """A circuit breaker: it stops asking a failing source for a while, so texts do not wait.

    After ``failures`` consecutive failures (replies with ``fault``; an empty reply is not a
    failure), it answers with an error at once. After ``cooldown`` seconds, it lets one trial
    request through; if that fails as well, the next cooldown begins.

    Args:
        source: the source to ask.
        failures: number of consecutive failures after which it stops asking.
        cooldown: seconds before it tries again.
        timeout: seconds for one ``ask``; a later answer counts as a failure.
        clock: a monotonic clock in seconds.

    Raises:
        LacyError: E12, a setting is out of range.
    """

    def __init__(
        self,
        source: Source,
        failures: int = 5,
        cooldown: float = 30.0,
        *,
        timeout: float | None = WRAPPED_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_at_least("failures", failures, 1)
        require_at_least("cooldown", cooldown, 0)
        super().__init__(source, timeout)
        self.failures, self.cooldown = failures, cooldown
        self._clock = clock
        self._lock = threading.Lock()
        self._failures_in_a_row = 0
        self._opened_at: float | None = None
        self._trial_running = False
        self._last_error = ""

    @property
    def state(self) -> State:
        """State of the circuit: "closed", "open", or "half-open" (one trial request may pass)."""
        with self._lock:
            return self._state()

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the source's replies; requests that may not pass get an error at once."""
        replies: list[Reply] = []
        while len(replies) < len(requests):
            rest = requests[len(replies) :]
            allowed, trial = self._admit(len(rest))
            if not allowed:
                return replies + [self._refusal()] * len(rest)
            replies += await self._ask(rest[:allowed], trial)
        return replies

    def _state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._clock() - self._opened_at >= self.cooldown else "open"

    def _admit(self, count: int) -> tuple[int, bool]:
        """Return how many requests may pass now, and True if this is a single trial request."""
        with self._lock:
            state = self._state()
            if state == "closed":
                return count, False
            if state == "open" or self._trial_running:
                return 0, False
            self._trial_running = True
            return 1, True

    async def _ask(self, requests: Sequence[Request], trial: bool) -> list[Reply]:
        try:
            replies = await guarded(self.source, requests, timeout=self.timeout)
        except BaseException:
            # The caller's time limit was shorter than ours. That counts as a failure, too.
            self._record([Reply(error=f"{self.name}: no answer in time", fault=True)], trial)
            raise
        self._record(replies, trial)
        return replies

    def _record(self, replies: Sequence[Reply], trial: bool) -> None:
        """Count consecutive failures, and open or close the circuit."""
        with self._lock:
            if trial:
                self._trial_running = False
            for reply in replies:
                self._failures_in_a_row = self._failures_in_a_row + 1 if reply.fault else 0
                self._last_error = reply.error or "" if reply.fault else self._last_error
            if self._failures_in_a_row >= self.failures:
                self._opened_at = self._clock()
            elif self._failures_in_a_row == 0:
                self._opened_at = None

    def _refusal(self) -> Reply:
        with self._lock:
            wait = max(0.0, self.cooldown - (self._clock() - (self._opened_at or 0.0)))
            last = self._last_error.removeprefix(f"{self.name}: ")
        when = f"next attempt in {wait:.0f} s" if wait else "a trial request is running"
        why = f"paused after repeated failures ({last}); {when}"
        return Reply(error=f"{self.name}: {why}", fault=True)


class Chain:
    """Asks several sources in order; each gets only the requests that the previous ones left open.

    The reply names the source that answered (``speaker``), and its evidence says why earlier
    sources did not. If no source answers, the error lists all reasons.

    Args:
        sources: the sources, in the order in which they are asked.
        name: name of the chain; by default the names of its sources.
        timeout: seconds per source: one number, or one for each source.

    Raises:
        LacyError: E63, there are no sources, or the numbers of timeouts and sources differ.
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
        self.timeouts = (
            list(timeout) if isinstance(timeout, Sequence) else [timeout] * len(self.sources)
        )
        if len(self.timeouts) != len(self.sources):
            raise LacyError(
                "E63", what="timeouts", given=len(self.timeouts), wanted=len(self.sources),
                do="give one number, or one per source",
            )  # fmt: skip
        self.name = name or " > ".join(source.name for source in self.sources)

    @property
    def inner(self) -> tuple[Source, ...]:
        """The wrapped sources in the order of asking."""
        return tuple(self.sources)

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the answers: the sources in order."""
        return {"sources": [fingerprint(source) for source in self.sources]}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return, for each request, the first reply with candidates."""
        replies: list[Reply | None] = [None] * len(requests)
        failed = [Reply() for _ in requests]  # accumulates cost, time and errors of earlier sources
        for source, timeout in zip(self.sources, self.timeouts, strict=True):
            pending = [n for n, reply in enumerate(replies) if reply is None]
            asked = [requests[n] for n in pending]
            for n, reply in zip(
                pending, await guarded(source, asked, timeout=timeout), strict=True
            ):
                before = failed[n]
                cost, seconds = before.cost + reply.cost, before.seconds + reply.seconds
                if reply.candidates:
                    found = reply.candidates
                    if before.error:
                        found = with_evidence(found, f"asked after {before.error}")
                    speaker = reply.speaker or source.name
                    replies[n] = replace(
                        reply, candidates=found, cost=cost, seconds=seconds, speaker=speaker
                    )
                    continue
                why = reply.error or f"{source.name}: nothing found"
                why = f"{before.error}; {why}" if before.error else why
                fault = before.fault or reply.fault
                failed[n] = Reply(error=why, cost=cost, seconds=seconds, fault=fault)
        return [reply or failure for reply, failure in zip(replies, failed, strict=True)]


@dataclass(frozen=True, slots=True)
class SourceUsage:
    """Counts of requests to a source by outcome, with cost and latency."""

    requests: int = 0
    answered: int = 0
    """Number of replies with at least one candidate."""
    unanswered: int = 0
    """Number of replies in which the source worked but found nothing."""
    faults: int = 0
    """Number of replies that report a failure of the source."""
    failing: bool = False
    """True if the last reply reports a failure."""
    cost: float = 0.0
    median: float = 0.0
    """Median seconds per request; the next field is the 95th percentile."""
    p95: float = 0.0


class Metered(Wrapper):
    """Counts how often a source found a value, found nothing or failed, with cost and latency.

    Args:
        source: the source to ask.
        timeout: seconds for one ``ask``.
    """

    def __init__(self, source: Source, *, timeout: float | None = WRAPPED_TIMEOUT) -> None:
        super().__init__(source, timeout)
        self._lock = threading.Lock()
        self._usage = SourceUsage()
        self._seconds: deque[float] = deque(maxlen=LATENCIES_KEPT)

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the source's replies and count them."""
        begin = time.perf_counter()
        try:
            replies = await guarded(self.source, requests, timeout=self.timeout)
        except asyncio.CancelledError:
            late = Reply(error="no answer in time", seconds=time.perf_counter() - begin, fault=True)
            self._add([late] * len(requests))
            raise
        self._add(replies)
        return replies

    @property
    def usage(self) -> SourceUsage:
        """Return the counts so far; percentiles cover the last ``LATENCIES_KEPT`` requests."""
        with self._lock:
            ordered = sorted(self._seconds)
            usage = self._usage
        if not ordered:
            return usage
        median, p95 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95))
        return replace(usage, median=median, p95=p95)

    def _add(self, replies: Sequence[Reply]) -> None:
        faults = sum(reply.fault for reply in replies)
        answered = sum(bool(reply.candidates) and not reply.fault for reply in replies)
        with self._lock:
            old = self._usage
            self._usage = SourceUsage(
                old.requests + len(replies),
                old.answered + answered,
                old.unanswered + len(replies) - answered - faults,
                old.faults + faults,
                replies[-1].fault if replies else old.failing,
                old.cost + sum(reply.cost for reply in replies),
            )
            self._seconds.extend(reply.seconds for reply in replies)
