"""``lacy evaluate``: measure right facts, call quality and what the model has memorized."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy import cascade, evaluate, results
from lacy.cli.evaluate_audit import measure_audit, print_audit
from lacy.cli.measures import MeasureOptions, on_speed, on_tasks
from lacy.cli.terminal import needs_extra, note, say, table
from lacy.config import Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cascade import Calibration
    from lacy.evaluate import Extract
    from lacy.model import Loaded
    from lacy.results import Measurement, Result, Task
    from lacy.types import Document


@dataclass
class EvaluateConfig(MeasureOptions):
    """Evaluate a model in a made-up world, on held-out articles or questions, or by lm-eval."""

    # [Data]
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
    """Also write all results as JSON."""


FLAGS = EvaluateConfig
EXAMPLES = """
lacy evaluate runs/mine --world world --out runs/mine/world.json
lacy evaluate smollm2 --questions questions.jsonl --source facts.sqlite
lacy evaluate smollm2 --tasks arc_easy,my_task.yaml --limit 100
lacy evaluate smollm2 --audit facts.sqlite --people 20
"""

ANSWERS = ("facts_right", "recall", "calls_per_answer", "call_rate")
ENTITIES = (
    "entities_right", "own_entities_right", "borrowed_entities_right", "entities_per_text",
    "call_rate",
)  # fmt: skip
QUESTIONS = ("answers_right", "answers_exact", "answers_sourced", "sourced_right")
"""Metrics that are printed for each condition: in a world, on articles, and of questions."""


def run(config: EvaluateConfig) -> int:
    """Evaluate the model and print the results."""
    texts = [config.world, config.articles, config.questions, config.audit]
    if config.speed:
        _write(config, on_speed(config, config.policies, config.questions, config.people))
        return 0
    chosen = [*texts, config.tasks or None]
    if chosen.count(None) != len(chosen) - 1:
        why = "one of --world, --articles, --questions, --audit, --tasks and --speed is needed"
        do = "lacy evaluate MODEL --world DIR, or lacy evaluate MODEL --articles FILE"
        raise LacyError("E12", key="world", value=config.world, why=why, do=do)
    if config.tasks:
        _write(config, on_tasks(config, config.policies, config.out))
        return 0
    from lacy.model import load_model

    loaded = load_model(config.model)
    policies = config.policies or (
        _policies_for_questions(config, loaded)
        if config.questions is not None or config.audit is not None
        else _default_policies(config.call_rate, loaded)
    )
    common = {
        "policies": policies, "unit": config.unit, "max_new_tokens": config.max_new_tokens,
        "seed": config.seed,
    }  # fmt: skip
    make_task = _on_articles if config.articles is not None else _in_world
    make_task = _on_questions if config.questions is not None else make_task
    measured: Measurement
    if config.audit is not None:
        audit = measured = measure_audit(
            loaded, config.audit, facts=config.people, policy=policies[-1],
            max_new_tokens=config.max_new_tokens, seed=config.seed,
        )  # fmt: skip
        print_audit(audit)
    else:
        measured = make_task(config, loaded, common)(loaded)
    if config.world is not None:
        _print(measured.results(), ANSWERS, "Facts", "people")
    elif config.questions is not None:
        _print(measured.results(), QUESTIONS, "Answers to questions", "questions")
    elif config.articles is not None:
        title = "Names, numbers and dates that the article contains"
        _print(measured.results(), ENTITIES, title, "articles")
    _write(config, measured)
    return 0


def _write(config: EvaluateConfig, measured: Measurement) -> None:
    """Write results as JSON if the user wants them."""
    if config.out is None:
        return
    from lacy.run import environment, write_atomic

    data = {**results.to_data(measured), "environment": environment()}
    write_atomic(config.out, json.dumps(data, indent=2) + "\n")
    say(f"Written: {config.out}")


def _default_policies(rate: float, loaded: Loaded) -> list[str]:
    """Return the default policies: no calls, random calls, a budget, and perhaps threshold 0."""
    from lacy.model import gate_of

    policies = ["never", f"random={rate:g}"]
    if loaded.calls:
        policies.append(f"budget={rate:g}")
        gated = gate_of(loaded.model) == "sigmoid" or cascade.trained_not_to_call(loaded.meta)
        policies += ["threshold=0"] * gated
    else:
        policies.append(f"budget={rate:g},by=entropy")
    print(f"Policies: {', '.join(policies)} (change them by --policies)", file=sys.stderr)
    return policies


def _policies_for_questions(config: EvaluateConfig, loaded: Loaded) -> list[str]:
    """Return the model alone and, with a source, its default policy."""
    if not config.source and config.audit is None:
        return ["never"]
    return ["never", "threshold=0" if loaded.calls else "entropy=4"]


def _on_questions(config: EvaluateConfig, loaded: Any, common: Mapping[str, Any]) -> Task:
    from lacy.sources import open_sources

    assert config.questions is not None
    questions = evaluate.read_questions(config.questions)[: config.people]
    settings = {key: value for key, value in common.items() if key != "max_new_tokens"}
    return partial(
        evaluate.evaluate_questions,
        questions=questions,
        source=open_sources(config.source, cache=config.cache, prices=config.price),
        max_new_tokens=min(config.max_new_tokens, evaluate.MAX_ANSWER_TOKENS),
        **settings,
    )


def _in_world(config: EvaluateConfig, loaded: Any, common: Mapping[str, Any]) -> Task:
    from lacy.sources import open_sources
    from lacy.world import load_world

    world = str(config.world)
    calibration, sentence = cascade.calibrate_on_sources(loaded, [world], config.calibrate)
    if sentence:
        note(sentence)
    return partial(
        evaluate.evaluate_world,
        world=load_world(world),
        source=open_sources(config.source or [world], cache=config.cache, prices=config.price),
        people=config.people,
        split=config.split,
        calibration=calibration,
        **common,
    )


def _on_articles(config: EvaluateConfig, loaded: Any, common: Mapping[str, Any]) -> Task:
    articles, others = _read_articles(config)
    with needs_extra("spacy", "finding names, numbers and dates"):
        extract = evaluate.default_extract(config.pipeline)
    return partial(
        evaluate.evaluate_articles,
        articles=articles,
        extract=extract,
        calibration=_calibration(config, loaded, others, extract),
        **common,
    )


def _print(measured: Sequence[Result], columns: Sequence[str], title: str, unit: str) -> None:
    """Print a row per condition, then the metrics of the model itself."""
    from lacy.report import format_score

    rows: dict[str, dict[str, Result]] = {}
    for result in (r for r in measured if "group" not in r.conditions):
        rows.setdefault(result.conditions.get("condition", ""), {})[result.metric] = result
    model = rows.pop("", {})
    labels = {name: metric.label for name, metric in results.METRICS.items()}
    body = [(name, *(format_score(row[m]) for m in columns)) for name, row in rows.items()]
    table(title, body, ("policy", *(labels[metric] for metric in columns)))
    if model:
        lines = [(labels[name], format_score(value)) for name, value in model.items()]
        table("The model by itself", lines, ("", "value"))
    number = next(iter(rows.values()))[columns[0]].n
    print(f"In brackets: 95% interval over {number} {unit}.")


def _read_articles(config: EvaluateConfig) -> tuple[list[Document], list[Document]]:
    """Return the articles to evaluate on, and other articles to calibrate on."""
    from lacy.corpus import read

    assert config.articles is not None
    chosen = read(config.articles, encoding=config.encoding, only=config.only)
    articles = list(itertools.islice(chosen, config.people))
    return articles, list(itertools.islice(chosen, max(0, config.calibrate)))


def _calibration(
    config: EvaluateConfig, loaded: Any, others: list[Document], extract: Extract
) -> Calibration | None:
    """Calibrate on other articles; print which ones, or why there is no calibration."""
    if config.calibrate <= 0:
        return None
    if not others:
        why = f"{config.articles} has only the {config.people} articles to evaluate on"
        say(f"Calibration: none, {why} (fewer --people leave some).", file=sys.stderr)
        return None
    calibration = evaluate.calibrate_on(loaded, others, extract)
    note(
        cascade.calibration_note(calibration, f"{len(others)} other articles of {config.articles}")
    )
    return calibration
