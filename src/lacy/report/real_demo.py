"""Write the results and the report of ``lacy demo --real``, and print its table and some texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.evaluate import OpeningsResult
from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageTable,
    Passage,
    TableRow,
    format_score,
    write_html,
)
from lacy.results import METRICS, Score, as_data
from lacy.run import environment, write_atomic

if TYPE_CHECKING:
    from rich.console import Console

LABELS = {
    "alone": "alone",
    "random": "calls at random words",
    "entropy": "calls where unsure",
    "gate": "calls by the fitted row",
}
"""Conditions of the demo and their labels."""
METRICS_SHOWN = ("openings_right", "call_rate", "calls_per_opening")
EXAMPLES = 6
"""Number of openings that are shown under all conditions."""


def write_real_demo(
    out: Path,
    measured: OpeningsResult,
    tuned: Mapping[str, Score],
    settings: Mapping[str, Any],
    examples: Sequence[int],
) -> None:
    """Write results.json and report.html.

    Args:
        out: the folder of the demo.
        measured: the completed openings.
        tuned: AUROC at value starts by signal: the fitted row and its controls.
        settings: settings of the demo, and its time.
        examples: indices of the openings to show.
    """
    machine = environment()
    data = {
        "openings": as_data(measured), "auroc_at_value_starts": as_data(tuned),
        "results": as_data(measured.results()), "settings": dict(settings), "environment": machine,
    }  # fmt: skip
    write_atomic(out / "results.json", json.dumps(data, indent=2) + "\n")
    gate, alone = measured.conditions["gate"], measured.conditions["alone"]
    rows = [
        TableRow(
            LABELS[name],
            [answers.scores.get(metric) for metric in METRICS_SHOWN],
            answers.policy,
            strong=name == "gate",
        )
        for name, answers in measured.conditions.items()
    ]
    page = HtmlPage(
        title="A real small model that asks for its facts",
        lede=(
            f"{settings['model']} is a pretrained model and does not change. One new row, for the "
            f"token <CALL>, was fitted on {settings['articles']} short articles in "
            f"{settings['tune_seconds']:.0f} seconds. Where it calls, a database answers; the "
            f"subjects of the {measured.openings} openings were not among the articles."
        ),
        headlines=[
            Headline(
                "openings right", gate.scores["openings_right"], "with a database",
                alone.scores["openings_right"],
            ),
        ],
        side_by_side=[
            Passage(f"{LABELS[name]}", measured.conditions[name].answers[n])
            for n in examples[:2]
            for name in ("alone", "gate")
        ],
        tables=[
            PageTable(
                "Openings completed with the true value",
                [METRICS[metric].label for metric in METRICS_SHOWN],
                rows,
                "95% intervals over subjects.",
            ),
            PageTable(
                "Does the row know where a value begins?",
                ["AUROC"],
                [TableRow(name, [score], strong=name == "gate") for name, score in tuned.items()],
                "On articles that it was not fitted on; the controls see only the last words, or "
                "the model's uncertainty.",
            ),
        ],
        passages=[
            Passage(LABELS[name], measured.conditions[name].answers[n])
            for n in examples[2:]
            for name in ("alone", "gate")
        ],
        setup={
            **{key.replace("_", " "): str(value) for key, value in settings.items()},
            **{key: str(value) for key, value in machine.items() if not isinstance(value, dict)},
        },
        next=real_next_steps(out),
    )  # fmt: skip
    write_html(out / "report.html", page)


def real_next_steps(out: Path) -> list[NextStep]:
    """Return commands to try next."""
    return [
        NextStep(
            f"lacy generate {out}/model 'Isaac Newton was born in' --source {out}/facts.sqlite",
            "complete any sentence about a person, country or element",
        ),
        NextStep(
            f"lacy serve {out}/model --source {out}/facts.sqlite",
            "use it in the browser, or with any OpenAI client (needs lacy[serve])",
        ),
        NextStep(
            "lacy tune smollm2 --data my_articles/",
            "fit the row on your own texts; 100 to 200 articles are enough",
        ),
    ]


def show_real_demo(
    console: Console,
    out: Path,
    seconds: float,
    measured: OpeningsResult,
    tuned: Mapping[str, Score],
    examples: Sequence[int],
) -> None:
    """Print the table, some texts alone and with the database, and what to try next."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column(f"{measured.openings} openings", no_wrap=True)
    for metric in METRICS_SHOWN:
        table.add_column(METRICS[metric].label, justify="right")
    for name, answers in measured.conditions.items():
        cells = [format_score(answers.scores.get(metric)) for metric in METRICS_SHOWN]
        table.add_row(LABELS[name], *cells, style="bold" if name == "gate" else "")
    console.print()
    console.print(table)
    line = ", ".join(f"{name} {score.value:.3f}" for name, score in tuned.items())
    console.print(f"\nAUROC at the first tokens of values: {line}\n")
    for n in examples:
        for name in ("alone", "gate"):
            answer = measured.conditions[name].answers[n]
            text = Text(f"{'alone' if name == 'alone' else 'with facts':<11}", style="dim")
            for span in answer.spans:
                borrowed = span.asked and span.speaker not in ("slm", "prompt")
                text.append(span.text.replace("\n", " "), style="green" if borrowed else "")
            console.print(text, soft_wrap=True)
        console.print()
    console.print(Text("borrowed", style="green").append(" · own words plain", style="default"))
    console.print(f"{seconds:.0f} seconds. Full report: [bold]{out / 'report.html'}[/bold]")
    console.print("Next:")
    for step in real_next_steps(out):
        line_text = Text(f"  {step.command}").append(f"\n      {step.why}", style="dim")
        console.print(line_text, soft_wrap=True)
