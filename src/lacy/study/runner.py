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
    """Returns True if the job's results exist already."""
    after: tuple[str, ...] = ()
    """Names of the jobs that must be finished first."""
    run: PlannedRun | None = None
    state: str = "waiting"
    """One of: waiting, running, done, old (done by an earlier start), failed, skipped (a job that
    it needs failed)."""
    error: str = ""
    seconds: float = 0.0


@dataclass
class Board:
    """The jobs of a study and their states."""

    plan: StudyPlan
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


def jobs_of(plan: StudyPlan) -> dict[str, Job]:
    """Return all jobs of a plan in the order in which they should start."""
    jobs: dict[str, Job] = {}
    runs = {run.name: run for run in planned_runs(plan)}
    for run in runs.values():
        texts_job = _add_texts_job(plan, run, jobs)
        steps_run = run.name.replace(".text_tokens.", ".steps.")
        after = [texts_job] + ([f"train {steps_run}"] if run.equal == "text_tokens" else [])
        if run.reference is not None:
            after.append(f"train {work.partner_name(run, run.reference)}")
        train = Job(
            f"train {run.name}", work.train_run, (plan, run), _trained(plan, run),
            tuple(after), run,
        )  # fmt: skip
        partners = {partner_of(plan.condition(name)) for name in run.conditions} - {None}
        after = [train.name] + [f"train {work.partner_name(run, str(p))}" for p in partners]
        ask = Job(
            f"ask {run.name}", work.ask_run, (plan, run), _asked(plan, run, runs),
            tuple(after), run,
        )  # fmt: skip
        jobs |= {train.name: train, ask.name: ask}
    return jobs


def _add_texts_job(plan: StudyPlan, run: PlannedRun, jobs: dict[str, Job]) -> str:
    """Return the name of the job that packs a run's texts; add it to ``jobs`` if it is missing."""
    gold, name = f"texts s{run.seed} gold", f"texts s{run.seed} {run.cue}"
    # Other cues use the world and the tokenizer of the gold job.
    cues: list[tuple[Cue, tuple[str, ...]]] = [("gold", ()), (run.cue, (gold,))]
    for cue, after in cues:
        job_name = f"texts s{run.seed} {cue}"
        if job_name not in jobs:
            jobs[job_name] = Job(
                job_name, work.prepare_texts, (plan, run.seed, cue),
                partial(work.texts_prepared, plan, run.seed, cue), after,
            )  # fmt: skip
    return name


def _trained(plan: StudyPlan, run: PlannedRun) -> Callable[[], bool]:
    return lambda: work.trained(plan, run) is not None


def _asked(plan: StudyPlan, run: PlannedRun, runs: dict[str, PlannedRun]) -> Callable[[], bool]:
    def done() -> bool:
        files = [work.condition_file(plan, run, name, runs) for name in run.conditions]
        return all(file.exists() for file in (*files, work.reading_file(plan, run)))

    return done


def run_study(plan: StudyPlan, *, jobs: int = 0, show: Callable[[Board], None]) -> Board:
    """Run all jobs that are not done; if one fails, the others continue.

    Args:
        plan: the plan of the study.
        jobs: number of parallel processes; 0 for one per GPU or, without GPUs, one per core.
        show: called about every second with the current state.

    Returns:
        The final state of all jobs.

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
                _record(plan, running.pop(future), future)
            show(board)


def _timed(do: Callable[..., None], args: Sequence[Any]) -> float:
    begin = time.perf_counter()
    do(*args)
    return time.perf_counter() - begin


def _record(plan: StudyPlan, job: Job, future: Future[float]) -> None:
    """Record the outcome of a job; if it failed, write the traceback to a file.

    Raises:
        LacyError: E19, the disk is full or failing, so the other jobs would fail too.
    """
    error = future.exception()
    if error is not None:
        full_disk = error if getattr(error, "code", "") == "E19" else disk_error(error)
        if full_disk is not None:
            raise full_disk
        file = plan.out / "errors" / f"{job.name.replace(' ', '.')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, "".join(traceback.format_exception(error)))
    job.state = "failed" if error else "done"
    job.error = "" if error is None else f"{type(error).__name__}: {error}"
    if isinstance(error, BrokenProcessPool):
        job.error = WORKER_DIED
    job.seconds = 0.0 if error else future.result()


def _ready(board: Board) -> list[Job]:
    """Return the jobs that can start; evaluations first, so that results come early."""
    finished = {name for name, job in board.jobs.items() if job.state in ("done", "old")}
    ready = [
        j for j in board.jobs.values() if j.state == "waiting" and finished.issuperset(j.after)
    ]
    return sorted(ready, key=lambda job: job.do is not work.ask_run)


def _skip_blocked(board: Board) -> None:
    """Mark jobs as skipped if a job that they need failed."""
    for job in board.jobs.values():  # in order: a job comes after those that it needs
        needed = [board.jobs[name].state for name in job.after]
        if job.state == "waiting" and ("failed" in needed or "skipped" in needed):
            job.state = "skipped"


def progress_of(plan: StudyPlan, job: Job) -> str:
    """Return the state of a job or, while it trains, its current step."""
    if job.state != "running" or job.run is None:
        return job.state
    if job.do is work.ask_run:
        return "asking"
    file = work.run_folder(plan, job.run) / "metrics.jsonl"
    rows = [row for row in read_metrics(file) if "call_rate" in row] if file.exists() else []
    return f"step {rows[-1]['step']}" if rows else "starting"
