"""A thread that generates all texts of a server, one token of each per step.

Callers submit a ``GenerationJob`` and receive spans through callbacks, so they never block. Only
this thread uses the tokenizer, because tokenizers are not thread-safe.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lacy.cascade import Engine, Scorer, TextSequence
from lacy.remote import LoopThread
from lacy.serve.admission import Closing, GenerationJob, JobQueue
from lacy.serve.source_status import metered
from lacy.types import Answer

LOG = logging.getLogger("lacy.serve")


class TextWork(Protocol):
    """What a server stops and counts: the texts of one scheduler, or of several."""

    @property
    def running(self) -> int:
        """Number of texts being generated."""
        ...

    @property
    def waiting(self) -> int:
        """Number of waiting texts."""
        ...

    def refuse(self) -> None:
        """Refuse new texts."""
        ...

    def end(self) -> None:
        """End all texts."""
        ...


class Scheduler:
    """Generates the texts of jobs. A context manager; otherwise call ``close``.

    Args:
        engine: the model with its source; requests to the source are counted (``source_status``).
            Jobs must use variants of this engine.
        streams: maximum number of texts that are generated at the same time.
        queue: maximum number of further texts that wait.
    """

    def __init__(self, engine: Engine, *, streams: int = 32, queue: int = 64) -> None:
        self.engine = engine = metered(engine)
        self.streams, self.queue = streams, queue
        self._changed = threading.Condition()
        self._jobs = JobQueue(streams, queue)
        self._closing = self._closed = False
        self._loop_thread = LoopThread()
        self._loop = engine.loop(self._loop_thread.submit, self._wake)
        self._thread = threading.Thread(target=self._work, name="lacy-scheduler", daemon=True)
        self._thread.start()

    @property
    def hosted(self) -> bool:
        """True if the model runs behind another server; then there are no token scores."""
        return self.engine.hosted is not None

    @property
    def running(self) -> int:
        """Number of texts being generated."""
        return len(self._loop)

    @property
    def waiting(self) -> int:
        """Number of waiting texts."""
        with self._changed:
            return self._jobs.waiting

    def submit(self, *jobs: GenerationJob) -> None:
        """Accept all of the jobs or, with an error, none.

        Raises:
            Busy: there is no room for them, or their owner has used its share.
            Closing: the scheduler is shutting down.
        """
        with self._changed:
            if self._closing:
                raise Closing
            self._jobs.add(jobs)
            self._changed.notify_all()

    def cancel(self, *jobs: GenerationJob) -> None:
        """End the texts of these jobs where they are; ``on_end`` is called for each text."""
        with self._changed:
            for job in jobs:
                self._jobs.cancel(job)
                for sequence in job.sequences:
                    sequence.cancelled = True
            self._changed.notify_all()

    def refuse(self) -> None:
        """Accept no more jobs; accepted jobs continue."""
        with self._changed:
            self._closing = True

    def end(self) -> None:
        """Accept no more jobs, and end the texts of accepted ones where they are."""
        self.refuse()
        with self._changed:
            jobs = list(self._jobs)
        self.cancel(*jobs)

    def close(self) -> None:
        """End all texts and stop the threads."""
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
                while not (jobs := self._next_jobs()) and self._loop.stuck:
                    if self._closed and not self._jobs:
                        return
                    self._changed.wait(timeout=0.5)
            for job in jobs:
                self._begin(job)
            try:
                self._loop.step()
            except Exception as error:  # a bug must only end the running texts, not the server
                LOG.exception("a step failed")
                error.logged = True  # type: ignore[attr-defined]
                self._loop.fail(error)

    def _next_jobs(self) -> list[GenerationJob]:
        """Return the jobs to start now."""
        jobs, room = [], self.streams - len(self._loop)
        while (job := self._jobs.next(room)) is not None:
            room -= 0 if job.cancelled else job.count
            jobs.append(job)
        return jobs

    def _begin(self, job: GenerationJob) -> None:
        """Start the texts of a job."""
        try:
            prompt_ids = job.tokens()
            sequences = [self._sequence(job, number, prompt_ids) for number in range(job.count)]
            self._loop.add(sequences)
            job.on_start(len(sequences[0].ids))
            for number, sequence in enumerate(sequences):
                if job.echo is not None and sequence.scorer is None:
                    job.on_span(number, sequence.spans[0])
            with self._changed:
                job.sequences = sequences
                for sequence in sequences:
                    sequence.cancelled = job.cancelled
        except Exception as error:  # an invalid prompt or a bug; it must only end this job
            with self._changed:
                for _ in range(job.count):
                    self._jobs.text_ended(job)
            for number in range(job.count):
                job.on_end(number, error)

    def _sequence(self, job: GenerationJob, number: int, prompt_ids: Sequence[int]) -> TextSequence:
        """Return the sequence of one of a job's texts."""
        sequence = job.engine.sequence(
            number, job.prompt, job.subject, job.limit, prompt_ids, job.question
        )

        def on_end(answer: Answer | Exception) -> None:
            with self._changed:  # another thread may be cancelling them
                job.sequences.remove(sequence)
                self._jobs.text_ended(job, sequence.generated)
            job.on_end(number, answer)

        sequence.on_text = lambda span: job.on_span(number, span)
        sequence.on_end = on_end
        if prompt_ids:
            sequence.implied = job.implied
        if job.echo is not None:
            sequence.spans[0] = replace(sequence.spans[0], text=job.echo)
        if job.logprobs is not None:
            prompt = sequence.spans[0] if job.echo is not None else None
            named = job.echo is not None and job.echo != job.prompt
            sequence.scorer = Scorer(sequence.ids, job.logprobs, prompt, named)
        return sequence
