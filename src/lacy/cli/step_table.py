"""Show the steps of a text as a table, call by call, or as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lacy import cascade
from lacy.cli.streaming import indented
from lacy.errors import LacyError
from lacy.types import Span

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep, Offer

SHOWN = 5
"""Number of candidates that are listed for each call; the others are only counted."""

NO_MARKS = "Marks are left out: they need spaCy (pip install 'lacy[spacy]')."


def with_marks(steps: Sequence[DecodeStep], text: str) -> tuple[list[DecodeStep], str]:
    """Add the bundled annotator's marks to the steps; also return a note if it is not installed."""
    from lacy.annotate import SpacyAnnotator

    try:
        annotator = SpacyAnnotator("bundled", notify=lambda sentence: None)
    except LacyError:
        return list(steps), NO_MARKS
    [marks] = annotator.annotate([text])
    [(doc, scores_TL)] = list(annotator.parse([text]))
    p_facts = [] if scores_TL is None else (1 - scores_TL[:, -1]).tolist()
    words = [(token.idx, token.idx + len(token)) for token in doc]
    return [_marked(step, marks, words, p_facts) for step in steps], ""


def _marked(
    step: DecodeStep,
    marks: Sequence[Any],
    words: Sequence[tuple[int, int]],
    p_facts: Sequence[float],
) -> DecodeStep:
    """Add to a step the mark that overlaps its text (without outer spaces)."""
    start = step.start + len(step.text) - len(step.text.lstrip())
    end = step.start + len(step.text.rstrip())
    overlapping = [mark for mark in marks if mark.start < end and start < mark.end]
    probabilities = [
        p
        for (first, last), p in zip(words, p_facts, strict=bool(p_facts))
        if first < end and start < last
    ]
    reason = overlapping[0].reason if overlapping else None
    return replace(step, mark=reason, p_mark=max(probabilities, default=None))


def show(
    console: Console,
    steps: Sequence[DecodeStep],
    palette: dict[str, str],
    *,
    notes: Sequence[str] = (),
    words: int = 3,
) -> None:
    """Print steps as a table with as many columns as fit, then call by call."""
    for step in steps:
        if step.speaker not in ("slm", "text"):
            cascade.style_of(Span("", step.speaker), palette)
    console.print(_table(steps, palette, console, words))
    if any(step.called for step in steps):
        console.print()
    show_calls(console, steps, palette)
    for note in ["", _explanation(steps), *notes]:
        console.print(Text(note, style="dim"))


def show_calls(
    console: Console,
    steps: Sequence[DecodeStep],
    palette: dict[str, str],
    only: int | None = None,
) -> None:
    """Print each call: the words before it, its candidates, and why one was taken or not.

    Args:
        console: the console to print to.
        steps: the steps of the whole text.
        palette: colours by source.
        only: the number of one call, counted from 1; None for all.
    """
    for number, step in enumerate((step for step in steps if step.called), start=1):
        if only in (None, number):
            for line in _call(step, steps, palette, console, number):
                console.print(line, soft_wrap=not console.is_terminal)


def _table(
    steps: Sequence[DecodeStep], palette: dict[str, str], console: Console, words: int
) -> Table:
    """Return a table with one row per step, and with fewer columns in narrow terminals."""
    width = console.width
    marked = any(step.mark or step.p_mark is not None for step in steps)
    teacher = any(step.p_text is not None for step in steps)
    min_widths = {
        "text": 0, "margin": 0, "limit": 0, "p(CALL)": 56, "p(it)": 64 if teacher else math.inf,
        "entropy": 90, "fact": 72 if marked else math.inf, "next best": 48,
    }  # fmt: skip
    columns = [name for name, min_width in min_widths.items() if width >= min_width]
    rows = [
        {
            "text": _coloured_words(step, palette, console, 24 if width >= 72 else 14),
            "margin": Text(_number(step.margin), "bold" if step.called else ""),
            "limit": Text(_limit(step)),
            "p(CALL)": Text(_probability(step.p_call)),
            "p(it)": Text(_probability(step.p_text)),
            "entropy": Text(f"{step.entropy:.2f}"),
            "fact": Text(_fact(step), "" if step.mark else "dim"),
        }
        for step in steps
    ]
    room = width
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in columns:
        widest = max(cell_len(name), *(row[name].cell_len for row in rows if name in row), 0)
        room -= widest + 2
        table.add_column(
            name,
            justify="left" if name in ("text", "fact", "next best") else "right",
            no_wrap=True,
            min_width=None if name == "next best" else widest,
        )
    for step, row in zip(steps, rows, strict=True):
        row["next best"] = _next_best(step, words, room + cell_len("next best") + 2)
        table.add_row(*(row[name] for name in columns))
    return table


