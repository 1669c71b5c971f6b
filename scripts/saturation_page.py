"""Fill docs/results/saturation.md from benchmarks/results/saturation.json, and draw its figure.

python scripts/saturation_page.py
python scripts/saturation_page.py --check

The page keeps its prose. Between ``<!-- table: NAME -->`` and ``<!-- end -->`` stands a table that
is made from the file, so that no number of a table is ever typed.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.report import SaturationSeries, saturation_figure
from lacy.run import write_atomic

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results" / "saturation.md"
FIGURE = PAGE.with_suffix(".svg")
FILE = ROOT / "benchmarks" / "results" / "saturation.json"
MARKER = re.compile(r"(<!-- table: ([\w -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
GROUPS = ("all", "fact", "other", "delegated", "kept")
RELIEF = ("loss, other", "gradient kept, other", "gradient kept, own loss", "effective rank, share",
          "anisotropy, all")  # fmt: skip
"""Values whose differences between methods are shown."""


def number(value: float | None, percent: bool) -> str:
    """Return a number of a table."""
    if value is None:
        return "?"
    return f"{100 * value:.1f}%" if percent else f"{value:.3f}"


def interval(row: Mapping[str, Any], *, percent: bool = False, sign: bool = False) -> str:
    """Return a value with its interval."""
    text = number(row["value"], percent)
    text = f"+{text}" if sign and row["value"] > 0 else text
    if row["low"] is None:
        return text
    return f"{text} [{number(row['low'], percent)} to {number(row['high'], percent)}]"


def is_share(name: str) -> bool:
    """True if a value is shown in percent."""
    return "share" in name or name.startswith(("gradient kept", "call rate"))


def series_rows(data: Mapping[str, Any]) -> dict[tuple[int, int, str, str], Mapping[str, Any]]:
    """Return the rows of the summary by width, step, method and value."""
    return {(r["width"], r["step"], r["method"], r["measure"]): r for r in data["summary"]}


def last_step(data: Mapping[str, Any]) -> int:
    """Return the last step of the series."""
    return max(row["step"] for row in data["summary"])


def final(data: Mapping[str, Any]) -> str:
    """Return the values of both methods and their difference at the last step."""
    rows, step = series_rows(data), last_step(data)
    widths = sorted({row["width"] for row in data["summary"]})
    body = []
    for name in RELIEF:
        for width in widths:
            cells = [
                rows.get((width, step, method, name))
                for method in ("plain", "only-call", "only-call - plain")
            ]
            if all(cells):
                shown = [
                    interval(cell, percent=is_share(name), sign=n == 2)
                    for n, cell in enumerate(cells)
                    if cell
                ]
                body.append([name, str(width), *shown])
    return markdown(["", "width", "plain", "with delegation", "difference"], body)


def ranks(data: Mapping[str, Any]) -> str:
    """Return the rise of the loss by rank, of cut and trained heads, at the last step."""
    rows, step = series_rows(data), last_step(data)
    names = sorted({r["measure"] for r in data["summary"] if r["measure"].startswith("rise, ")})
    shares = sorted({name.split(", ")[2] for name in names}, key=float)
    body = []
    for width in sorted({row["width"] for row in data["summary"]}):
        for method in ("plain", "only-call"):
            for head in ("cut", "fitted", "trained", "trained on kept"):
                found = [
                    rows.get((width, step, method, f"rise, {head}, {share}, other"))
                    for share in shares
                ]
                cells = [f"{row['value']:+.3f}" if row else "" for row in found]
                body.append([str(width), method, head, *cells])
    columns = ["width", "method", "head", *(f"{float(s):.3g} of the width" for s in shares)]
    return markdown(columns, body)


def relief(data: Mapping[str, Any]) -> str:
    """Return what a head of low rank gains on other tokens if it serves no delegated ones."""
    rows, step = series_rows(data), last_step(data)
    names = {r["measure"] for r in data["summary"] if r["measure"].startswith("relief, ")}
    shares = sorted((name.split(", ")[1] for name in names), key=float)
    body = []
    for width in sorted({row["width"] for row in data["summary"]}):
        for method in ("plain", "only-call"):
            found = [rows.get((width, step, method, f"relief, {share}")) for share in shares]
            body.append([str(width), method, *(interval(r, sign=True) if r else "" for r in found)])
    columns = ["width", "model", *(f"{float(s):.3g} of the width" for s in shares)]
    return markdown(columns, body)


def training(data: Mapping[str, Any]) -> str:
    """Return how the measures change along training."""
    rows = series_rows(data)
    steps = sorted({row["step"] for row in data["summary"]})
    body = []
    for name in ("effective rank, share", "anisotropy, all", "gradient kept, all"):
        for width in sorted({row["width"] for row in data["summary"]}):
            for method in ("plain", "only-call"):
                found = [rows.get((width, step, method, name)) for step in steps]
                cells = [number(r["value"], is_share(name)) if r else "" for r in found]
                body.append([name, str(width), method, *cells])
    return markdown(["", "width", "method", *(f"step {step}" for step in steps)], body)


def models(data: Mapping[str, Any]) -> str:
    """Return the spectrum of each pretrained model's head."""
    body = []
    for name, one in data["models"].items():
        spectrum = one["spectrum"]
        cells = [
            f"{spectrum['hidden_size']}", f"{spectrum['effective_rank']:.0f}",
            f"{spectrum['singular_entropy']:.3f}", f"{spectrum['stable_rank']:.1f}",
            f"{spectrum['rank_90']}", f"{spectrum['rank_99']}",
        ]  # fmt: skip
        body.append([name, *cells])
    columns = ["model", "hidden size", "effective rank", "singular entropy, nats", "stable rank",
               "rank for 90%", "rank for 99%"]  # fmt: skip
    return markdown(columns, body)


