"""Write tables and figures of ``docs/results/ranking.md`` from the results of ``ranking.py``.

The text between ``<!-- ranking: NAME key=value -->`` and ``<!-- end -->`` is made from the results
by ``TABLES`` or ``FIGURES``. The rest of the page stays.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lacy.report.svg import MUTED, SeriesStyle, figure_panels
from lacy.run import write_atomic

MARKER = re.compile(r"(<!-- ranking: (\w+)((?: \S+)*) -->\n).*?(?=<!-- end -->)", re.DOTALL)
COUNTS = ("2", "4", "8", "16", "32", "64")
ENDS = ("ratio", "low", "high")
RANKINGS = {
    "calibrated": "calibrated", "uncalibrated": "uncalibrated", "per_token": "likelihood per token",
    "likelihood": "likelihood alone", "frequent_kind": "most frequent kind", "chance": "chance",
}  # fmt: skip
METHODS = {"lacy": "", "plain": ", plain", "text_weight_0": ", text weight 0"}
SPLITS = {
    "valid": "known people, new wording", "fresh": "phrasings never trained on",
    "unseen": "people never trained on", "relations": "the judge's relations",
    "coarse": "four coarse kinds",
}  # fmt: skip
DISTRACTORS = {
    "other": "other kinds", "same": "the same kind", "mixed": "as documents bring them",
}  # fmt: skip


class Results:
    """The stored rows of ``ranking*.csv``."""

    def __init__(self, folder: Path) -> None:
        self.accuracy = _read(folder / "ranking.csv")
        self.abstain = _read(folder / "ranking_abstain.csv")
        self.models = _read(folder / "ranking_models.csv")
        self.speed = _read(folder / "ranking_speed.csv")

    def one(self, **where: str) -> dict[str, str] | None:
        """Return the row of ``ranking.csv`` with these values."""
        where = {"kind": "all"} | where
        return next(iter(chosen(self.accuracy, **where)), None)

    def trained(self, data: str) -> list[tuple[str, str]]:
        """Return sizes and methods, from small to large, with the other methods last."""
        found: dict[tuple[str, str], float] = {}
        for row in chosen(self.models, data=data):
            found.setdefault((row["size"], row["method"]), float(row["parameters"]))
        order = list(METHODS)
        return sorted(found, key=lambda name: (order.index(name[1]), found[name]))

    def name(self, data: str, size: str, method: str) -> str:
        """Return the name of a model in tables and legends."""
        row = chosen(self.models, data=data, size=size, method=method)[0]
        return f"{float(row['parameters']) / 1e6:.2g}M{METHODS[method]}"


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as file_:
        return list(csv.DictReader(file_))


def chosen(rows: Iterable[dict[str, str]], **where: str) -> list[dict[str, str]]:
    return [row for row in rows if all(row[k] == v for k, v in where.items())]


# ------------------------------------------------------------------------------------- tables


def models(found: Results) -> str:
    """Return the table of trained models, seeds pooled."""
    lines = [["texts", "model", "seeds", "parameters", "steps", "tokens", "loss on held-out texts",
              "of it: values", "other words"]]  # fmt: skip
    for data in ("world", "wiki"):
        for size, method in found.trained(data):
            rows = chosen(found.models, data=data, size=size, method=method)
            mean = {
                name: sum(float(row[name]) for row in rows) / len(rows)
                for name in ("valid_loss", "valid_fact_loss", "valid_other_loss")
            }
            first = rows[0]
            lines.append([
                data, f"{found.name(data, size, method)} (`{size}`)", str(len(rows)),
                f"{int(first['parameters']):,}", first["steps"], f"{int(first['tokens']):,}",
                *(f"{v:.2f}" for v in mean.values()),
            ])  # fmt: skip
    return table(lines, left=2)


def rankings(found: Results, data: str, split: str, distractors: str, k: str = "0") -> str:
    """Return the table of every model and ranking on one split."""
    lines = [["model", *RANKINGS.values(), "candidates", "places"]]
    for size, method in found.trained(data):
        where = {"data": data, "size": size, "method": method, "split": split,
                 "distractors": distractors, "k": k}  # fmt: skip
        rows = [found.one(**where, ranking=ranking) for ranking in RANKINGS]
        count = found.one(**where, ranking="candidates")
        if count is None:
            continue
        lines.append([found.name(data, size, method), *map(cell, rows),
                      f"{float(count['value']):.1f}", count["places"]])  # fmt: skip
    return table(lines)


def splits(found: Results, ranking: str = "calibrated") -> str:
    """Return the table over all of the subject's values, by split."""
    names = ("valid", "fresh", "unseen")
    lines = [["model", *(SPLITS[name] for name in names)]]
    for size, method in found.trained("world"):
        rows = [
            found.one(data="world", size=size, method=method, split=split, distractors="natural",
                      ranking=ranking) for split in names
        ]  # fmt: skip
        lines.append([found.name("world", size, method), *map(cell, rows)])
    return table(lines)


