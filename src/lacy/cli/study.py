"""``lacy study``: train, ask and compare methods x seeds x sizes; it may be stopped any time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.cli.terminal import say
from lacy.config import Positional
from lacy.errors import LacyError
from lacy.study import StudyPlan, check_plan, planned_runs, read_plan

if TYPE_CHECKING:
    from rich.console import Group

    from lacy.study import Board, Job


@dataclass
class StudyFlags:
    """Train every method of a recipe with every seed and size, evaluate all models, compare them.

    OUT then holds results.csv and results.parquet (one figure per row, with interval),
    comparisons.csv (paired, with a test), and report.html. The same command continues a stopped
    study; finished runs are never repeated.
    """

    recipe: Positional[Path]
    """The plan; `lacy help config study` writes one with all settings explained."""
    out: Path | None = None
    """Another folder than the recipe's."""
    jobs: int = 0
    """Runs side by side; 0: one per GPU, else one per CPU core."""
    only: tuple[str, ...] = ()
    """These methods only (and those whose models they need)."""
    seeds: tuple[int, ...] = ()
    """These seeds, for every method."""
    smoke: bool = False
    """Run every method and condition so small that it takes seconds, to test the recipe."""
    dry_run: bool = False
    """Say what would be trained and asked, and what is done already."""
    tables: bool = False
    """Train nothing: make tables and report of what is finished."""


FILE = False
FLAGS, SETTINGS = StudyFlags, StudyPlan
EXAMPLES = """
lacy study recipes/methods-world.yaml --smoke
lacy study recipes/methods-world.yaml --only lacy plain --seeds 0 --jobs 2
"""
LISTED = 10
"""Failed jobs that are named."""
MARKS = {"waiting": "·", "running": "…", "done": "✓", "old": "✓", "failed": "✗", "skipped": "-"}


def run(flags: StudyFlags) -> int:
    """Run a study."""
    plan = _plan(flags)
    if flags.dry_run:
        return _say_plan(plan)
    if flags.tables:
        _write(plan)
        return 0
    from lacy.disk import lock, write_atomic

    with lock(plan.out):
        write_atomic(plan.out / "recipe.yaml", flags.recipe.read_text(encoding="utf-8"))
        failed = _run(plan, flags.jobs)
        _write(plan)
    if failed:
        lines = [f"\n  - {job.name}: {job.error.splitlines()[0]}" for job in failed]
        listed = "".join(lines[:LISTED]) + ("\n  - ..." if len(lines) > LISTED else "")
        raise LacyError("E84", count=len(failed), listed=listed)
    return 0


def _plan(flags: StudyFlags) -> StudyPlan:
    """Read the recipe and apply the flags."""
    plan = read_plan(flags.recipe)
    if flags.seeds:
        methods = {
            name: {key: value for key, value in (method or {}).items() if key != "seeds"}
            for name, method in plan.methods.items()
        }
        plan = replace(plan, seeds=flags.seeds, methods=methods)
    if flags.only:
        plan = _narrowed(plan, flags.only)
    if flags.smoke:
        plan = plan.smoke()
    if flags.out is not None:
        plan = replace(plan, out=flags.out)
    check_plan(plan)
    return plan


def _narrowed(plan: StudyPlan, only: Sequence[str]) -> StudyPlan:
    """The plan with some methods, and the methods whose models these need."""
    unknown = [name for name in only if name not in plan.methods]
    if unknown:
        do = f"choose among {', '.join(plan.methods)}"
        raise LacyError("E12", key="--only", value=unknown[0], why="no method of this study", do=do)
    from lacy.study import needs

    kept = needs(plan, only)
    methods = {name: method for name, method in plan.methods.items() if name in kept}
    there = [
        text for text in plan.compare
        if all(side.partition("/")[0].strip() in kept for side in text.split(" - "))
    ]  # fmt: skip
    return replace(plan, methods=methods, compare=tuple(there))


def _say_plan(plan: StudyPlan) -> int:
    """What would be done."""
    from lacy.cli.terminal import facts
    from lacy.study import jobs_of

    jobs = jobs_of(plan)
    done = sum(job.done() for job in jobs.values())
    runs = planned_runs(plan)
    steps = sum(int(run.settings.get("steps") or 0) for run in runs)
    facts(
        f"Study in {plan.out}",
        {
            "training runs": len(runs),
            "steps in all": steps,
            "methods": ", ".join(plan.methods),
            "sizes": ", ".join(plan.sizes),
            "seeds": ", ".join(map(str, plan.seeds)),
            "answers": f"{sum(len(run.conditions) for run in runs) * plan.ask:,} biographies",
            "jobs done before": f"{done} of {len(jobs)}",
        },
    )
    return 0


