"""``lacy study``: train, evaluate and compare methods x seeds x sizes; stop and resume any time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lacy import report, study
from lacy._require import require_one_of
from lacy._text import format_duration
from lacy.cli.terminal import facts, say, table
from lacy.config import Positional, Rare
from lacy.errors import LacyError
from lacy.study import ArticleStudyPlan, StudyPlan

if TYPE_CHECKING:
    from rich.console import Group

    from lacy.study import Board, Job


@dataclass
class StudyFlags:
    """Train every method of a recipe with every seed and size, evaluate and compare the models.

    OUT receives results.csv and results.parquet (one value per row, with its interval),
    comparisons.csv (paired, with a test), and report.html. The same command continues a stopped
    study; finished runs are never repeated.
    """

    recipe: Positional[Path]
    """The plan, a YAML file; `lacy help config study` writes one with all settings."""
    # [Plan]
    out: Path | None = None
    """Folder of the study; by default that of the recipe."""
    only: tuple[str, ...] = ()
    """Run only these methods and the methods whose models they need."""
    seeds: tuple[int, ...] = ()
    """Run only these seeds, for every method."""
    smoke: bool = False
    """Test the recipe: run all methods and conditions, so small that they take seconds."""
    # [Execution]
    jobs: int = 0
    """Number of parallel runs; 0 for one per GPU or, without GPUs, one per CPU core."""
    dry_run: bool = False
    """Only print what would be trained and evaluated, and what is finished already."""
    tables: Rare[bool] = False
    """Do not train; only write tables and report of the finished runs."""


AnyPlan: TypeAlias = StudyPlan | ArticleStudyPlan

FILE = False
FLAGS, SETTINGS = StudyFlags, StudyPlan
EXAMPLES = """
lacy study recipes/methods-world.yaml --smoke
lacy study recipes/methods-world.yaml --only lacy plain --seeds 0 --jobs 2
"""
MAX_LISTED = 10
"""Maximum number of failed jobs that the error lists."""

FINISHED = ("done", "old", "failed", "skipped")
SYMBOLS = {"waiting": "·", "running": "…", "done": "✓", "old": "✓", "failed": "✗", "skipped": "-"}
COLUMNS = ("facts_right", "f1", "recovered", "call_rate", "calls_per_fact")
ARTICLE_COLUMNS = (
    "entities_right", "own_entities_right", "borrowed_entities_right", "right_per_text",
    "entity_recall", "births_right", "call_rate", "calls_per_answer",
)  # fmt: skip
"""Metrics of the short table, in made-up worlds and on articles."""


def run(flags: StudyFlags) -> int:
    """Run a study."""
    plan = _plan(flags)
    if flags.dry_run:
        _print_plan(plan)
        return 0
    if flags.tables:
        _write_results(plan)
        return 0
    from lacy.disk import lock, write_atomic

    with lock(plan.out):
        write_atomic(plan.out / "recipe.yaml", flags.recipe.read_text(encoding="utf-8"))
        failed = _run_jobs(plan, flags.jobs)
        _write_results(plan)
    if failed:
        lines = [f"\n  - {job.name}: {job.error.splitlines()[0]}" for job in failed]
        more = "\n  - ..." if len(lines) > MAX_LISTED else ""
        raise LacyError("E84", count=len(failed), listed="".join(lines[:MAX_LISTED]) + more)
    return 0


def _plan(flags: StudyFlags) -> AnyPlan:
    """Read the recipe and apply the flags."""
    plan = study.read_plan(flags.recipe)
    if flags.seeds:
        methods = {
            name: {key: value for key, value in (method or {}).items() if key != "seeds"}
            for name, method in plan.methods.items()
        }
        plan = replace(plan, seeds=flags.seeds, methods=methods)
    if flags.only:
        plan = _selected(plan, flags.only)
    if flags.smoke:
        plan = plan.smoke()
    if flags.out is not None:
        plan = replace(plan, out=flags.out)
    study.check_plan(plan)
    return plan


def _selected(plan: AnyPlan, only: Sequence[str]) -> AnyPlan:
    """Return the plan with only these methods and the methods whose models they need."""
    for name in only:
        require_one_of("--only", name, plan.methods)
    selected = set(only)
    if isinstance(plan, StudyPlan):
        selected = study.required_methods(plan, only)
    comparisons = tuple(
        text
        for text in plan.compare
        if all(side.partition("/")[0].strip() in selected for side in text.split(" - "))
    )
    methods = {name: method for name, method in plan.methods.items() if name in selected}
    return replace(plan, methods=methods, compare=comparisons)


def _print_plan(plan: AnyPlan) -> None:
    """Print what would be done."""
    jobs = study.jobs_of(plan)
    if isinstance(plan, ArticleStudyPlan):
        asked = [job for job in jobs if job.startswith("ask ")]
        values = {
            "articles": f"{plan.people} of {plan.articles}",
            "methods": ", ".join(plan.methods),
            "conditions": ", ".join(plan.conditions),
            "texts to generate": f"{len(asked) * plan.people:,}",
            "jobs done before": f"{sum(job.done() for job in jobs.values())} of {len(jobs)}",
        }
        facts(f"Study in {plan.out}", values)
        return
    runs = study.planned_runs(plan)
    values = {
        "training runs": f"{len(runs)}",
        "steps in all": f"{sum(int(run.settings.get('steps') or 0) for run in runs)}",
        "methods": ", ".join(plan.methods),
        "sizes": ", ".join(plan.sizes),
        "seeds": ", ".join(map(str, plan.seeds)),
        "answers": f"{sum(len(run.conditions) for run in runs) * plan.ask:,} biographies",
        "jobs done before": f"{sum(job.done() for job in jobs.values())} of {len(jobs)}",
    }
    facts(f"Study in {plan.out}", values)


def _run_jobs(plan: AnyPlan, jobs: int) -> list[Job]:
    """Run the jobs, with a live table in a terminal, else with a line per finished job."""
    from rich.console import Console
    from rich.live import Live

    workers, all_jobs = jobs or study.default_workers(), study.jobs_of(plan)
    console = Console()
    console.print(
        f"{len(all_jobs)} jobs in {plan.out}, {workers} side by side. "
        "Stop with Ctrl-C; the same command continues."
    )
    if not console.is_terminal:
        printed: set[str] = set()
        board = study.run_jobs(
            all_jobs, plan.out, parallel=workers, show=lambda b: _print_finished(b, printed)
        )
        return board.failed()
    with Live(console=console, refresh_per_second=2) as live:
        board = study.run_jobs(
            all_jobs, plan.out, parallel=workers, show=lambda b: live.update(_table(b, workers))
        )
    return board.failed()


def _print_finished(board: Board, printed: set[str]) -> None:
    """Print a line per job that has ended since the last call."""
    for job in board.jobs.values():
        if job.name not in printed and job.state in ("done", "failed", "skipped"):
            printed.add(job.name)
            error = f": {job.error.splitlines()[0]}" if job.error else ""
            took = f" {job.seconds:.0f} s" if job.seconds else ""
            place = f"[{board.count(*FINISHED)}/{len(board.jobs)}]"
            print(f"{place} {job.state} {job.name}{took}{error}", flush=True)


def _table(board: Board, workers: int) -> Group:
    """Return the progress as a table, with a row per method and a column per seed."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    left = board.left(workers)
    title = f"{board.count(*FINISHED)} of {len(board.jobs)} jobs, "
    title += format_duration(time.perf_counter() - board.begin)
    title += f", about {format_duration(left)} to go" if left else ""
    rows: dict[str, dict[str, list[str]]] = {}
    for job in board.jobs.values():
        if job.row:
            cells = rows.setdefault(job.row, {})
            cells.setdefault(job.column, []).append(SYMBOLS.get(job.status, job.status))
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    shown = Table("method", *columns, box=None)
    for name, cells in rows.items():
        shown.add_row(name, *(" ".join(cells.get(column, ())) for column in columns))
    return Group(Text(title, style="italic"), shown)


def _write_results(plan: AnyPlan) -> None:
    """Write tables and report, and print a short table."""
    results = study.write_tables(plan)["results"]
    try:
        report.write_study_page(plan.out, plan.out / "report.html")
    except LacyError as error:  # such as missing matplotlib; the tables are written anyway
        print(error, file=sys.stderr)
    pooled = results[(results.seed == study.POOLED) & (results.condition != "")]
    if len(pooled):
        _print_results(pooled)
    print()
    say(f"Results: {plan.out / 'results.csv'}, {plan.out / 'report.html'}")


def _print_results(pooled: Any) -> None:
    from lacy.results import METRICS

    rows = []
    columns = COLUMNS if "facts_right" in set(pooled.metric) else ARTICLE_COLUMNS
    keys = ["size", "method", "equal", "condition"]
    for (size, method, equal, condition), part in pooled.groupby(keys, sort=False):
        values = {row.metric: row for row in part.itertuples()}
        name = f"{size} {method}/{condition}" + (f" ({equal})" if equal != "steps" else "")
        rows.append([name, *(report.format_score(values.get(metric)) for metric in columns)])
    labels = ("", *(METRICS[metric].label for metric in columns))
    table("All seeds together, 95% intervals", rows, labels)