def counts(found: Results, data: str, split: str, distractors: str, ranking: str) -> str:
    """Return the table by number of candidates."""
    lines = [["model", *(f"K = {k}" for k in COUNTS)]]
    where = {"data": data, "split": split, "distractors": distractors}
    for size, method in found.trained(data):
        rows = [found.one(**where, size=size, method=method, k=k, ranking=ranking) for k in COUNTS]
        lines.append([found.name(data, size, method), *map(cell, rows)])
    size, method = found.trained(data)[0]
    for name, label in (("kind_known", "*kind known, value not*"), ("chance", "*chance*")):
        rows = [found.one(**where, size=size, method=method, k=k, ranking=name) for k in COUNTS]
        lines.append([label, *map(cell, rows)])
    return table(lines)


def kinds(
    found: Results, data: str, split: str, ranking: str = "calibrated", least: str = "1"
) -> str:
    """Return the table by kind of the value, for kinds with at least ``least`` places."""
    where = {"data": data, "split": split, "ranking": ranking, "distractors": "natural"}
    sizes = [name for name in found.trained(data) if name[1] == "lacy"]
    rows = [
        row for row in chosen(found.accuracy, **where, size=sizes[0][0], method="lacy")
        if row["kind"] != "all" and int(row["places"]) >= int(least)
    ]  # fmt: skip
    lines = [["kind", "places", *(found.name(data, *name) for name in sizes)]]
    for row in sorted(rows, key=lambda row: -int(row["places"])):
        cells = [
            found.one(**where, size=size, method=method, kind=row["kind"], k="0")
            for size, method in sizes
        ]
        lines.append([row["kind"].replace("_", " "), row["places"], *map(cell, cells)])
    return table(lines)


def abstain(found: Results, data: str, split: str) -> str:
    """Return the table at the limit of the cascade and at 95% coverage."""
    lines = [["model", "score", "something is taken", "of it right", "right, without a limit",
              "taken though the right value is missing", "95% taken: right",
              "taken though missing"]]  # fmt: skip
    for size, method in found.trained(data):
        for ranking in ("calibrated", "uncalibrated"):
            where = {
                "data": data,
                "size": size,
                "method": method,
                "split": split,
                "ranking": ranking,
            }
            curve = chosen(found.abstain, **where)
            if not curve:
                continue
            here = next(row for row in curve if float(row["limit"]) == 0.0)
            least = min(curve, key=lambda row: float(row["limit"]))
            most = min(curve, key=lambda row: abs(float(row["coverage"]) - 0.95))
            lines.append([
                found.name(data, size, method), ranking,
                part(here, "coverage"), part(here, "precision"),
                part(least, "precision") if float(least["coverage"]) > 0.999 else "–",
                part(here, "absent"), part(most, "precision"), part(most, "absent"),
            ])  # fmt: skip
    return table(lines, left=2)


def speed(found: Results, counts: str = ",".join(COUNTS)) -> str:
    """Return the table of milliseconds per call, with ratios to ``trees``."""
    lines = [["model", "tokens before", "K", "tree", "rows", "naive", "rows / tree",
              "naive / tree"]]  # fmt: skip
    for row in found.speed:
        if row["k"] not in counts.split(","):
            continue
        ratios = (
            "{:.1f} [{:.1f}-{:.1f}]".format(*(float(row[f"{n}_{end}"]) for end in ENDS))
            for n in ("rows", "naive")
        )
        ms = (f"{float(row[f'{n}_ms']):.1f}" for n in ("trees", "rows", "naive"))
        lines.append(
            [found.name("world", row["size"], "lacy"), row["length"], row["k"], *ms, *ratios]
        )
    return table(lines)


def memory(found: Results) -> str:
    """Return a sentence about memory."""
    parts = [
        f"{found.name('world', row['size'], 'lacy')}: tree {row['trees_mib']}, rows"
        f" {row['rows_mib']}, naive {row['naive_mib']}"
        for row in found.speed if row.get("trees_mib")
    ]  # fmt: skip
    last = found.speed[-1]
    return (
        f"Memory, MiB by which the peak of a process rises in one call (K = {last['k']},"
        f" {last['length']} tokens before): {'; '.join(parts) or 'not measured'}."
    )


def cell(row: dict[str, str] | None) -> str:
    if row is None or not row["value"]:
        return "–"
    value = f"{100 * float(row['value']):.0f}%"
    if row["ranking"] not in ("calibrated", "uncalibrated", "likelihood", "per_token"):
        return value  # an expectation has no interval
    return f"{value} [{100 * float(row['low']):.0f}-{100 * float(row['high']):.0f}]"


