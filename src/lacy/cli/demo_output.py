"""What ``lacy demo`` leaves and shows: results.json, report.html, the table, three sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.evaluate import Line, Pick, Step, WorldResult, flat, world_page, write_report
from lacy.run import environment, read_metrics, write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lacy.cli.demo import DemoConfig
    from lacy.world import World

CONDITIONS = {
    "plain_alone": Pick("plain", "alone", "plain model, alone"),
    "plain_random_calls": Pick("plain", "random", "plain model, calls at random places"),
    "plain_entropy_calls": Pick("plain", "entropy", "plain model, calls where it is unsure"),
    "lacy_alone": Pick("lacy", "alone", "lacy model, alone"),
    "lacy_random_calls": Pick("lacy", "random", "lacy model, calls at random places"),
    "lacy_database": Pick("lacy", "database", "lacy model, calls where it wants to"),
}
"""Every condition: its name in results.json, and in words."""

VOICES = ("plain_alone", "plain_random_calls", "lacy_database")
SENTENCES = 3


def results(measured: dict[str, WorldResult], controls: float) -> dict[str, Any]:
    """What ``results.json`` says first; each figure has value, low, high and n.

    Args:
        measured: of the plain and the lacy model.
        controls: share of tokens that the controls ask for.
    """
    conditions = {
        name: measured[pick.model].conditions[pick.condition].facts
        for name, pick in CONDITIONS.items()
    }
    plain, lacy = measured["plain"], measured["lacy"]
    assert lacy.calls and plain.calls and lacy.closed_book and plain.closed_book
    separation, control = lacy.calls.separation["margin"], plain.calls.separation
    return {
        "seconds": None,
        "call_rate": {**(flat(conditions["lacy_database"].call_rate) or {}), "controls": controls},
        "facts_right": {name: flat(facts.facts_right) for name, facts in conditions.items()},
        "recall": {name: flat(facts.recall) for name, facts in conditions.items()},
        "call_rates": {name: flat(facts.call_rate) for name, facts in conditions.items()},
        "calls_per_fact": flat(conditions["lacy_database"].calls_per_statement),
        "call_auroc_value_start": flat(separation.value_start),
        "call_auroc_later_tokens": flat(separation.later),
        "control_auroc_value_start": {
            name: flat(control[name].value_start) for name in ("entropy", "top2")
        },
        "closed_book_recall": {
            "plain": flat(plain.closed_book.start),
            "lacy": flat(lacy.closed_book.start),
        },
        "language_loss": {"plain": flat(plain.language_loss), "lacy": flat(lacy.language_loss)},
    }


def write(
    out: Path,
    found: dict[str, Any],
    measured: dict[str, WorldResult],
    config: DemoConfig,
    world: World,
) -> None:
    """Writes results.json and report.html."""
    where = environment()
    full = {
        **found,
        "settings": {"people": config.people, "steps": config.steps, "seed": config.seed,
                     "ask": config.ask, "call_rate_in_training": config.call_rate},
        "environment": where,
        "details": {name: result.as_dict() for name, result in measured.items()},
    }  # fmt: skip
    write_atomic(out / "results.json", json.dumps(full, indent=2) + "\n")
    page = world_page(
        measured,
        list(CONDITIONS.values()),
        best=CONDITIONS["lacy_database"],
        baseline=CONDITIONS["plain_alone"],
        voices=[CONDITIONS[name] for name in VOICES],
        lede=(
            f"Two models of the same size read the same texts about {config.people} made-up "
            f"people for {config.steps} steps. One of them learned to call where a fact is due; "
            "the database holds the facts, and the model chooses which of them fits."
        ),
        series={
            "plain model": [CONDITIONS[n] for n in CONDITIONS if n.startswith("plain")],
            "lacy model": [CONDITIONS[n] for n in CONDITIONS if n.startswith("lacy")],
        },
        training=[_curve(out, name) for name in ("plain", "lacy")],
        setup=_setup(found, where, config),
        next_steps=next_steps(out, world),
    )
    write_report(out / "report.html", page)


def next_steps(out: Path, world: World) -> list[Step]:
    """What to type next."""
    stranger = world.prompts("unseen", 1)[0]
    return [
        Step(
            f"lacy generate {out}/lacy '{stranger}' --source {out}/world --show",
            "ask about somebody no training text speaks of, with the evidence for each word",
        ),
        Step(
            f"lacy evaluate {out}/lacy --world {out}/world --split fresh",
            "score it in phrasings that it has never read",
        ),
        Step(
            f"lacy serve {out}/lacy --source {out}/world",
            "talk to it in the browser, or with any OpenAI client (needs lacy[serve])",
        ),
        Step("lacy demo --people 400", "a world too large to learn by heart"),
        Step("lacy data mark my-texts.jsonl --out data", "begin with your own texts"),
    ]


def _curve(out: Path, name: str) -> Line:
    """The smoothed training loss of a run, at most 60 points."""
    read = [m for m in read_metrics(out / name / "metrics.jsonl") if "text_loss" in m]
    width = max(1, len(read) // 60)
    groups = [read[i : i + width] for i in range(0, len(read), width)]
    return Line(
        name,
        [group[-1]["step"] for group in groups],
        [sum(m["text_loss"] for m in group) / len(group) for group in groups],
    )


def _setup(found: dict[str, Any], where: dict[str, Any], config: DemoConfig) -> dict[str, str]:
    return {
        "people": f"{config.people}, {config.ask} of them asked about",
        "training": f"{config.steps} steps each, <CALL> for {config.call_rate:.0%} of the targets",
        "controls ask for": f"{config.budget:.0%} of the generated tokens",
        "seed": str(config.seed),
        "seconds": f"{found['seconds']:.0f}",
        **{key: str(value) for key, value in where.items() if not isinstance(value, dict)},
    }


def show(
    console: Console,
    out: Path,
    found: dict[str, Any],
    measured: dict[str, WorldResult],
    world: World,
) -> None:
    """Prints the table, the same text three ways, and what to try next."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in ("facts right", "recall", "tokens asked for"):
        table.add_column(column, justify="right")
    for name, pick in CONDITIONS.items():
        style = "bold" if name == "lacy_database" else ""
        cells = (found[key][name] for key in ("facts_right", "recall", "call_rates"))
        table.add_row(pick.label, *map(_percent, cells), style=style)
    console.print()
    console.print(table)
    closed_book, auroc = found["closed_book_recall"], found["call_auroc_value_start"]
    control = found["control_auroc_value_start"]
    console.print(
        f"\nKnows where facts begin: AUROC {auroc['value']:.3f} (a plain model's entropy: "
        f"{control['entropy']['value']:.2f}, its two best words: {control['top2']['value']:.2f})"
        f"\nCalls per stated fact: {found['calls_per_fact']['value']:.2f}"
        f"\nClosed-book recall (calls switched off): plain {_percent(closed_book['plain'])}, "
        f"lacy {_percent(closed_book['lacy'])}\n"
    )
    for name in VOICES:
        console.print(Text(CONDITIONS[name].label, style="bold"))
        console.print(_sentences(measured, name), soft_wrap=True)
    legend = Text("  ").append("borrowed", style="green").append(" · ")
    legend.append("wrong", style="red").append(" · own words plain\n")
    console.print(legend)
    page = out / "report.html"
    console.print(f"{found['seconds']:.0f} seconds. Read it all: [bold]{page}[/bold]")
    console.print("Next:")
    for step in next_steps(out, world):
        console.print(Text(f"  {step.command}").append(f"\n      {step.why}", style="dim"),
                      soft_wrap=True)  # fmt: skip


def _percent(score: dict[str, Any] | None) -> str:
    """A share with its interval: ``97.8% [96.9-98.5]``."""
    if score is None:
        return "-"
    if score["low"] is None:
        return f"{100 * score['value']:.1f}%"
    return f"{100 * score['value']:.1f}% [{100 * score['low']:.1f}-{100 * score['high']:.1f}]"


def _sentences(measured: dict[str, WorldResult], name: str) -> Text:
    """The beginning of the first answer: borrowed words green, wrong values red."""
    from rich.text import Text

    pick = CONDITIONS[name]
    condition = measured[pick.model].conditions[pick.condition]
    answer, verdicts = condition.answers[0], condition.graded[0].verdicts
    text, place = Text("  "), 0
    for span in answer.spans:
        own = span.speaker in ("prompt", "slm")
        text.append(span.text, style="" if own else "green")
    for verdict in verdicts:
        if not verdict.right:
            text.stylize("red", verdict.start + 2, verdict.end + 2)
    whole = answer.text
    for _ in range(SENTENCES):
        found = whole.find(". ", place)
        place = len(whole) if found < 0 else found + 2
    return text[: place + 2]