def _coloured_words(
    step: DecodeStep, palette: dict[str, str], console: Console, width: int
) -> Text:
    """Return the words of a step in the colour of their speaker; an arrow marks a call."""
    style = ""
    if step.speaker in palette:
        style = "reverse" if console.no_color else palette[step.speaker]
    elif step.called:
        style = cascade.guess_style(not console.no_color)
    text = Text("\u25b8 " if step.called else "  ").append(_word(step.text), style)
    text.truncate(width, overflow="ellipsis")
    return text


def _word(text: str) -> str:
    """Return a word without outer spaces, with symbols for a space, a newline and the end."""
    return cascade.printable(text).replace("\n", "\u23ce").strip(" ") or (
        "\u2423" if text else "(end)"
    )


def _fact(step: DecodeStep) -> str:
    p_mark = "" if step.p_mark is None else f"{step.p_mark:.2f} "
    mark = step.mark or ""
    return f"{p_mark}{'' if mark == 'CONTENT' else mark.lower()}".strip()


def _next_best(step: DecodeStep, count: int, room: int) -> Text:
    """Return as many of the next best words as fit into ``room`` columns, but at least one."""
    text = Text()
    for word in step.words[:count]:
        shown = _word(word.text or " ")
        more = Text("  " if text else "").append(shown).append(f" {_probability(word.p)}", "dim")
        if text and text.cell_len + more.cell_len > room:
            break
        text.append_text(more)
    return text


def _call(
    step: DecodeStep,
    steps: Sequence[DecodeStep],
    palette: dict[str, str],
    console: Console,
    number: int,
) -> list[Any]:
    """Return the lines about one call: words before it, value, reason, candidates."""
    words_before = "".join(other.text for other in steps if other.start < step.start)[-30:]
    if (cut := words_before.find(" ")) >= 0 and len(words_before) == 30:
        words_before = words_before[cut + 1 :]
    first_line = Text(f"\u25b8 {number} ", "bold")
    first_line = (
        Text()
        .append_text(first_line)
        .append(f"\u2026{cascade.printable(words_before).strip()} ", "dim")
    )
    if step.answered:
        taken = next(offer for offer in step.offers if offer.taken)
        style = "reverse" if console.no_color else palette.get(step.speaker, "bold")
        first_line.append(cascade.printable(taken.text).strip(), style)
    else:
        first_line.append(_word(step.text), cascade.guess_style(not console.no_color))
    lines = [Text(cascade.printable(step.reason))]
    if step.seconds or step.cost:
        cost = f", cost {step.cost:g}" if step.cost else ""
        lines.append(Text(f"took {step.seconds * 1000:.1f} ms{cost}", "dim"))
    lines += [_offer(offer, console.width >= 60) for offer in step.offers[:SHOWN]]
    if len(step.offers) > SHOWN:
        lines.append(Text(f"and {len(step.offers) - SHOWN} more", "dim"))
    return [first_line, *map(indented, lines)]


def _offer(offer: Offer, wide: bool) -> Text:
    style = "" if offer.taken else "dim"
    text = Text().append("\u2713 " if offer.taken else "\u2717 ", style or "bold")
    text.append(cascade.printable(offer.text).strip(), style)
    text.append(f"  {cascade.printable(offer.kind)}" if offer.kind and wide else "", "dim")
    text.append("" if offer.score is None else f"  {offer.score:.1f}")
    return text.append(f"  {offer.why}", "dim")


