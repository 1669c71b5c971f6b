"""``lacy evaluate``: measure right facts, call quality and what the model has memorized."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lacy import results
from lacy.cli import evaluate_audit, evaluate_texts
from lacy.cli.evaluate_language import measure_texts, show_texts
from lacy.cli.evaluate_options import EvaluateConfig
from lacy.cli.evaluate_saturation import measure_saturation_of, show_saturation
from lacy.cli.evaluate_speed import measure_speed, show_speed
from lacy.cli.evaluate_tasks import measure_tasks, show_tasks
from lacy.cli.terminal import note, say
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.model import Loaded
    from lacy.results import Measurement


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
        from lacy.model import set_precision
        from lacy.runtimes import open_local

        loaded = open_local(config.model)
        if sentence := set_precision(loaded.model, config.dtype):
            note(sentence)
        config.tailor(loaded)
        return measure(config, loaded)

    return opened


KINDS = {
    "world": Kind(_with_model(evaluate_texts.measure_world), evaluate_texts.show_world),
    "articles": Kind(_with_model(evaluate_texts.measure_articles), evaluate_texts.show_articles),
    "questions": Kind(_with_model(evaluate_texts.measure_questions), evaluate_texts.show_questions),
    "audit": Kind(_with_model(evaluate_audit.measure_audit), evaluate_audit.print_audit),
    "texts": Kind(_with_model(measure_texts), show_texts),
    "tasks": Kind(measure_tasks, show_tasks),
    "saturation": Kind(measure_saturation_of, show_saturation),
    "speed": Kind(measure_speed, show_speed),
}
"""The kinds of evaluation by the name of their flag."""


def run(config: EvaluateConfig) -> int:
    """Evaluate the model and print the results."""
    _check_vocabulary(config)
    if config.all:
        from lacy.cli.scorecard import run_scorecard

        return run_scorecard(config)
    given = [name for name in KINDS if getattr(config, name) not in (None, [], False)]
    if config.speed and set(given) <= {"questions", "texts", "speed"}:
        given = ["speed"]  # questions for the price of a right answer, texts as prompts
    if len(given) != 1:
        flags = [f"--{name.replace('_', '-')}" for name in KINDS]
        why = f"one of {', '.join(flags[:-1])} and {flags[-1]} is needed"
        do = "lacy evaluate MODEL --articles FILE, or all at once: lacy evaluate MODEL --all"
        raise LacyError("E12", key=given[0] if given else "world", value=", ".join(given) or None,
                        why=why, do=do)  # fmt: skip
    if config.limit is not None and given != ["tasks"]:
        why, do = "it limits the documents of --tasks only", "leave it out, or give fewer texts"
        raise LacyError("E12", key="limit", value=config.limit, why=why, do=do)
    kind = KINDS[given[0]]
    measured = kind.measure(config)
    kind.show(measured)
    if config.out is not None:
        from lacy.run import environment, write_atomic

        data = {**results.to_data(measured), "environment": environment()}
        write_atomic(config.out, json.dumps(data, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0


def _check_vocabulary(config: EvaluateConfig) -> None:
    """Raise E12 if --vocabulary would have no effect, as all logits are measured."""
    unaffected = [name for name in ("all", "texts", "tasks", "saturation") if getattr(config, name)]
    if config.vocabulary is not None and unaffected and not config.speed:
        raise LacyError(
            "E12", key="vocabulary", value=config.vocabulary,
            why=f"--{unaffected[0]} measures all tokens",
            do="lacy vocabulary check measures a vocabulary on texts",
        )  # fmt: skip
