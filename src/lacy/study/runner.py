"""Run the jobs of a study, which depend on each other, in parallel processes.

There are few jobs (about a hundred) and each takes about a minute, so a loop over futures is enough
as a scheduler.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lacy.disk import disk_error
from lacy.run import write_atomic
from lacy.study.processes import default_workers, gpus, workers

WORKER_DIED = "a worker died (killed, or out of memory); try fewer --jobs"
UPDATE_SECONDS = 1.0
"""Seconds between updates of the display."""


@dataclass
class Job:
    """One job of a study: prepare texts, train a run, or evaluate a run."""

    name: str
    do: Callable[..., None]
    args: tuple[Any, ...]
    done: Callable[[], bool]
    """Returns True if the job's results exist already."""
    after: tuple[str, ...] = ()
    """Names of the jobs that must be finished first."""
    row: str = ""
    """Row and column of the job in the display; jobs without a row are not shown."""
    column: str = ""
    progress: Callable[[], str] | None = None
    """Returns the progress of a running job."""
    first: bool = False
    """True to start it before other jobs that are ready, so that results come early."""
    state: str = "waiting"
    """One of: waiting, running, done, old (done by an earlier start), failed, skipped (a job that
    it needs failed)."""
    error: str = ""
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """The state or, while it runs, its progress."""
        if self.state != "running":
            return self.state
        return self.progress() if self.progress else "running"


@dataclass
class Board:
    """The jobs of a study and their states."""

    jobs: dict[str, Job]
    begin: float = field(default_factory=time.perf_counter)

    def count(self, *states: str) -> int:
        """Return the number of jobs in one of these states."""
        return sum(job.state in states for job in self.jobs.values())

    def left(self, workers: int) -> float | None:
        """Estimate the remaining seconds from the mean time of finished jobs of each kind.

        Returns None as long as no job of some kind has finished.
        """
        total = 0.0
        for job in self.jobs.values():
            if job.state in ("waiting", "running"):
                times = [j.seconds for j in self.jobs.values() if j.do is job.do and j.seconds]
                if not times:
                    return None
                total += sum(times) / len(times)
        return total / workers

    def failed(self) -> list[Job]:
        """Return the failed jobs, without those that were skipped because of them."""
        return [job for job in self.jobs.values() if job.state == "failed"]


def run_jobs(
    jobs: dict[str, Job], folder: Path, *, parallel: int = 0, show: Callable[[Board], None]
) -> Board:
    """Run all jobs that are not done; if one fails, the others continue.

    Args:
        jobs: the jobs by name, each after those that it needs.
        folder: the folder of the study, for tracebacks of failed jobs.
        parallel: number of processes; 0 for one per GPU or, without GPUs, one per core.
        show: called about every second with the current state.

    Returns:
        The final state of all jobs.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    board = Board(jobs)
    for job in board.jobs.values():
        job.state = "old" if job.done() else "waiting"
    number = parallel or default_workers()
    with workers(number, gpus()) as pool:
        running: dict[Future[float], Job] = {}
        while True:
            _skip_blocked(board)
            for job in _ready(board)[: number - len(running)]:
                job.state = "running"
                try:
                    running[pool.submit(_timed, job.do, job.args)] = job
                except BrokenProcessPool:  # a worker was killed, perhaps for using too much memory
                    job.state, job.error = "failed", WORKER_DIED
            if not running:
                show(board)
                return board
            finished, _ = wait(running, timeout=UPDATE_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                _record(folder, running.pop(future), future)
            show(board)


def _timed(do: Callable[..., None], args: Sequence[Any]) -> float:
    begin = time.perf_counter()
    do(*args)
    return time.perf_counter() - begin


def _record(folder: Path, job: Job, future: Future[float]) -> None:
    """Record the outcome of a job; if it failed, write the traceback to a file.

    Raises:
        LacyError: E19, the disk is full or failing, so the other jobs would fail too.
    """
    error = future.exception()
    if error is not None:
        full_disk = error if getattr(error, "code", "") == "E19" else disk_error(error)
        if full_disk is not None:
            raise full_disk
        file = folder / "errors" / f"{job.name.replace(' ', '.')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, "".join(traceback.format_exception(error)))
    job.state = "failed" if error else "done"
    job.error = "" if error is None else f"{type(error).__name__}: {error}"
    if isinstance(error, BrokenProcessPool):
        job.error = WORKER_DIED
    job.seconds = 0.0 if error else future.result()


def _ready(board: Board) -> list[Job]:
    """Return the jobs that can start; those that give results come first."""
    finished = {name for name, job in board.jobs.items() if job.state in ("done", "old")}
    ready = [
        j for j in board.jobs.values() if j.state == "waiting" and finished.issuperset(j.after)
    ]
    return sorted(ready, key=lambda job: not job.first)


def _skip_blocked(board: Board) -> None:
    """Mark jobs as skipped if a job that they need failed."""
    for job in board.jobs.values():  # in order: a job comes after those that it needs
        needed = [board.jobs[name].state for name in job.after]
        if job.state == "waiting" and ("failed" in needed or "skipped" in needed):
            job.state = "skipped"
