"""The page of a benchmark of routers: one table per split, quality against cost, by source."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    TableRow,
    format_figure,
    format_score,
    write_html,
)
from lacy.report.svg import MUTED, Output, SeriesStyle, figure_panels, inline
from lacy.results import CONFIDENCE, Score
from lacy.route import BASELINES, SHARES, BenchRow, RouteBench, SplitName, hull

SHOWN_SOURCES = 24
"""Sources that a plot shows; with more of them, only the table lists all."""


def bench_columns(done: RouteBench) -> tuple[str, ...]:
    """Return the headers of the table of a benchmark, after head and split."""
    times = ("fit, s", "ms")
    if done.kind == "classes":
        return ("accuracy", "macro F1", "ECE", "p", *times)
    if len(done.routes) == 2:
        return ("APGR", "CPT(50%)", "CPT(80%)", "APGR over length", *times)
    return ("quality", "at cost", "AIQ", "over best single", *times)


def bench_cells(row: BenchRow) -> tuple[str, ...]:
    """Return the cells of a row, in the order of ``bench_columns``."""
    times = (_number(row.fit_seconds, ".1f"), _number(row.milliseconds, ".1f"))
    if row.classes is not None:
        one = row.classes
        return (format_score(one.accuracy), _number(one.macro_f1, ".3f"), _number(one.ece, ".3f"),
                _number(row.p_value, ".2g"), *times)  # fmt: skip
    if row.pair is not None:
        pair = row.pair
        return (_plain(pair.apgr), format_score(pair.cpt50), format_score(pair.cpt80),
                _plain(row.over_length), *times)  # fmt: skip
    assert row.models is not None
    models = row.models
    more = models.gain_over_best
    gain = Score(100 * more.value, 100 * more.low, 100 * more.high, more.n, "points")
    return (format_score(models.quality), format_figure(models.cost, "cost"),
            _number(models.aiq, ".3f"), format_score(gain), *times)  # fmt: skip


def bench_notes(done: RouteBench, split: SplitName) -> list[str]:
    """Return sentences about the single models of a split, without which its figures say little."""
    row = done.of(split)[0]
    if row.pair is not None:
        pair, weaker = row.pair, next(one for one in done.routes if one != row.stronger)
        if pair.weak == pair.strong:
            return [f"Both models have a mean score of {format_figure(pair.weak)}: there is no gap "
                    "to recover, so APGR and CPT are undefined."]  # fmt: skip
        return [f"Mean scores: {row.stronger} {format_figure(pair.strong)}, "
                f"{weaker} {format_figure(pair.weak)}, the better one for each text "
                f"{format_figure(pair.oracle)}."]  # fmt: skip
    if row.models is None:
        return []
    models = row.models
    best, cheapest = models.best, min(models.costs, key=models.costs.__getitem__)
    quality = {name: format_figure(score.value) for name, score in models.single.items()}
    if not any(models.costs.values()):
        return [f"Best single model: {best} {quality[best]}. No costs are known (--cost "
                "NAME=NUMBER), so AIQ is the quality."]  # fmt: skip
    cost = {name: format_figure(one, "cost") for name, one in models.costs.items()}
    return [f"Single models: best {best}, {quality[best]} at cost {cost[best]}; cheapest "
            f"{cheapest}, {quality[cheapest]} at cost {cost[cheapest]}."]  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def _plain(score: Score | None) -> str:
    """Format a score that is no percentage, with three digits."""
    if score is None or not math.isfinite(score.value):
        return "–"
    text = f"{score.value:.3f}"
    return f"{text} [{score.low:.3f}, {score.high:.3f}]" if math.isfinite(score.low) else text


def write_route_page(path: str | Path, done: RouteBench) -> None:
    """Write one HTML file with the figures of a benchmark of routers.

    Args:
        path: the file.
        done: what ``bench_heads`` or ``bench_router`` measured.
    """
    splits = list(dict.fromkeys(row.split for row in done.rows))
    first = done.of(splits[0])
    drawing = io.StringIO()
    caption = route_figure(drawing, done)
    tables = [
        PageTable(split.capitalize(), bench_columns(done),
                  [TableRow(row.head, bench_cells(row), strong=row is rows[0]) for row in rows],
                  " ".join([_note(split), *bench_notes(done, split)]))
        for split in splits for rows in [done.of(split)]
    ]  # fmt: skip
    sources = list(done.cases)
    heads = [row for row in first if row.head not in BASELINES]
    tables.append(PageTable(
        "By source", tuple(row.head for row in heads),
        [TableRow(name, tuple(row.by_source.get(name) for row in heads)) for name in sources],
        _by_source_note(done), folded=len(sources) > SHOWN_SOURCES,
    ))  # fmt: skip
    tables += list(_details(first[0]))
    best = first[0]
    page = HtmlPage(
        title=f"Routers of {', '.join(done.routes)}",
        lede=_lede(done),
        headlines=[Headline(f"{best.head}, {best.split}", best.main)]
        if best.main.unit == "share" else [],
        tables=tables,
        figures=[PageFigure(_title(done), inline(drawing.getvalue(), "r"), caption)],
        setup={
            "cases": ", ".join(f"{name} {count:,}" for name, count in done.cases.items()),
            **{name: str(value) for name, value in done.settings.items()},
            **{k: str(v) for k, v in done.environment.items() if k != "packages" and v},
        },
        notes=[f"Intervals are {CONFIDENCE:.0%}: Wilson's for accuracy, a bootstrap over texts "
               "otherwise. p compares with the best head (McNemar's exact test). Random, constant "
               "(the training means: the majority class, the best single model) and oracle read no "
               "text."],
        next=[NextStep("lacy route fit DATA --head HEAD --out router", "fit the router to use")],
    )  # fmt: skip
    write_html(path, page)


def _note(split: str) -> str:
    if split == "other sources":
        return ("Each text was scored by a router that saw no text of its source: what to expect "
                "of new traffic.")  # fmt: skip
    return ("Each text was scored by a router that saw other texts of its source: what to expect "
            "of traffic like the training data, and no more.")  # fmt: skip


def _by_source_note(done: RouteBench) -> str:
    shown = "Accuracy" if done.kind == "classes" else "Mean quality of the chosen models"
    if done.kind == "outcomes" and len(done.routes) == 2:
        shown = "Mean quality where half of all texts go to the stronger model"
    return f"{shown}; {done.rows[0].split}."


def _title(done: RouteBench) -> str:
    return "Accuracy by source" if done.kind == "classes" else "Quality against cost"


def _lede(done: RouteBench) -> str:
    parts = []
    for split in dict.fromkeys(row.split for row in done.rows):
        best = done.of(split)[0]
        kind = {"classes": "accuracy", "outcomes": "quality"}[done.kind]
        if best.pair is not None:
            parts.append(f"{split}: {best.head} has an APGR of {_plain(best.pair.apgr)}")
        else:
            parts.append(f"{split}: {best.head} has {kind} {format_score(best.main)}")
    return "Best head on " + "; ".join(parts) + "."


def _details(row: BenchRow) -> Iterator[PageTable]:
    """Yield tables about the best head."""
    if row.classes is not None:
        yield PageTable(
            f"Classes, {row.head}", ("recall", "precision", "F1"),
            [TableRow(one.route, (one.recall, one.precision, _number(one.f1, ".3f")))
             for one in row.classes.routes],
        )  # fmt: skip
        names = list(row.classes.confusion)
        yield PageTable(
            f"Confusion, {row.head}", tuple(names),
            [TableRow(name, tuple(str(row.classes.confusion[name][other]) for other in names))
             for name in names],
            "Rows are true routes, columns chosen ones.", folded=True,
        )  # fmt: skip
    if row.models is not None:
        yield PageTable(
            "Single models", ("quality", "cost"),
            [TableRow(name, (score, format_figure(row.models.costs[name], "cost")))
             for name, score in row.models.single.items()],
        )  # fmt: skip


def route_figure(file: Output, done: RouteBench) -> str:
    """Draw accuracy by source (classes), or quality against cost (outcomes).

    Args:
        file: the ``.svg`` file to write.
        done: the benchmark.

    Returns:
        The alternative text.
    """
    rows = [row for row in done.of(done.rows[0].split) if row.head != "constant"]
    if done.kind == "classes":
        return _by_source_figure(file, [row for row in rows if row.head not in BASELINES])
    description = "Mean quality of the chosen models against the cost of asking them."
    with figure_panels(file, 1, description) as [axes]:
        for number, row in enumerate(rows):
            style = SeriesStyle(number)
            if row.pair is not None:
                x = [100 * share for share in SHARES]
                axes.plot(x, [100 * one for one in row.curve], color=style.colour, label=row.head,
                          linestyle=style.dash)  # fmt: skip
            elif row.models is not None and row.head != "random":
                costs, quality = zip(*hull(row.models.curve), strict=True)
                axes.plot(costs, [100 * q for q in quality], marker=style.marker, markersize=3,
                          color=style.colour, label=row.head)  # fmt: skip
        if rows[0].models is not None:
            single = rows[0].models
            axes.plot(list(single.costs.values()),
                      [100 * one.value for one in single.single.values()],
                      linestyle="", marker="x", color=MUTED, label="single models")  # fmt: skip
        pair = rows[0].pair is not None
        axes.set(
            xlabel="asked of the stronger model, %" if pair else "mean cost", ylabel="quality, %"
        )
    return description


def _by_source_figure(file: Output, rows: Sequence[BenchRow]) -> str:
    """Draw a point per head and source."""
    description = "Accuracy by source; each point is a head."
    names = sorted(rows[0].by_source, key=lambda name: rows[0].by_source[name].value)
    names = names[:SHOWN_SOURCES]
    with figure_panels(file, 1, description, height=1.2 + 0.24 * len(names)) as [axes]:
        for number, row in enumerate(rows):
            style = SeriesStyle(number)
            shares = [100 * row.by_source[name].value for name in names]
            axes.plot(shares, range(len(names)), marker=style.marker, color=style.colour,
                      linestyle="", label=row.head)  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="accuracy, %", xlim=(-3, 103))
    return description
