"""Decide which jobs are accepted, which one starts next, and when there will be room.

If several keys share the server, no key can block the others: each key's share leaves room for one
more key, a free stream goes to the key with the fewest running texts, and a few streams are never
given to a key that already uses all others.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lacy.cascade import Engine, Question, TextSequence

SECONDS_PER_TOKEN = 0.05
"""Assumed speed until a text has been measured."""

WEIGHT = 0.2
"""Weight of the latest text in the exponential moving average of the speed."""


@dataclass(eq=False)
class GenerationJob:
    """A job: one or several texts that continue one prompt. Callbacks never run concurrently.

    ``on_span(number, span)`` receives the spans of a text and returns True to end it;
    ``on_end(number, answer)`` receives the answer, or the exception if the job failed.
    """

    engine: Engine
    prompt: str
    limit: int
    """Maximum number of new tokens per text."""
    count: int = 1
    subject: str | None = None
    tokens: Callable[[], Sequence[int]] = lambda: ()
    """Returns the prompt's token ids; empty if encoding the prompt gives the right ones."""
    on_span: Callable[[int, Span], bool] = lambda number, span: False
    on_end: Callable[[int, Answer | Exception], None] = lambda number, answer: None
    on_start: Callable[[int], None] = lambda tokens: None
    """Called with the number of prompt tokens when the job starts."""
    logprobs: int | None = None
    """Number of likeliest tokens to score at each position; None for spans without scores."""
    echo: str | None = None
    """The prompt as the client wrote it, to be sent as the first span; None to send no prompt."""
    implied: int = 0
    """Number of ``tokens`` that the server added (a begin token)."""
    question: Question | None = None
    """The user's message that the texts answer, in a chat."""
    owner: str | None = None
    """The key that owns the texts, if several keys share the server."""
    sequences: list[TextSequence] = field(default_factory=list, init=False)
    cancelled: bool = field(default=False, init=False)
    started_at: float | None = field(default=None, init=False)
    """When the job started (``time.monotonic``)."""
    remaining: int = field(default=0, init=False)
    """Number of texts that have not ended."""

    def __post_init__(self) -> None:
        self.remaining = self.count

    @property
    def tokens_left(self) -> list[int]:
        """Number of tokens that each unfinished text may still get."""
        if not self.sequences:
            return [self.limit] * self.remaining
        return [max(0, self.limit - sequence.generated) for sequence in list(self.sequences)]


class Closing(Exception):
    """Raised when the server is shutting down."""


class Busy(Exception):
    """Raised when the server is full, or the key has used its share.

    Args:
        seconds: estimated time until there is room, if no other client takes it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class JobQueue:
    """Running and waiting jobs in order of arrival. Not thread-safe: callers must hold a lock.

    Args:
        streams: maximum number of texts that are generated at the same time.
        queue: maximum number of further texts that wait.
    """

    def __init__(self, streams: int, queue: int) -> None:
        self.streams, self.queue = streams, queue
        self.pace = SECONDS_PER_TOKEN
        """Seconds per token of a text, including time spent waiting for sources."""
        self._waiting: dict[GenerationJob, None] = {}
        self._running: dict[GenerationJob, None] = {}
        self._cancelled: deque[GenerationJob] = deque()

    def __iter__(self) -> Iterator[GenerationJob]:
        return iter([*self._running, *self._waiting])

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Number of texts that have not started."""
        return sum(job.count for job in self._waiting)

    def add(self, jobs: Sequence[GenerationJob]) -> None:
        """Accept all of the jobs or, with an error, none.

        Raises:
            Busy: there is no room for all of them.
        """
        requested, owner = sum(job.count for job in jobs), jobs[0].owner
        excess = self._texts() + requested - (self.streams + self.queue)
        owned = self._texts(owner) if owner else 0
        over_share = owned + requested - self._share(owner) if owned else 0
        if excess > 0 or over_share > 0:
            raise Busy(max(self._until(excess), self._until(over_share, owner)))
        self._waiting.update(dict.fromkeys(jobs))

    def next(self, room: int) -> GenerationJob | None:
        """Return the next job to start and count it as running; None if no job can start now.

        Args:
            room: number of texts for which there is room.
        """
        job: GenerationJob | None = None
        while self._cancelled:  # cancelled jobs go first because they end at once
            job = self._cancelled.popleft()
            if job in self._waiting:
                break
        else:
            job = self._next(room) if room > 0 and self._waiting else None
        if job is not None:
            del self._waiting[job]
            self._running[job] = None
            job.started_at = time.monotonic()
        return job

    def cancel(self, job: GenerationJob) -> None:
        """Mark a job as cancelled and schedule it next, so that it can end."""
        job.cancelled = True
        self._cancelled.append(job)

    def text_ended(self, job: GenerationJob, tokens: int = 0) -> None:
        """Record that a text of a job has ended after this many tokens."""
        if tokens and job.started_at:
            pace = (time.monotonic() - job.started_at) / tokens
            self.pace += WEIGHT * (pace - self.pace)
        job.remaining -= 1
        if not job.remaining:
            self._running.pop(job, None)

    def _next(self, room: int) -> GenerationJob | None:
        """Return the first waiting job of the key with the fewest running texts."""
        running = Counter[str | None]()
        for job in self._running:
            running[job.owner] += job.remaining
        firsts: dict[str | None, GenerationJob] = {}
        for job in self._waiting:
            firsts.setdefault(job.owner, job)
        allowed = [job for job in firsts.values() if self._may_run(job, running[job.owner])]
        first = min(allowed, key=lambda job: running[job.owner], default=None)
        # If there is not enough room for it, wait; letting others overtake could starve it.
        return first if first is not None and first.count <= room else None

    def _may_run(self, job: GenerationJob, running: int) -> bool:
        """True if a key may run this job beside its ``running`` texts."""
        reserved = 0 if job.owner is None else min(self.streams - 1, max(1, self.streams // 8))
        return not running or running + job.count <= self.streams - reserved

    def _texts(self, owner: str | None = None) -> int:
        """Return the number of running and waiting texts, of all keys or of one."""
        return sum(job.remaining for job in self if owner in (None, job.owner))

    def _share(self, owner: str | None) -> int:
        """Return how many texts a key may have: the capacity divided by one more than all keys."""
        others = {job.owner for job in self} - {owner}
        return -(-(self.streams + self.queue) // (len(others) + 2))

    def _until(self, texts: int, owner: str | None = None) -> float:
        """Estimate the seconds until this many texts have ended, if all use their token limit.

        Args:
            texts: number of texts.
            owner: count only texts of this key.
        """
        if texts <= 0:
            return 0.0
        ends = [
            (tokens * self._pace_of(job), number, owner in (None, job.owner))
            for job in self._running
            for number, tokens in enumerate(job.tokens_left)
        ]
        heapq.heapify(ends)
        later = deque(
            (job.limit * self.pace, owner in (None, job.owner))
            for job in self._waiting
            for _ in range(job.count)
        )
        now = 0.0
        while texts > 0 and (ends or later):
            if ends:
                now, _, counts = heapq.heappop(ends)
                texts -= counts
            if later:  # the text that ended makes room for the next one
                seconds, counts = later.popleft()
                heapq.heappush(ends, (now + seconds, 0, counts))
        return now

    def _pace_of(self, job: GenerationJob) -> float:
        """Return the seconds per token of a running job."""
        generated = job.limit - min(job.tokens_left, default=job.limit)
        if generated <= 0 or job.started_at is None:
            return self.pace
        return (time.monotonic() - job.started_at) / generated
