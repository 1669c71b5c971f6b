"""The parts of ``lacy evaluate`` that need no truth: lm-eval's tasks, losses on texts, speed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.options import SourceOptions
from lacy.cli.terminal import needs_extra, table
from lacy.config import Rare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lacy.harness import TaskRuns
    from lacy.results import Result


@dataclass
class MeasureOptions(SourceOptions):
    """A model, what answers its calls, and measurements that need no truth."""

    # [lm-eval]
    tasks: list[str] = field(default_factory=list)
    """Tasks of lm-eval, by name or as YAML files of your own (docs/how-to/lm-eval.md), without
    calls and, with --source, with calls."""
    few_shot: Rare[int | None] = None
    """Number of examples before each question; by default the task's own."""
    limit: int | None = None
    """Ask only the first N documents of each task."""
    chat: bool = False
    """Ask with the model's chat template."""
    likelihood: Rare[Literal["auto", "calls", "alone"]] = "auto"
    """Whether log-likelihoods count calls, in a run with calls: calls, alone (the model's own), or
    auto, which is calls for a model that reads what its source says."""
    begin_token: Rare[str | None] = None
    """Token that begins every text of a task: auto for lacy's choice; by default the tokenizer's
    files decide, as with lm-eval's own model class hf."""
    batch_size: Rare[int] = 8
    """Number of requests that are computed together."""
    answers: Rare[Path | None] = None
    """File that stores every answer, so that a run that was stopped goes on; by default beside
    --out."""


def on_tasks(config: MeasureOptions, policies: Sequence[str], out: Path | None) -> TaskRuns:
    """Run lm-eval's tasks under each policy, and print the results."""
    if not sys.stderr.isatty():  # tqdm, which lm-eval uses, reads this when it is imported
        os.environ.setdefault("TQDM_DISABLE", "1")
    with needs_extra("harness", "lacy evaluate --tasks"):
        from lacy.harness import LacyLM, TaskRuns, quiet_harness, run_tasks
    from lacy.results import AnswerStore

    names = [name for given in config.tasks for name in given.split(",") if name]
    stored = config.answers or (None if out is None else out.with_suffix(".answers.jsonl"))
    chosen = list(policies) or ["never", *([""] if config.source else [])]
    runs = []
    with AnswerStore(stored) as store:
        for policy in chosen:
            with quiet_harness():
                lm = LacyLM(
                    config.model, policy or None, config.source, config.likelihood,
                    begin=config.begin_token, unit=config.unit, calibrate=config.calibrate,
                    price=config.price, answers=store, dtype="float32",
                    batch_size=config.batch_size,
                )  # fmt: skip
            runs.append(
                run_tasks(
                    lm, names, num_fewshot=config.few_shot, limit=config.limit, chat=config.chat
                )
            )
    measured = TaskRuns(tuple(runs))
    _print_tasks(measured.results())
    return measured


def _print_tasks(results: Sequence[Result]) -> None:
    """Print a row per task and metric, and a column per policy."""
    from lacy.report import format_score

    policies = list(dict.fromkeys(result.conditions["policy"] for result in results))
    rows: dict[tuple[str, ...], dict[str, Result]] = {}
    for result in results:
        conditions = result.conditions
        name = " ".join(filter(None, (result.metric, conditions.get("filter"))))
        rows.setdefault((conditions["task"], name), {})[conditions["policy"]] = result
    body = [
        (*key, *(format_score(row.get(policy)) for policy in policies)) for key, row in rows.items()
    ]
    table("lm-eval", body, ("task", "metric", *policies))
    print(f"In brackets: 95% interval over {max(result.n for result in results)} documents.")