def _explanation(steps: Sequence[DecodeStep]) -> str:
    """Return an explanation of the columns that are not self-explanatory."""
    by = next((step.by for step in steps if step.by), "")
    if not by and any(step.called for step in steps):
        return "\u25b8 a call. Margin: <CALL> minus the best word, in logits; no limit is compared."
    if not by:
        return "No call is ever made: there is no source, or the policy is never."
    what = {
        "margin": "limit: the model calls above this margin, which may change from step to step.",
        "top2": "limit: the model calls where the two best words differ by less (top2).",
    }.get(by, f"limit: the model calls where {by} is above it; shown as {by} > limit.")
    return f"\u25b8 a call. Margin: <CALL> minus the best word, in logits; {what}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}" if math.isfinite(value) else "-"


def _limit(step: DecodeStep) -> str:
    if step.limit is None:
        return ""
    if step.by == "margin":
        if math.isinf(step.limit):
            return "never" if step.limit > 0 else "always"
        return f"{step.limit:+.2f}"
    sign = "<" if step.by == "top2" else ">"
    return f"{step.value:.2f} {sign} {step.limit:.2f}"


def _probability(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2f}" if p >= 0.005 else "<.01"


def coloured_text(
    text: str, steps: Sequence[DecodeStep], palette: dict[str, str], console: Console
) -> Text:
    """Return the text in the colours of ``lacy generate``; a given text stays plain."""
    if steps and steps[0].speaker == "text":
        return Text(cascade.printable(text))
    shown = Text(cascade.printable(text[: steps[0].start] if steps else text), style="bold")
    line, tracker = Text().append_text(shown), cascade.GuessTracker()
    for step in steps:
        span = Span(step.text, step.speaker, asked=step.called)
        for part, guessed in tracker.split(span):
            style = cascade.style_of(span, palette, not console.no_color, guessed=guessed)
            line.append(cascade.printable(part), style)
    return line


def check_plot_name(file: Path | None) -> None:
    """Check the file name of a plot before anything is computed.

    Raises:
        LacyError: E113, it ends neither in .png nor in .svg.
    """
    if file is not None and file.suffix not in (".png", ".svg"):
        raise LacyError("E113", path=file)


def draw(file: Path, steps: Sequence[DecodeStep], title: str) -> None:
    """Draw margin and threshold along the text, and mark the calls.

    Raises:
        LacyError: E113, the file name ends neither in .png nor in .svg.
    """
    check_plot_name(file)
    from lacy.report import SERIES_COLOURS, figure_panels

    margin = any(step.by in ("", "margin") for step in steps)
    by = "margin" if margin else steps[0].by or next(step.by for step in steps if step.by)
    values = [_finite(step.margin if margin else step.value) for step in steps]
    limits = [_finite(step.limit) for step in steps]
    positions = list(range(len(steps)))
    description = f"{by} and threshold at each of {len(steps)} steps of: {title}"
    with figure_panels(file, 1, description, columns=1, height=4.2) as [axes]:
        axes.plot(positions, values, color=SERIES_COLOURS[0], marker="o", label=by)
        axes.step(
            positions,
            limits,
            where="mid",
            color=SERIES_COLOURS[6],
            linestyle="--",
            label="threshold",
        )
        for answered, colour, label in ((True, 2, "call, answered"), (False, 1, "call, no answer")):
            called_at = [
                n for n, step in enumerate(steps) if step.called and step.answered == answered
            ]
            if called_at:
                style = {"color": SERIES_COLOURS[colour], "markersize": 8, "label": label}
                axes.plot(called_at, [values[n] for n in called_at], "D", **style)
        axes.set_ylabel(f"{by} ({'logits' if by in ('margin', 'top2') else by})")
        size = 9 if len(steps) <= 40 else 6
        axes.set_xticks(positions, [_tick(step) for step in steps], rotation=90, fontsize=size)


def _finite(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


def _tick(step: DecodeStep) -> str:
    shown = cascade.printable(step.text).strip() or "\u23ce"
    return shown if len(shown) <= 18 else shown[:17] + "\u2026"
