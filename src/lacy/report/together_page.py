"""The page of a run of several workers: loss against bytes, and who took part when."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy._text import format_bytes
from lacy.config import read_yaml
from lacy.report.html import HtmlPage, NextStep, PageFigure, PageTable, TableRow, write_html
from lacy.report.svg import Output, SeriesStyle, figure_panels, inline
from lacy.run import read_metrics

COLUMNS = ("step", "loss", "held-out loss", "call rate", "workers", "late", "sent", "received")
MOST_ROWS = 200
"""Maximum number of rounds in the table; the last one is always there."""


def write_together_page(path: str | Path, folder: str | Path) -> None:
    """Write one HTML file about a run of ``lacy federate pretrain``.

    Args:
        path: the file.
        folder: the run's folder (``metrics.jsonl``, ``config.yaml``, ``environment.json``).
    """
    folder = Path(folder)
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "bytes_up" in row]
    settings, _ = read_yaml(folder / "config.yaml")
    environment = parse_json((folder / "environment.json").read_text(encoding="utf-8"))
    drawing = io.StringIO()
    caption = together_figure(drawing, rows)
    exchange = settings["exchange"]
    every = max(1, -(-len(rows) // MOST_ROWS))
    shown = [row for n, row in enumerate(rows, 1) if n % every == 0 or n == len(rows)]
    page = HtmlPage(
        title=f"{folder.name}, pretrained by {exchange['workers']} workers",
        lede=_lede(rows, exchange, environment.get("parameters")),
        tables=[
            PageTable(
                "Rounds", COLUMNS,
                [TableRow(str(row["round"]), _cells(row)) for row in shown],
                "The loss is that of the workers' own batches since the last exchange. Bytes are "
                "those of all workers together since the beginning, headers and scales included.",
                folded=True,
            ),
        ],
        figures=[PageFigure("Loss against bytes", inline(drawing.getvalue(), "c"), caption)],
        setup={
            **{name.replace("_", " "): str(value) for name, value in exchange.items()},
            "model": str(settings["model"]), "data": str(settings["data"]),
            "learning rate": str(settings["lr"]), "seed": str(settings["seed"]),
            **{k: str(v) for k, v in environment.items() if isinstance(v, str | int) and v},
        },
        notes=["Steps and tokens count all workers together, weighted by their tokens."],
        next=[NextStep(f"lacy evaluate {folder}", "measure the model")],
    )  # fmt: skip
    write_html(path, page)


def together_figure(file: Output, rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw loss against bytes, and the call rate of the workers by step.

    Args:
        file: the ``.svg`` file to write.
        rows: rows of ``metrics.jsonl`` with bytes.

    Returns:
        The alternative text.
    """
    description = "Loss against bytes of all workers; call rate by step, lowest to highest worker."
    trained = [row for row in rows if "loss" in row]
    calls = any(row["call_rate"] for row in trained)
    with figure_panels(file, 2 if calls else 1, description) as panels:
        sent = [(row["bytes_up"] + row["bytes_down"]) / 1e6 for row in trained]
        for number, (name, label) in enumerate(
            (("loss", "objective, own batches"), ("valid_loss", "text loss, held out"))
        ):
            points = [(x, row[name]) for x, row in zip(sent, trained, strict=True) if name in row]
            style = SeriesStyle(number)
            panels[0].plot(
                [x for x, _ in points], [y for _, y in points], color=style.colour, label=label,
                marker=style.marker if len(points) < 30 else "", linestyle=style.dash,
            )  # fmt: skip
        panels[0].set(xlabel="MB sent and received", ylabel="loss")
        if calls:
            steps = [row["step"] for row in trained]
            style = SeriesStyle(2)
            panels[1].fill_between(
                steps, [100 * row["call_rate_lowest"] for row in trained],
                [100 * row["call_rate_highest"] for row in trained],
                color=style.colour, alpha=0.25, linewidth=0, label="lowest to highest worker",
            )  # fmt: skip
            panels[1].plot(
                steps, [100 * row["call_rate"] for row in trained], color=style.colour,
                label="all workers",
            )  # fmt: skip
            panels[1].set(xlabel="step", ylabel="call rate, %")
    return description


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    def number(name: str, digits: str) -> str:
        return format(row[name], digits) if name in row else "–"

    return (
        f"{row['step']:,}", number("loss", ".3f"), number("valid_loss", ".3f"),
        number("call_rate", ".1%"), str(row["workers"]), str(row["late"]),
        f"{row['bytes_up'] / 1e6:,.2f} MB", f"{row['bytes_down'] / 1e6:,.2f} MB",
    )  # fmt: skip


def _lede(rows: Sequence[Mapping[str, Any]], exchange: Mapping[str, Any], values: Any) -> str:
    if not rows:
        return "No exchange has taken place yet."
    last = rows[-1]
    total = last["bytes_up"] + last["bytes_down"]
    text = (
        f"{exchange['workers']} workers exchanged {last['round']:,} times in the codec"
        f" {exchange['codec']} and sent and received {format_bytes(total)} together."
    )
    if isinstance(values, int):
        plain = 8 * values * last["step"] * exchange["workers"]
        text += (
            f" A float32 gradient and its mean in every step would be {format_bytes(plain)}:"
            f" {plain / max(1, total):,.0f} times as much."
        )
    return text
