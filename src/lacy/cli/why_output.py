"""How the steps of a text are shown: a table, the calls one by one, a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lacy.cascade import GuessTracker, guess_style, style_of, visible
from lacy.errors import LacyError
from lacy.types import Span

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep, Offer

SHOWN = 5
"""Offers that are listed of each call; the others are counted."""

NO_MARKS = "Marks are left out: they need spaCy (pip install 'lacy[spacy]')."


def with_marks(steps: Sequence[DecodeStep], text: str) -> tuple[list[DecodeStep], str]:
    """Steps with what the bundled annotator says of their words, and a note where it cannot."""
    from lacy.annotate import SpacyAnnotator

    try:
        annotator = SpacyAnnotator("bundled", announce=lambda sentence: None)
    except LacyError:
        return list(steps), NO_MARKS
    [marks] = annotator.annotate([text])
    [(doc, scores_TL)] = list(annotator.parse([text]))
    sure = [] if scores_TL is None else (1 - scores_TL[:, -1]).tolist()
    words = [(token.idx, token.idx + len(token)) for token in doc]
    return [_marked(step, marks, words, sure) for step in steps], ""


def _marked(
    step: DecodeStep, marks: Sequence[Any], words: Sequence[tuple[int, int]], sure: Sequence[float]
) -> DecodeStep:
    """A step with the mark that holds one of its characters, its outer spaces left aside."""
    start = step.start + len(step.text) - len(step.text.lstrip())
    end = step.start + len(step.text.rstrip())
    found = [mark for mark in marks if mark.start < end and start < mark.end]
    chances = [
        p
        for (first, last), p in zip(words, sure, strict=bool(sure))
        if first < end and start < last
    ]
    reason = found[0].reason if found else None
    return replace(step, mark=reason, p_mark=max(chances, default=None))


def show(
    console: Console,
    steps: Sequence[DecodeStep],
    palette: dict[str, str],
    *,
    notes: Sequence[str] = (),
    words: int = 3,
) -> None:
    """Prints steps as a table with as many columns as fit, then each call by itself."""
    for step in steps:
        if step.speaker not in ("slm", "text"):
            style_of(Span("", step.speaker), palette)
    console.print(_table(steps, palette, console, words))
    if any(step.called for step in steps):
        console.print()
    show_calls(console, steps, palette)
    for note in [*_key(steps, console), *notes]:
        console.print(Text(note, style="dim"))


def show_calls(
    console: Console,
    steps: Sequence[DecodeStep],
    palette: dict[str, str],
    only: int | None = None,
) -> None:
    """Prints each call: the words before it, the values offered, the value taken, and why.

    Args:
        console: where to print.
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
    """One row per step; narrow terminals get fewer columns."""
    width = console.width
    columns = [("said", "left"), ("margin", "right"), ("limit", "right")]
    marked = any(step.mark or step.p_mark is not None for step in steps)
    along = any(step.p_text is not None for step in steps)
    columns += [("p(CALL)", "right")] * (width >= 56) + [("p(it)", "right")] * (
        along and width >= 64
    )
    columns += [("entropy", "right")] * (width >= 90) + [("fact", "left")] * (
        marked and width >= 72
    )
    columns += [("next best", "left")] * (width >= 48)
    rows = []
    for step in steps:
        rows.append({
            "said": _said(step, palette, console, 24 if width >= 72 else 14),
            "margin": Text(_number(step.margin), "bold" if step.called else ""),
            "limit": Text(_limit(step)),
            "p(CALL)": Text(_share(step.p_call)),
            "p(it)": Text(_share(step.p_text)),
            "entropy": Text(f"{step.entropy:.2f}"),
            "fact": Text(_fact(step), "" if step.mark else "dim"),
        })  # fmt: skip
    room = width
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for name, justify in columns:
        widest = [cell_len(name), *(row[name].cell_len for row in rows if name in row)]
        room -= max(widest) + 2
        least = None if name == "next best" else max(widest)
        table.add_column(name, justify=justify, no_wrap=True, min_width=least)  # type: ignore[arg-type]
    for step, row in zip(steps, rows, strict=True):
        row["next best"] = _best(step, words, room + cell_len("next best") + 2)
        table.add_row(*(row[name] for name, _ in columns))
    return table


def _said(step: DecodeStep, palette: dict[str, str], console: Console, most: int) -> Text:
    """Who said what: the words in their colour; a call is pointed at."""
    style = ""
    if step.speaker in palette:
        style = "reverse" if console.no_color else palette[step.speaker]
    elif step.called:
        style = guess_style(not console.no_color)
    text = Text("\u25b8 " if step.called else "  ").append(_word(step.text), style)
    text.truncate(most, overflow="ellipsis")
    return text


def _word(text: str) -> str:
    """A word without the spaces around it; a space or a line's end as a sign, "" as the end."""
    return visible(text).replace("\n", "\u23ce").strip(" ") or ("\u2423" if text else "(end)")


def _fact(step: DecodeStep) -> str:
    sure = "" if step.p_mark is None else f"{step.p_mark:.2f} "
    mark = step.mark or ""
    return f"{sure}{'' if mark == 'CONTENT' else mark.lower()}".strip()