def part(row: dict[str, str], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value in ("", "nan"):
        return "–"
    span = f" [{100 * float(low):.0f}-{100 * float(high):.0f}]" if low not in ("", "nan") else ""
    return f"{100 * float(value):.0f}%{span}"


def table(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    head, *rest = lines
    rule = [*["---"] * left, *["---:"] * (len(head) - left)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rest))


# ------------------------------------------------------------------------------------ figures


def by_count(found: Results, file: Path, data: str, split: str) -> str:
    """Draw accuracy against K, with a panel per kind of distractors."""
    caption = (
        f"Share of right choices against the number of candidates, {SPLITS[split]}: a panel per"
        " kind of distractors, a line per model; dashed without calibration."
    )
    sizes = [name for name in found.trained(data) if name[1] == "lacy"]
    with figure_panels(file, len(DISTRACTORS), caption, columns=3, height=4.2) as panels:
        for axes, (distractors, title) in zip(panels, DISTRACTORS.items(), strict=True):
            where = {"data": data, "split": split, "distractors": distractors}
            for number, (size, method) in enumerate(sizes):
                for variant, ranking in enumerate(("calibrated", "uncalibrated")):
                    rows = [
                        found.one(**where, size=size, method=method, k=k, ranking=ranking)
                        for k in COUNTS
                    ]
                    style = SeriesStyle(number, variant)
                    line(axes, rows, style, found.name(data, size, method) if not variant else None)
            for ranking, name in (("kind_known", "kind known"), ("chance", "chance")):
                rows = [
                    found.one(**where, size=sizes[0][0], method="lacy", k=k, ranking=ranking)
                    for k in COUNTS
                ]
                line(axes, rows, SeriesStyle(7, 2 if ranking == "chance" else 1), name, MUTED)
            axes.set_xscale("log", base=2)
            axes.set_xticks([int(k) for k in COUNTS], COUNTS)
            axes.set_ylim(-0.02, 1.02)
            axes.set_title(title)
            axes.set_xlabel("candidates")
        panels[0].set_ylabel("right")
    return caption


def line(
    axes: object, rows: Sequence, style: SeriesStyle, label: str | None, colour: str = ""
) -> None:
    """Draw one line, with its interval as a band if it has one."""
    points = [(int(row["k"]), float(row["value"])) for row in rows if row]
    if not points:
        return
    blind = bool(colour)
    axes.plot(*zip(*points, strict=True), color=colour or style.colour, linestyle=style.dash,
              marker="" if blind else style.marker, label=label, linewidth=1.2 if blind else 1.6,
              markersize=4)  # fmt: skip
    if style.variant == 0 and not blind:
        low, high = ([float(row[end]) for row in rows if row] for end in ("low", "high"))
        axes.fill_between([x for x, _ in points], low, high, color=style.colour, alpha=0.12, lw=0)


def by_limit(found: Results, file: Path, data: str, split: str) -> str:
    """Draw precision against coverage."""
    caption = (
        f"Share of right choices among those taken against the share taken, as the limit rises,"
        f" {SPLITS[split]}; dashed without calibration. Stars: the limit of the cascade."
    )
    sizes = [name for name in found.trained(data) if name[1] == "lacy"]
    with figure_panels(file, 1, caption) as (axes,):
        for number, (size, method) in enumerate(sizes):
            for variant, ranking in enumerate(("calibrated", "uncalibrated")):
                where = {
                    "data": data,
                    "size": size,
                    "method": method,
                    "split": split,
                    "ranking": ranking,
                }
                rows = [
                    r for r in chosen(found.abstain, **where) if r["precision"] not in ("", "nan")
                ]
                style = SeriesStyle(number, variant)
                points = sorted((float(r["coverage"]), float(r["precision"])) for r in rows)
                label = None if variant else found.name(data, size, method)
                axes.plot(*zip(*points, strict=True), color=style.colour, linestyle=style.dash,
                          label=label)  # fmt: skip
                here = [r for r in rows if float(r["limit"]) == 0.0]
                for row in here:
                    axes.plot(float(row["coverage"]), float(row["precision"]), marker="*",
                              color=style.colour, markersize=11, linestyle="")  # fmt: skip
        axes.set_xlabel("share of places at which something is taken")
        axes.set_ylabel("of it right")
        axes.set_ylim(top=1.01)
    return caption


TABLES: dict[str, Callable[..., str]] = {
    "models": models, "rankings": rankings, "splits": splits, "counts": counts, "kinds": kinds,
    "abstain": abstain, "speed": speed, "memory": memory,
}  # fmt: skip
FIGURES: dict[str, Callable[..., str]] = {"by_count": by_count, "by_limit": by_limit}


def write(page: Path, folder: Path, out: Path | None = None) -> list[Path]:
    """Fill the marked places of a page; a second time changes nothing.

    Args:
        page: Markdown with markers.
        folder: with the results.
        out: path of the written page (itself by default); figures are written to the same folder.
    """
    found, out, written = Results(folder), out or page, []

    def content(match: re.Match[str]) -> str:
        name, words = match[2], match[3].split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        if not found.trained(options.get("data", "world")):
            return f"{match[1]}\n*Not measured.*\n\n"
        if name in TABLES:
            return f"{match[1]}\n{TABLES[name](found, **options)}\n\n"
        (file,) = (word for word in words if "=" not in word)
        caption = FIGURES[name](found, out.parent / file, **options)
        written.append(out.parent / file)
        return f"{match[1]}\n![{caption}]({file})\n\n"

    write_atomic(out, MARKER.sub(content, page.read_text(encoding="utf-8")))
    return [*written, out]
