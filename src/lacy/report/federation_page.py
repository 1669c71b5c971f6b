"""The page of a federation: what happened in each round, as a table and as plots."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lacy._text import format_duration
from lacy.federate import Federation, Round
from lacy.report.html import (
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    TableRow,
    write_html,
)
from lacy.report.svg import SERIES_COLOURS, Output, figure_panels, inline

ROUND_COLUMNS = (
    "clients", "accepted", "refused", "failed", "counts", "loss", "held out", "up", "down",
    "epsilon", "seconds",
)  # fmt: skip
"""Columns of the table of rounds."""


def round_cells(done: Round) -> tuple[str, ...]:
    """Return the cells of a round, in the order of ``ROUND_COLUMNS``."""
    counts = ", ".join(
        f"{name.replace('_', ' ')} {count:,}"
        for name, count in done.counts.items()
        if count or name in ("seen", "flagged")
    )
    accepted = f"{len(done.accepted)}{'' if done.changed else ' (no change)'}"
    return (
        str(done.sampled), accepted, str(len(done.refused)), str(len(done.failed)), counts or "–",
        _figure(done.metrics.get("loss")), _figure(done.figures.get("held_out_loss")),
        f"{done.bytes_up / 1e6:.2f} MB", f"{done.bytes_down / 1e6:.2f} MB",
        "–" if done.epsilon is None else f"{done.epsilon:.2f}", f"{done.seconds:.1f}",
    )  # fmt: skip


def _figure(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def write_federation_page(path: str | Path, done: Federation) -> None:
    """Write one HTML file with the table of rounds, the plots and the settings.

    Args:
        path: the file.
        done: a federation that was run.
    """
    drawing = io.StringIO()
    caption = federation_figure(drawing, done.rounds)
    rows = [TableRow(str(each.number), round_cells(each)) for each in done.rounds]
    reasons = [
        TableRow(client, (str(each.number), kind, why))
        for each in done.rounds
        for kind, found in (("refused", each.refused), ("failed", each.failed))
        for client, why in found.items()
    ]
    columns = list(dict.fromkeys(key for about in done.clients.values() for key in about))
    clients = [
        TableRow(name, (*(f"{about.get(key, 0):,}" for key in columns), str(_taken(done, name))))
        for name, about in done.clients.items()
    ]
    page = HtmlPage(
        title=f"{done.model}, trained by {len(done.clients)} clients",
        lede=_lede(done),
        tables=[
            PageTable("Rounds", ROUND_COLUMNS, rows,
                      "Losses are means per token; bytes are those of all messages."),
            PageTable("Updates that were not used", ("round", "", "why"), reasons),
            PageTable("Clients", (*columns, "updates used"), clients, folded=True),
        ],
        figures=[PageFigure("Loss and bytes by round", inline(drawing.getvalue(), "f"), caption)],
        setup={name: str(value) for name, value in done.settings.items() if value is not None},
        notes=list(_notes(done)),
        next=[
            NextStep(f"lacy generate {done.folder} TEXT", "continue texts with the trained model"),
            NextStep(f"lacy evaluate {done.folder} --all", "measure it in full, as a scorecard"),
        ],
    )  # fmt: skip
    write_html(path, page)


def federation_figure(file: Output, rounds: Sequence[Round]) -> str:
    """Draw loss and sent bytes by round, and the privacy budget if there is one.

    Args:
        file: the ``.svg`` file to write.
        rounds: the rounds.

    Returns:
        The alternative text.
    """
    private = any(each.epsilon is not None for each in rounds)
    numbers = [each.number for each in rounds]
    description = f"Loss and bytes of {len(rounds)} rounds" + (", and epsilon" if private else "")
    with figure_panels(file, 3 if private else 2, description, columns=3) as axes:
        for name, losses, colour in (
            ("loss on clients", [each.metrics.get("loss", math.nan) for each in rounds], 0),
            ("held-out loss", [each.figures.get("held_out_loss", math.nan) for each in rounds], 1),
        ):
            if any(map(math.isfinite, losses)):
                axes[0].plot(numbers, losses, marker="o", color=SERIES_COLOURS[colour], label=name)
        axes[0].set_ylabel("loss (nats per token)")
        total, sent = 0, []
        for each in rounds:
            total += each.bytes_up + each.bytes_down
            sent.append(total / 1e6)
        axes[1].plot(numbers, sent, marker="o", color=SERIES_COLOURS[2], label="bytes so far")
        axes[1].set_ylabel("megabytes")
        if private:
            spent = [each.epsilon or 0.0 for each in rounds]
            axes[2].plot(numbers, spent, marker="o", color=SERIES_COLOURS[3], label="epsilon")
            axes[2].set_ylabel("epsilon")
        for axis in axes:
            axis.set_xlabel("round")
            axis.xaxis.get_major_locator().set_params(integer=True)
    return description


def _lede(done: Federation) -> str:
    """Return the most important figures as sentences."""
    rounds = done.rounds
    share = done.trained / max(1, done.parameters)
    sent = f"{sum(each.bytes_up + each.bytes_down for each in rounds) / 1e6:,.2f} MB"
    unused = sum(len(each.refused) + len(each.failed) for each in rounds)
    sentences = [
        "Each client trained on its own data; only changes of weights, counts and figures left "
        f"it. {done.trained:,} numbers travel ({share:.2%} of the weights); {sent} were sent in "
        f"all. {unused} of {sum(each.sampled for each in rounds)} updates were not used.",
    ]
    losses = [each.metrics["loss"] for each in rounds if "loss" in each.metrics]
    if losses:
        sentences.append(f"The loss on the clients' data went from {losses[0]:.3f} to "
                         f"{losses[-1]:.3f}.")  # fmt: skip
    if rounds and rounds[-1].epsilon is not None:
        sentences.append(f"Privacy budget: epsilon {rounds[-1].epsilon:.2f} at delta "
                         f"{done.settings['delta']:g}, for each client.")  # fmt: skip
    return " ".join(sentences)


def _notes(done: Federation) -> Iterator[str]:
    """Yield what a reader must know to judge the figures."""
    seconds = sum(each.seconds for each in done.rounds)
    yield f"All rounds took {format_duration(seconds)}."
    if done.settings.get("noise"):
        yield ("The privacy budget covers the weights. Counts and losses that clients report, as "
               "in this table, are outside it.")  # fmt: skip
    lost = [each.figures["lost"] for each in done.rounds if "lost" in each.figures]
    if lost:
        yield (f"The rank of the adapters cut off {max(lost):.2%} of the mean product at most "
               "(share of its squared norm).")  # fmt: skip
    if not done.finished:
        yield "The rounds ended early: one more would have exceeded the privacy budget."


def _taken(done: Federation, client: str) -> int:
    return sum(client in each.accepted and client not in each.left_out for each in done.rounds)