def _best(step: DecodeStep, most: int, room: int) -> Text:
    """As many of the next best words as fit into ``room``, at least one."""
    text = Text()
    for word in step.words[:most]:
        shown = _word(word.text or " ")
        more = Text("  " if text else "").append(shown).append(f" {_share(word.p)}", "dim")
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
    """One call: after which words, what was offered, what was taken and why the rest was not."""
    before = "".join(other.text for other in steps if other.start < step.start)[-30:]
    if (cut := before.find(" ")) >= 0 and len(before) == 30:
        before = before[cut + 1 :]
    asked = (
        Text()
        .append(f"\u25b8 {number} ", "bold")
        .append(f"\u2026{visible(before).strip()} ", "dim")
    )
    if step.answered:
        taken = next(offer for offer in step.offers if offer.taken)
        style = "reverse" if console.no_color else palette.get(step.speaker, "bold")
        asked.append(visible(taken.text).strip(), style)
    else:
        asked.append(_word(step.text), guess_style(not console.no_color))
    found: list[Any] = [asked, Padding(Text(visible(step.reason)), (0, 0, 0, 4), expand=False)]
    if step.seconds or step.cost:
        took = f"took {step.seconds * 1000:.1f} ms" + (f", cost {step.cost:g}" if step.cost else "")
        found.append(Padding(Text(took, "dim"), (0, 0, 0, 4), expand=False))
    found += [
        Padding(_offer(offer, console.width >= 60), (0, 0, 0, 4), expand=False)
        for offer in step.offers[:SHOWN]
    ]
    if len(step.offers) > SHOWN:
        found.append(
            Padding(Text(f"and {len(step.offers) - SHOWN} more", "dim"), (0, 0, 0, 4), expand=False)
        )
    return found


def _offer(offer: Offer, wide: bool) -> Text:
    style = "" if offer.taken else "dim"
    text = Text().append("\u2713 " if offer.taken else "\u2717 ", style or "bold")
    text.append(visible(offer.text).strip(), style)
    text.append(f"  {visible(offer.kind)}" if offer.kind and wide else "", "dim")
    text.append("" if offer.score is None else f"  {offer.score:.1f}")
    return text.append(f"  {offer.why}", "dim")


def _key(steps: Sequence[DecodeStep], console: Console) -> list[str]:
    """What the columns mean, where they do not speak for themselves."""
    by = next((step.by for step in steps if step.by), "")
    if not by:
        return ["", "No call is ever made: there is no source, or the policy is never."]
    what = {
        "margin": "limit: the margin above which a call is made, as it stood at that step.",
        "top2": "limit: a call is made where the two best words are less apart than this (top2).",
    }.get(by, f"limit: a call is made where {by} is above it; shown as {by} > limit.")
    shown = "\u25b8 a call. Margin: <CALL> before the best word, in logits; "
    return ["", shown + what]


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


def _share(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2f}" if p >= 0.005 else "<.01"


def opening(
    text: str, steps: Sequence[DecodeStep], palette: dict[str, str], console: Console
) -> Text:
    """The whole text, each word as ``lacy generate`` shows it; a text that was given is plain."""
    if steps and steps[0].speaker == "text":
        return Text(visible(text))
    shown = Text(visible(text[: steps[0].start] if steps else text), style="bold")
    line, follow = Text().append_text(shown), GuessTracker()
    for step in steps:
        span = Span(step.text, step.speaker, asked=step.called)
        for part, guessed in follow.split(span):
            style = style_of(span, palette, not console.no_color, guessed=guessed)
            line.append(visible(part), style)
    return line


def check_picture(file: Path | None) -> None:
    """Looks at the name before anything is computed.

    Raises:
        LacyError: E113, it is neither PNG nor SVG.
    """
    if file is not None and file.suffix not in (".png", ".svg"):
        raise LacyError("E113", path=file)


def draw(file: Path, steps: Sequence[DecodeStep], title: str) -> None:
    """Draws margin and threshold along the text, the calls marked.

    Raises:
        LacyError: E11, matplotlib is not installed; E113, a name that is neither PNG nor SVG.
    """
    check_picture(file)
    from lacy.study import COLOURS as INKS
    from lacy.study import sheet

    margin = any(step.by in ("", "margin") for step in steps)
    by = "margin" if margin else steps[0].by or next(step.by for step in steps if step.by)
    ys = [_drawn(step.margin if margin else step.value) for step in steps]
    limits = [_drawn(step.limit) for step in steps]
    at = list(range(len(steps)))
    about = f"{by} and threshold at each of {len(steps)} steps of: {title}"
    with sheet(file, 1, about, columns=1, height=4.2) as [axes]:
        axes.plot(at, ys, color=INKS[0], marker="o", label=by)
        axes.step(at, limits, where="mid", color=INKS[6], linestyle="--", label="threshold")
        for answered, colour, name in ((True, INKS[2], "answered"), (False, INKS[1], "no answer")):
            places = [
                n for n, step in enumerate(steps) if step.called and step.answered == answered
            ]
            if places:
                axes.plot(
                    places, [ys[n] for n in places], "D", color=colour, markersize=8,
                    label=f"call, {name}",
                )  # fmt: skip
        axes.set_ylabel(f"{by} ({'logits' if by in ('margin', 'top2') else by})")
        size = 9 if len(steps) <= 40 else 6
        axes.set_xticks(at, [_tick(step) for step in steps], rotation=90, fontsize=size)


def _drawn(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


def _tick(step: DecodeStep) -> str:
    shown = visible(step.text).strip() or "\u23ce"
    return shown if len(shown) <= 18 else shown[:17] + "\u2026"
