"""Run a study: jobs with dependencies, in parallel processes.

Jobs are few (about a hundred) and long (about a minute), so a loop over futures is enough for
scheduling.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lacy.disk import disk_error
from lacy.run import read_metrics, write_atomic
from lacy.study import work
from lacy.study.plan import Cue, PlannedRun, StudyPlan, partner_of, planned_runs
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
    """True if an earlier start of the study finished it."""
    after: tuple[str, ...] = ()
    run: PlannedRun | None = None
    state: str = "waiting"
    """waiting, running, done, old (done before), failed, skipped (something it needs failed)."""
    error: str = ""
    seconds: float = 0.0


@dataclass
class Board:
    """The state of all jobs of a study."""

    plan: StudyPlan
    jobs: dict[str, Job]
    begin: float = field(default_factory=time.perf_counter)

    def count(self, *states: str) -> int:
        """Return the number of jobs in one of these states."""
        return sum(job.state in states for job in self.jobs.values())

    def left(self, workers: int) -> float | None:
        """Return the estimated remaining seconds, from the mean time of each kind of job."""
        total = 0.0
        for job in self.jobs.values():
            if job.state in ("waiting", "running"):
                like = [j.seconds for j in self.jobs.values() if j.do is job.do and j.seconds]
                if not like:
                    return None
                total += sum(like) / len(like)
        return total / workers

    def failed(self) -> list[Job]:
        """Return the jobs that failed, without those that were skipped because of them."""
        return [job for job in self.jobs.values() if job.state == "failed"]


def jobs_of(plan: StudyPlan) -> dict[str, Job]:
    """Return all jobs of a plan in the order in which they should start."""
    found: dict[str, Job] = {}
    every = {run.name: run for run in planned_runs(plan)}
    for run in every.values():
        text = _texts(plan, run, found)
        base = run.name.replace(".text_tokens.", ".steps.")
        after = [text] + ([f"train {base}"] if run.equal == "text_tokens" else [])
        if run.reference is not None:
            after.append(f"train {work.partner_name(run, run.reference)}")
        train = Job(
            f"train {run.name}", work.train_run, (plan, run), _trained(plan, run),
            tuple(after), run,
        )  # fmt: skip
        partners = {partner_of(plan.condition(name)) for name in run.conditions} - {None}
        after = [train.name] + [f"train {work.partner_name(run, str(p))}" for p in partners]
        ask = Job(
            f"ask {run.name}", work.ask_run, (plan, run), _asked(plan, run, every),
            tuple(after), run,
        )  # fmt: skip
        found |= {train.name: train, ask.name: ask}
    return found


def _texts(plan: StudyPlan, run: PlannedRun, found: dict[str, Job]) -> str:
    """Return the name of the job that packs a run's texts; add the job if it is missing."""
    gold, name = f"texts s{run.seed} gold", f"texts s{run.seed} {run.cue}"
    wanted: list[tuple[Cue, tuple[str, ...]]] = [("gold", ()), (run.cue, (gold,))]
    for cue, after in wanted:
        job = f"texts s{run.seed} {cue}"
        if job not in found:
            found[job] = Job(
                job, work.prepare_texts, (plan, run.seed, cue),
                partial(work.texts_prepared, plan, run.seed, cue), after,
            )  # fmt: skip
    return name


def _trained(plan: StudyPlan, run: PlannedRun) -> Callable[[], bool]:
    return lambda: work.trained(plan, run) is not None


def _asked(plan: StudyPlan, run: PlannedRun, every: dict[str, PlannedRun]) -> Callable[[], bool]:
    def done() -> bool:
        files = [work.condition_file(plan, run, name, every) for name in run.conditions]
        return all(file.exists() for file in (*files, work.reading_file(plan, run)))

    return done


def run_study(plan: StudyPlan, *, jobs: int = 0, show: Callable[[Board], None]) -> Board:
    """Run all jobs that are not done; if one fails, the others continue.

    Args:
        plan: what to run.
        jobs: number of parallel processes; 0: one per GPU, else one per core.
        show: called about every second.

    Returns:
        The board, which lists failures.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    board = Board(plan, jobs_of(plan))
    for job in board.jobs.values():
        job.state = "old" if job.done() else "waiting"
    number = jobs or default_workers()
    with workers(number, gpus()) as pool:
        running: dict[Future[float], Job] = {}
        while True:
            _skip(board)
            for job in _ready(board)[: number - len(running)]:
                job.state = "running"
                try:
                    running[pool.submit(_timed, job.do, job.args)] = job
                except BrokenProcessPool:  # a worker was killed, for memory perhaps: stop here
                    job.state, job.error = "failed", WORKER_DIED
            if not running:
                show(board)
                return board
            finished, _ = wait(running, timeout=UPDATE_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                _record(plan, running.pop(future), future)
            show(board)


def _timed(do: Callable[..., None], args: Sequence[Any]) -> float:
    begin = time.perf_counter()
    do(*args)
    return time.perf_counter() - begin


def _record(plan: StudyPlan, job: Job, future: Future[float]) -> None:
    """Record the outcome of a job; write the traceback of a failure to a file.

    Raises:
        LacyError: E19, the disk is full or failing, so no other job would succeed.
    """
    error = future.exception()
    if error is not None:
        full = error if getattr(error, "code", "") == "E19" else disk_error(error)
        if full is not None:
            raise full
        file = plan.out / "errors" / f"{job.name.replace(' ', '.')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, "".join(traceback.format_exception(error)))
    job.state = "failed" if error else "done"
    job.error = "" if error is None else f"{type(error).__name__}: {error}"
    if isinstance(error, BrokenProcessPool):
        job.error = WORKER_DIED
    job.seconds = 0.0 if error else future.result()


def _ready(board: Board) -> list[Job]:
    """Return the jobs that can start; evaluate a trained model before training the next."""
    finished = {name for name, job in board.jobs.items() if job.state in ("done", "old")}
    ready = [
        j for j in board.jobs.values() if j.state == "waiting" and finished.issuperset(j.after)
    ]
    return sorted(ready, key=lambda job: job.do is not work.ask_run)


def _skip(board: Board) -> None:
    """Mark jobs as skipped if something that they need failed."""
    for job in board.jobs.values():  # a job stands behind what it needs
        needed = [board.jobs[name].state for name in job.after]
        if job.state == "waiting" and ("failed" in needed or "skipped" in needed):
            job.state = "skipped"


def progress_of(plan: StudyPlan, job: Job) -> str:
    """Return the progress of a job in a few characters."""
    if job.state != "running" or job.run is None:
        return job.state
    if job.do is work.ask_run:
        return "asking"
    file = work.run_folder(plan, job.run) / "metrics.jsonl"
    rows = [row for row in read_metrics(file) if "call_rate" in row] if file.exists() else []
    return f"step {rows[-1]['step']}" if rows else "starting"
