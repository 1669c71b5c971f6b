"""List the jobs of a plan and their dependencies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lacy.run import read_metrics
from lacy.study import work
from lacy.study.article_plan import ArticleStudyPlan
from lacy.study.article_work import article_jobs
from lacy.study.plan import Cue, PlannedRun, StudyPlan, partner_of, planned_runs
from lacy.study.runner import Job


def jobs_of(plan: StudyPlan | ArticleStudyPlan) -> dict[str, Job]:
    """Return all jobs of a plan in the order in which they should start."""
    return article_jobs(plan) if isinstance(plan, ArticleStudyPlan) else world_jobs(plan)


def world_jobs(plan: StudyPlan) -> dict[str, Job]:
    """Return the jobs of a study in made-up worlds."""
    jobs: dict[str, Job] = {}
    runs = {run.name: run for run in planned_runs(plan)}
    for run in runs.values():
        texts_job = _add_texts_job(plan, run, jobs)
        steps_run = run.name.replace(".text_tokens.", ".steps.")
        after = [texts_job] + ([f"train {steps_run}"] if run.equal == "text_tokens" else [])
        if run.reference is not None:
            after.append(f"train {work.partner_name(run, run.reference)}")
        shown = (run.name.rpartition(".")[0], f"seed {run.seed}")
        train = Job(
            f"train {run.name}", work.train_run, (plan, run), _trained(plan, run),
            tuple(after), *shown, partial(_training_progress, plan, run),
        )  # fmt: skip
        partners = {partner_of(plan.condition(name)) for name in run.conditions} - {None}
        after = [train.name] + [f"train {work.partner_name(run, str(p))}" for p in partners]
        ask = Job(
            f"ask {run.name}", work.ask_run, (plan, run), _asked(plan, run, runs),
            tuple(after), *shown, lambda: "asking", first=True,
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


def _training_progress(plan: StudyPlan, run: PlannedRun) -> str:
    """Return the current step of a training run."""
    file = work.run_folder(plan, run) / "metrics.jsonl"
    rows = [row for row in read_metrics(file) if "call_rate" in row] if file.exists() else []
    return f"step {rows[-1]['step']}" if rows else "starting"