def tokens(data: Mapping[str, Any]) -> str:
    """Return gradient and anisotropy of pretrained models by group of tokens."""
    body = []
    for name, one in data["models"].items():
        for group in GROUPS:
            if group not in one["tokens"]:
                continue
            text, call = (one["gradient"].get(kind, {}).get(group) for kind in ("text", "call"))
            states = one["anisotropy"]["last"].get(group)
            body.append(
                [
                    name, group, f"{one['tokens'][group]:,}", f"{text['loss']['value']:.2f}",
                    interval(text["kept"], percent=True),
                    interval(call["kept"], percent=True) if call else "",
                    interval(states) if states else "",
                ]
            )  # fmt: skip
    columns = ["model", "tokens", "number", "loss, nats", "gradient kept", "with calls as targets",
               "anisotropy"]  # fmt: skip
    return markdown(columns, body)


def model_ranks(data: Mapping[str, Any]) -> str:
    """Return the rise of the loss of pretrained models by rank of the head."""
    body = []
    for name, one in data["models"].items():
        for head in one["ranks"]["heads"]:
            cells = [
                interval(head["rise"][group], sign=True) if group in head["rise"] else ""
                for group in ("all", "fact", "other")
            ]
            body.append([name, head["head"], str(head["rank"]), *cells])
        for rank, score in one["ranks"]["relief"].items():
            body.append(
                [name, "relief by delegation", str(rank), "", "", interval(score, sign=True)]
            )
    return markdown(["model", "head", "rank", "all tokens", "fact tokens", "other tokens"], body)


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "final": final, "ranks": ranks, "relief": relief, "training": training, "models": models,
    "tokens": tokens, "model ranks": model_ranks,
}  # fmt: skip


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(data: Mapping[str, Any]) -> str:
    """Return the figure of the first seed."""
    drawn = [
        SaturationSeries(
            f"width {run['width']}, {'delegation' if run['method'] != 'plain' else 'plain'}",
            [step["step"] for step in run["steps"]],
            run["steps"],
        )
        for run in sorted(data["series"], key=lambda run: (run["width"], run["method"] != "plain"))
    ]
    buffer = io.StringIO()
    saturation_figure(buffer, drawn, tokens="other", head="trained on kept")
    return buffer.getvalue()


def filled(page: str, data: Mapping[str, Any]) -> str:
    """Return the page with its tables made from results."""
    return MARKER.sub(lambda m: f"{m[1]}\n{TABLES[m[2]](data)}\n{m[4]}", page)


def stored() -> Any:
    """Return the stored results."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    check = parser.parse_args().check
    data, page = stored(), PAGE.read_text(encoding="utf-8")
    new = filled(page, data)
    if check and new != page:
        print(f"{PAGE.name} differs from {FILE.name}", file=sys.stderr)
        return 1
    if not check:
        write_atomic(PAGE, new)
        write_atomic(FIGURE, figure(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
