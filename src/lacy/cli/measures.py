"""The parts of ``lacy evaluate`` that need no truth: lm-eval's tasks, losses on texts, speed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy._text import format_bytes
from lacy.cli.options import SourceOptions
from lacy.cli.terminal import needs_extra, say, table
from lacy.config import Rare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lacy.efficiency import EfficiencyMeasured
    from lacy.harness import TaskRuns
    from lacy.results import Result


_TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "auto": "auto"}


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
    answers: Rare[Path | None] = None
    """File that stores every answer, so that a run that was stopped goes on; by default beside
    --out."""

    # [Speed]
    speed: bool = False
    """Measure size, speed, memory, energy and price, without calls and, with --source, with calls;
    with --questions, also of a right answer."""
    prompt_tokens: Rare[int] = 128
    """Length of the prompts whose answers are timed."""
    new_tokens: Rare[int] = 64
    """Number of generated tokens per timed answer."""
    repeat: Rare[int] = 20
    """Number of timed answers."""
    batch_size: Rare[int] = 8
    """Number of requests that are computed together, for --tasks and --speed."""
    dtype: Rare[Literal["fp32", "bf16", "auto"]] = "fp32"
    """Precision of the weights, for --tasks and --speed."""
    reference: Rare[str | None] = None
    """Model or file with which the size is compared; by default the same weights in 32 bits."""
    rate: Rare[float | None] = None
    """US dollars for an hour of this machine, for the price of tokens and right answers."""


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
                    price=config.price, answers=store, dtype=_TORCH_NAMES[config.dtype],
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


def on_speed(
    config: MeasureOptions, policies: Sequence[str], questions: Path | None, people: int
) -> EfficiencyMeasured:
    """Measure what the model costs, and print it."""
    from lacy.cascade import open_engine, split_policy
    from lacy.efficiency import Efficiency, Load, RateCard
    from lacy.model import load_model, set_precision

    name, named = split_policy(config.model)
    loaded = load_model(name)
    set_precision(loaded.model, config.dtype)
    load = Load(
        prompt_tokens=config.prompt_tokens, new_tokens=config.new_tokens, repeat=config.repeat,
        batch_size=config.batch_size,
    )  # fmt: skip
    rate = None if config.rate is None else RateCard(config.rate)
    measure = Efficiency(loaded, load, reference=config.reference, rate=rate, dtype=config.dtype)
    say("Sizes and operations", file=sys.stderr)
    measure.sizes()
    measure.privacy()
    say("Peak memory of a fresh process", file=sys.stderr)
    measure.peak(name)
    asked = []
    if questions is not None:
        from lacy.evaluate import read_questions

        asked = read_questions(questions)[:people]
    chosen: list[str | None] = [*policies] or ["never", *([named] if config.source else [])]
    for policy in chosen:
        engine = open_engine(
            loaded, [] if policy == "never" else config.source, policy,
            calibration=0 if policy == "never" else config.calibrate, unit=config.unit,
            cache=config.cache, prices=config.price,
        )  # fmt: skip
        say(f"Speed: {engine.policy}", file=sys.stderr)
        measure.speed(engine)
        if asked:
            measure.right_answers(engine, asked)
    measured = measure.measured()
    _print_efficiency(measured)
    return measured


def _print_efficiency(measured: EfficiencyMeasured) -> None:
    """Print sizes, then a table for each policy, then what is not available and why."""
    from lacy.results import metric_of

    found = [result for result in measured.results() if "not available" not in result.conditions]
    groups: dict[str, dict[str, list[Result]]] = {}
    for result in found:
        group = groups.setdefault(result.conditions.get("policy", ""), {})
        group.setdefault(result.metric, []).append(result)
    for policy, metrics in groups.items():
        rows = [
            (metric_of(metric).label, *(_value(result) for result in values))
            for metric, values in metrics.items()
        ]
        title = f"Policy {policy}" if policy else "The model"
        wide = max(map(len, rows)) == 3
        body = [(*row, "")[:3] if wide else row for row in rows]
        table(title, body, ("", "value or median", "95th percentile") if wide else ("", "value"))
    first = found[0].conditions
    print(f"On {first['device']}, {first['threads']} threads, {first['dtype']}.")
    for metric, why in measured.missing.items():
        print(f"Not available: {metric_of(metric).label} ({why}).")


def _value(result: Result) -> str:
    """Return a value with its unit and interval."""
    from lacy.report import format_score

    if result.unit == "bytes":
        return format_bytes(result.value)
    return f"{format_score(result)} {result.unit}"
