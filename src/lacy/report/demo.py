"""Write the results and the report of ``lacy demo``, and print its table and three texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.evaluate import WorldResult
from lacy.report.curves import Curve
from lacy.report.html import NextStep, format_score, write_html
from lacy.report.world_page import ShownCondition, world_page
from lacy.results import METRICS, as_data
from lacy.run import environment, read_metrics, write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lacy.evaluate import FactScores

CONDITIONS = {
    "plain_alone": ShownCondition("plain", "alone", "plain model, alone"),
    "plain_random_calls": ShownCondition("plain", "random", "plain model, calls at random places"),
    "plain_entropy_calls": ShownCondition(
        "plain", "entropy", "plain model, calls where it is unsure"
    ),
    "lacy_alone": ShownCondition("lacy", "alone", "lacy model, alone"),
    "lacy_random_calls": ShownCondition("lacy", "random", "lacy model, calls at random places"),
    "lacy_database": ShownCondition("lacy", "database", "lacy model, calls where it wants to"),
}
"""Every condition by its name in results.json, with its label."""

SHOWN = ("facts_right", "recall", "call_rate")
"""Metrics of the table."""
SIDE_BY_SIDE = ("plain_alone", "plain_random_calls", "lacy_database")
"""Conditions whose answers are shown side by side."""
SENTENCES = 3
"""Number of sentences of each answer that are printed."""


def demo_figures(measured: Mapping[str, WorldResult], controls: float) -> dict[str, Any]:
    """Return the main figures for ``results.json``, each with value, low, high and n.

    Args:
        measured: results of the ``plain`` and the ``lacy`` model.
        controls: call rate of the control conditions.
    """
    facts = _facts(measured)
    plain, lacy = measured["plain"], measured["lacy"]
    assert lacy.calls and plain.calls and lacy.closed_book and plain.closed_book
    separation, control = lacy.calls.separation["margin"], plain.calls.separation
    figures = {
        "seconds": None,
        **{metric: {name: scores[metric] for name, scores in facts.items()} for metric in SHOWN},
        "controls_call_rate": controls,
        "calls_per_fact": facts["lacy_database"]["calls_per_statement"],
        "call_auroc_value_start": separation.value_start,
        "call_auroc_later_tokens": separation.later,
        "control_auroc_value_start": {
            signal: control[signal].value_start for signal in ("entropy", "top2")
        },
        "closed_book_recall": {"plain": plain.closed_book.start, "lacy": lacy.closed_book.start},
        "language_loss": {"plain": plain.language_loss, "lacy": lacy.language_loss},
    }
    data: dict[str, Any] = as_data(figures)
    return data


def _facts(measured: Mapping[str, WorldResult]) -> dict[str, FactScores]:
    return {name: condition.of(measured).facts for name, condition in CONDITIONS.items()}


def write_demo(
    out: Path,
    figures: Mapping[str, Any],
    measured: Mapping[str, WorldResult],
    settings: Mapping[str, Any],
    unseen_name: str,
) -> None:
    """Write results.json and report.html.

    Args:
        out: the folder of the demo.
        figures: the main figures, from ``demo_figures``.
        measured: results of the ``plain`` and the ``lacy`` model.
        settings: settings of the demo: people, steps, seed, ask, call_rate and budget.
        unseen_name: a name that no training text mentions.
    """
    machine = environment()
    all_settings = {**settings, "call_rate_in_training": settings["call_rate"]}
    names = ("people", "steps", "seed", "ask", "call_rate_in_training")
    data = {
        **figures,
        "settings": {name: all_settings[name] for name in names},
        "environment": machine,
        "details": as_data(measured),
    }
    write_atomic(out / "results.json", json.dumps(data, indent=2) + "\n")
    page = world_page(
        measured,
        list(CONDITIONS.values()),
        best=CONDITIONS["lacy_database"],
        baseline=CONDITIONS["plain_alone"],
        side_by_side=[CONDITIONS[name] for name in SIDE_BY_SIDE],
        lede=(
            f"Two models of the same size read the same texts about {settings['people']} made-up "
            f"people for {settings['steps']} steps. One of them learned to call where a fact is "
            "due; the database has the facts, and the model chooses the one that fits."
        ),
        series={
            f"{model} model": [c for c in CONDITIONS.values() if c.model == model]
            for model in ("plain", "lacy")
        },
        training=[_loss_curve(out, name) for name in ("plain", "lacy")],
        setup={
            "people": f"{settings['people']}; the models wrote about {settings['ask']} of them",
            "training": f"{settings['steps']} steps each, <CALL> for {settings['call_rate']:.0%} "
            "of the targets",
            "call rate of the controls": f"{settings['budget']:.0%} of the generated tokens",
            "seed": str(settings["seed"]),
            "seconds": f"{figures['seconds']:.0f}",
            **{key: str(value) for key, value in machine.items() if not isinstance(value, dict)},
        },
        next_steps=next_steps(out, unseen_name),
    )
    write_html(out / "report.html", page)


def next_steps(out: Path, unseen_name: str) -> list[NextStep]:
    """Return commands to try next."""
    return [
        NextStep(
            f"lacy generate {out}/lacy '{unseen_name}' --source {out}/world --show",
            "ask about a person that no training text mentions, and show the evidence of each call",
        ),
        NextStep(
            f"lacy evaluate {out}/lacy --world {out}/world --split fresh",
            "evaluate it on phrasings that it has never read",
        ),
        NextStep(
            f"lacy serve {out}/lacy --source {out}/world",
            "use it in the browser, or with any OpenAI client (needs lacy[serve])",
        ),
        NextStep("lacy demo --people 400", "use a world that is too large to memorize"),
        NextStep("lacy data mark my-texts.jsonl --out data", "start with your own texts"),
    ]


def _loss_curve(out: Path, name: str) -> Curve:
    """Return the smoothed training loss of a run, at most 60 points."""
    rows = [row for row in read_metrics(out / name / "metrics.jsonl") if "text_loss" in row]
    width = max(1, len(rows) // 60)
    groups = [rows[i : i + width] for i in range(0, len(rows), width)]
    return Curve(
        name,
        [group[-1]["step"] for group in groups],
        [sum(row["text_loss"] for row in group) / len(group) for group in groups],
    )


def show_demo(
    console: Console,
    out: Path,
    seconds: float,
    measured: Mapping[str, WorldResult],
    unseen_name: str,
) -> None:
    """Print the table, one text under three conditions, and what to try next."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for metric in SHOWN:
        table.add_column(METRICS[metric].label, justify="right")
    facts = _facts(measured)
    for name, condition in CONDITIONS.items():
        style = "bold" if name == "lacy_database" else ""
        table.add_row(condition.label, *(format_score(facts[name][m]) for m in SHOWN), style=style)
    console.print()
    console.print(table)
    plain, lacy = measured["plain"], measured["lacy"]
    assert lacy.calls and plain.calls and lacy.closed_book and plain.closed_book
    entropy, top2 = (plain.calls.separation[n].value_start.value for n in ("entropy", "top2"))
    console.print(
        f"\nKnows where facts begin: AUROC {lacy.calls.separation['margin'].value_start.value:.3f} "
        f"(plain model: entropy {entropy:.2f}, gap of its two best words {top2:.2f})"
        f"\nCalls per stated fact: {facts['lacy_database']['calls_per_statement'].value:.2f}"
        "\nClosed-book recall (calls switched off): plain "
        f"{format_score(plain.closed_book.start)}, lacy {format_score(lacy.closed_book.start)}\n"
    )
    for name in SIDE_BY_SIDE:
        console.print(Text(CONDITIONS[name].label, style="bold"))
        console.print(_first_sentences(measured, CONDITIONS[name]), soft_wrap=True)
    legend = Text("  ").append("borrowed", style="green").append(" · ")
    legend.append("wrong", style="red").append(" · own words plain\n")
    console.print(legend)
    page = out / "report.html"
    console.print(f"{seconds:.0f} seconds. Full report: [bold]{page}[/bold]")
    console.print("Next:")
    for step in next_steps(out, unseen_name):
        line = Text(f"  {step.command}").append(f"\n      {step.why}", style="dim")
        console.print(line, soft_wrap=True)


def _first_sentences(measured: Mapping[str, WorldResult], condition: ShownCondition) -> Text:
    """Return the first sentences of the first answer, borrowed words green, wrong values red."""
    from rich.text import Text

    answers = condition.of(measured)
    answer, verdicts = answers.answers[0], answers.graded[0].verdicts
    text, end = Text("  "), 0
    for span in answer.spans:
        own = span.speaker in ("prompt", "slm")
        text.append(span.text, style="" if own else "green")
    for verdict in verdicts:
        if not verdict.right:
            text.stylize("red", verdict.start + 2, verdict.end + 2)
    full_text = answer.text
    for _ in range(SENTENCES):
        period = full_text.find(". ", end)
        end = len(full_text) if period < 0 else period + 2
    return text[: end + 2]
