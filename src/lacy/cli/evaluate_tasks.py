"""``lacy evaluate --tasks``: run tasks of lm-eval."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lacy.cli.terminal import needs_extra, table

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.harness import TaskRuns
    from lacy.results import Result

TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "auto": "auto"}


def measure_tasks(config: EvaluateConfig) -> TaskRuns:
    """Run lm-eval's tasks under each policy."""
    if not sys.stderr.isatty():  # tqdm, which lm-eval uses, reads this when it is imported
        os.environ.setdefault("TQDM_DISABLE", "1")
    with needs_extra("harness", "lacy evaluate --tasks"):
        from lacy.harness import LacyLM, TaskRuns, quiet_harness, run_tasks
    from lacy.results import AnswerStore

    names = [name for given in config.tasks for name in given.split(",") if name]
    stored = config.answers or (
        None if config.out is None else config.out.with_suffix(".answers.jsonl")
    )
    chosen = config.policies or ["never", *([""] if config.source else [])]
    runs = []
    with AnswerStore(stored) as store:
        for policy in chosen:
            with quiet_harness():
                lm = LacyLM(
                    config.model, policy or None, config.source, config.likelihood,
                    begin=config.begin_token, unit=config.unit, calibrate=config.calibrate,
                    price=config.price, answers=store, dtype=TORCH_NAMES[config.dtype],
                    batch_size=config.batch_size,
                )  # fmt: skip
            runs.append(
                run_tasks(
                    lm, names, num_fewshot=config.few_shot, limit=config.limit, chat=config.chat
                )
            )
    return TaskRuns(tuple(runs))


def show_tasks(measured: TaskRuns) -> None:
    """Print a row per task and metric, and a column per policy."""
    from lacy.report import format_score

    results = measured.results()
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
