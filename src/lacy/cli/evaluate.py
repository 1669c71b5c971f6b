"""``lacy evaluate``: measure right facts, call quality and what the model has memorized."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy import results
from lacy.cli import evaluate_audit, evaluate_texts
from lacy.cli.measures import MeasureOptions, measure_tasks, show_tasks
from lacy.cli.terminal import say
from lacy.config import Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.model import Loaded
    from lacy.results import Measurement


@dataclass
class EvaluateConfig(MeasureOptions):
    """Evaluate a model: one question at a time, or everything as a scorecard."""

    # [Data]
    all: bool = False
    """Measure everything for which you give data, alone and in cascade, and write a scorecard: one
    JSON, a page, and a section for the model card. The same command continues a stopped run."""
    world: Path | None = None
    """Folder of `lacy data world`: facts, calls, closed-book recall and stored bits are measured
    against exact truth; by default its own database is the source."""
    articles: Path | None = None
    """Held-out texts: the share of generated names, numbers and dates that the article contains."""
    questions: Path | None = None
    """Questions with accepted answers (.json or .jsonl; files of PopQA and EntityQuestions too):
    the share of right answers, alone and with --source."""
    audit: Path | None = None
    """Facts to delete and to edit, in a copy: a folder or .tar.gz of LMLMAudit's data, or a facts
    database. Measured are the answers with each fact in the database, deleted, edited, and without
    a source."""
    people: int = 100
    """Number of people, articles, questions, or facts per database."""
    split: Literal["train", "valid", "fresh", "unseen"] = "valid"
    """Split of the world: valid is known people in new wording, fresh uses unknown phrasings,
    unseen has unknown people."""
    only: Rare[str | None] = None
    """Read only articles for which this field is true, for example is_biography."""
    encoding: Rare[str | None] = None
    """Encoding of articles that are not UTF-8, as in `lacy data mark`."""
    pipeline: Rare[str] = "auto"
    """spaCy pipeline that finds names, numbers and dates in articles."""

    # [Delegation]
    policies: list[str] = field(default_factory=list)
    """Policies to evaluate, one row of the table each; by default never, random and budget at
    --call-rate, and threshold=0 if the model also learned where not to call. A model that was not
    taught to call gets a budget by entropy."""
    call_rate: float = 0.22
    """Share of tokens from sources for the default policies (0.22 as in the paper)."""

    # [Generation]
    max_new_tokens: int = 192
    """Maximum number of generated tokens per text."""

    # [Output]
    seed: Rare[int] = 0
    """Random seed of the bootstrap for the intervals."""
    out: Path | None = None
    """Also write all results as JSON; with --all, the folder of the scorecard (scorecard/NAME)."""
    update_card: Rare[bool] = False
    """With --all: also write the results into the README of the model's folder."""


FLAGS = EvaluateConfig
EXAMPLES = """
lacy evaluate my-model --all --articles held-out.jsonl --questions questions.jsonl
lacy evaluate smollm2 --questions questions.jsonl --source facts.sqlite
lacy evaluate smollm2 --tasks arc_easy,my_task.yaml --limit 100
lacy evaluate smollm2 --audit facts.sqlite --people 20
"""


@dataclass(frozen=True)
class Kind:
    """One kind of evaluation, chosen by the flag with what it needs."""

    measure: Callable[[EvaluateConfig], Measurement]
    show: Callable[[Any], object]
    """Prints the results."""


def _with_model(
    measure: Callable[[EvaluateConfig, Loaded], Measurement],
) -> Callable[[EvaluateConfig], Measurement]:
    """Return the measurement with the model opened."""

    def opened(config: EvaluateConfig) -> Measurement:
        from lacy.model import load_model

        return measure(config, load_model(config.model))

    return opened


KINDS = {
    "world": Kind(_with_model(evaluate_texts.measure_world), evaluate_texts.show_world),
    "articles": Kind(_with_model(evaluate_texts.measure_articles), evaluate_texts.show_articles),
    "questions": Kind(_with_model(evaluate_texts.measure_questions), evaluate_texts.show_questions),
    "audit": Kind(_with_model(evaluate_audit.measure_audit), evaluate_audit.print_audit),
    "tasks": Kind(measure_tasks, show_tasks),
}
"""The kinds of evaluation by the name of their flag."""


def run(config: EvaluateConfig) -> int:
    """Evaluate the model and print the results."""
    if config.all:
        from lacy.cli.scorecard import run_scorecard

        return run_scorecard(config)
    given = [name for name in KINDS if getattr(config, name) not in (None, [])]
    if len(given) != 1:
        flags = [f"--{name.replace('_', '-')}" for name in KINDS]
        why = f"one of {', '.join(flags[:-1])} and {flags[-1]} is needed"
        do = "lacy evaluate MODEL --articles FILE, or all at once: lacy evaluate MODEL --all"
        raise LacyError("E12", key=given[0] if given else "world", value=", ".join(given) or None,
                        why=why, do=do)  # fmt: skip
    kind = KINDS[given[0]]
    measured = kind.measure(config)
    kind.show(measured)
    if config.out is not None:
        from lacy.run import environment, write_atomic

        data = {**results.to_data(measured), "environment": environment()}
        write_atomic(config.out, json.dumps(data, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0