def _run(plan: StudyPlan, jobs: int) -> list[Job]:
    """Runs with a live table on a terminal, else with a line per finished job."""
    from rich.console import Console
    from rich.live import Live

    from lacy.study import default_workers, run_study

    workers = jobs or default_workers()
    console = Console()
    console.print(
        f"{len(planned_runs(plan))} training runs in {plan.out}, {workers} side by side. "
        "Stop with Ctrl-C; the same command goes on."
    )
    if not console.is_terminal:
        seen: set[str] = set()
        return run_study(plan, jobs=workers, show=lambda board: _lines(board, seen)).failed()
    with Live(console=console, refresh_per_second=2) as live:
        board = run_study(
            plan, jobs=workers, show=lambda board: live.update(_table(board, workers))
        )
    return board.failed()


def _lines(board: Board, seen: set[str]) -> None:
    """One line per job that ended since the last look."""
    for job in board.jobs.values():
        if job.name not in seen and job.state in ("done", "failed", "skipped"):
            seen.add(job.name)
            place = board.count("done", "old", "failed", "skipped")
            first = f": {job.error.splitlines()[0]}" if job.error else ""
            took = f" {job.seconds:.0f} s" if job.seconds else ""
            print(f"[{place}/{len(board.jobs)}] {job.state} {job.name}{took}{first}", flush=True)


def _table(board: Board, workers: int) -> Group:
    """How far it is; methods down, seeds across."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from lacy.study import progress_of

    every = [job for job in board.jobs.values() if job.run is not None]
    seeds = sorted({job.run.seed for job in every if job.run})
    left = board.left(workers)
    took = time.perf_counter() - board.begin
    place = board.count("done", "old", "failed", "skipped")
    title = f"{place} of {len(board.jobs)} jobs, {_minutes(took)}"
    title += f", about {_minutes(left)} to go" if left else ""
    table = Table(box=None)
    table.add_column("method")
    for seed in seeds:
        table.add_column(f"seed {seed}")
    rows: dict[str, dict[int, list[str]]] = {}
    for job in every:
        assert job.run is not None
        row = rows.setdefault(job.run.name.rpartition(".")[0], {})
        shown = progress_of(board.plan, job)
        row.setdefault(job.run.seed, []).append(MARKS[job.state] if shown == job.state else shown)
    for name, row in rows.items():
        table.add_row(name, *(" ".join(row.get(seed, ())) for seed in seeds))
    return Group(Text(title, style="italic"), table)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _write(plan: StudyPlan) -> None:
    """Tables, report, and a short table on the console."""
    from lacy.study import POOLED, write_tables

    tables = write_tables(plan)
    results = tables["results"]
    try:
        from lacy.report import write_study_page

        write_study_page(plan.out, plan.out / "report.html")
    except LacyError as error:  # matplotlib is not installed: the tables are there all the same
        print(error, file=sys.stderr)
    pooled = results[(results.seed == POOLED) & (results.condition != "")]
    if len(pooled):
        _show(pooled)
    print()
    say(f"Results: {plan.out / 'results.csv'}, {plan.out / 'report.html'}")


def _show(pooled: Any) -> None:
    from lacy.cli.terminal import table
    from lacy.evaluate import METRICS

    shown = ("facts_right", "f1", "recovered", "call_rate", "calls_per_fact")
    rows = []
    keys = ["size", "method", "equal", "condition"]
    for (size, method, equal, condition), part in pooled.groupby(keys, sort=False):
        values = {row.metric: row for row in part.itertuples()}
        name = f"{size} {method}/{condition}" + (f" ({equal})" if equal != "steps" else "")
        rows.append([name, *(_cell(values.get(metric)) for metric in shown)])
    names = ("", *(METRICS[metric].label for metric in shown))
    table("All seeds together, 95% intervals", rows, names)


def _cell(row: Any) -> str:
    if row is None:
        return "-"
    if row.unit == "share" or row.metric == "recovered":
        return f"{100 * row.value:.1f}% [{100 * row.low:.0f}-{100 * row.high:.0f}]"
    return f"{row.value:.2f}"
