"""``lacy evaluate`` in a made-up world, on articles, and on questions."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from lacy import cascade, evaluate, results
from lacy.cli.evaluate_pages import open_people_facts, print_pages
from lacy.cli.terminal import needs_extra, note, say, table

if TYPE_CHECKING:
    from lacy.cascade import Calibration
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.evaluate import Extract
    from lacy.model import Loaded
    from lacy.results import Measurement, Result
    from lacy.types import Document

ANSWERS = ("facts_right", "recall", "calls_per_answer", "call_rate")
ENTITIES = (
    "entities_right", "own_entities_right", "borrowed_entities_right", "entities_per_text",
    "call_rate",
)  # fmt: skip
QUESTIONS = ("answers_right", "answers_exact", "answers_sourced", "sourced_right")
"""Metrics that are printed for each condition: in a world, on articles, and of questions."""


def _common(config: EvaluateConfig, policies: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that all tasks take."""
    return {
        "policies": policies, "unit": config.unit,
        "max_new_tokens": config.max_new_tokens, "seed": config.seed,
    }  # fmt: skip


def _policies(config: EvaluateConfig, loaded: Loaded) -> list[str]:
    """Return the policies: by default no calls, random calls, a budget, perhaps threshold 0."""
    if config.policies:
        return config.policies
    rate = config.call_rate
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


def policies_for_questions(config: EvaluateConfig, loaded: Loaded) -> list[str]:
    """Return the policies: by default the model alone and, with a source, what suits it."""
    if config.policies:
        return config.policies
    if not config.source and config.audit is None and not config.own_facts:
        return ["never"]
    return ["never", "threshold=0" if loaded.calls else "entropy=4"]


def measure_questions(config: EvaluateConfig, loaded: Loaded) -> Measurement:
    """Ask the questions of a file, alone and with a source."""
    from lacy.sources import open_sources

    assert config.questions is not None
    settings = _common(config, policies_for_questions(config, loaded))
    settings["max_new_tokens"] = min(config.max_new_tokens, evaluate.MAX_ANSWER_TOKENS)
    questions = evaluate.read_questions(config.questions)
    if config.own_facts:
        policy = settings.pop("policies")[-1]
        chosen, others = questions[: config.people], questions[config.people :]
        return evaluate.evaluate_own_facts(loaded, chosen, policy, others=others, **settings)
    return evaluate.evaluate_questions(
        loaded,
        questions[: config.people],
        open_sources(config.source, cache=config.cache, prices=config.price),
        **settings,
    )


def measure_world(config: EvaluateConfig, loaded: Loaded) -> Measurement:
    """Let the model write about the people of a made-up world."""
    from lacy.sources import open_sources
    from lacy.world import load_world

    world = str(config.world)
    policies = _policies(config, loaded)
    calibration, sentence = cascade.calibrate_on_sources(loaded, [world], config.calibrate)
    if sentence:
        note(sentence)
    return evaluate.evaluate_world(
        loaded,
        world=load_world(world),
        source=open_sources(config.source or [world], cache=config.cache, prices=config.price),
        people=config.people,
        split=config.split,
        calibration=calibration,
        **_common(config, policies),
    )


def measure_articles(config: EvaluateConfig, loaded: Loaded) -> Measurement:
    """Let the model continue held-out articles."""
    policies = _policies(config, loaded)
    articles, others = _read_articles(config)
    with needs_extra("spacy", "finding names, numbers and dates"):
        extract = evaluate.default_extract(config.pipeline)
    with ExitStack() as stack:
        facts = open_people_facts(config.people_facts)
        return evaluate.evaluate_articles(
            loaded,
            articles=articles,
            extract=extract,
            people_facts=stack.enter_context(facts) if facts else None,
            calibration=_calibration(config, loaded, others, extract),
            **_common(config, policies),
        )


def show_world(measured: Measurement) -> None:
    """Print the results in a world."""
    _print(measured.results(), ANSWERS, "Facts", "people")


def show_articles(measured: Measurement) -> None:
    """Print the results on articles."""
    title = "Names, numbers and dates that the article contains"
    _print(measured.results(), ENTITIES, title, "articles")
    print_pages(measured.results())


def show_questions(measured: Measurement) -> None:
    """Print the results on questions."""
    _print(measured.results(), QUESTIONS, "Answers to questions", "questions")
    _print_question_groups(measured.results())


def _print_question_groups(measured: Sequence[Result]) -> None:
    """Print the share of right answers by relation and popularity, a column per condition."""
    from lacy.report import format_score

    rows: dict[str, dict[str, Result]] = {}
    for result in measured:
        if result.metric == "answers_right" and "group" in result.conditions:
            group = rows.setdefault(result.conditions["group"], {})
            group[result.conditions["condition"]] = result
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    body = [
        (group, *(format_score(row.get(name)) for name in names)) for group, row in rows.items()
    ]
    if len(rows) > 1:
        table("Answers right, by relation and popularity", body, ("", *names))


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
