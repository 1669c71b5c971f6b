"""Fill the tables of docs/results/tune.md from benchmarks/results/tune_row.csv.

python scripts/tune_page.py
python scripts/tune_page.py --check

The page keeps its prose. Between ``<!-- rows: PART -->`` and ``<!-- end -->`` stand the rows of one
part of the benchmark, so that no number of a table is ever typed.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from lacy.run import write_atomic

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results" / "tune.md"
FILE = ROOT / "benchmarks" / "results" / "tune_row.csv"
MARKER = re.compile(r"(<!-- rows: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SHARES = {"recall_0.09": "found at 9%", "recall_0.11": "at 11%", "recall_0.22": "at 22%"}
SETTINGS = {
    "articles": "articles", "penalty": "C", "weights": "weights of the tokens", "bias": "bias",
    "scaling": "scaling", "layer": "features", "mlp": "gate", "misses": "row", "kind": "kind",
}  # fmt: skip
"""Heading of the column of settings by part."""


def table(part: str, lines: list[dict[str, str]]) -> str:
    """Return the rows of a part as a Markdown table."""
    rows = [line for line in lines if line["part"] == part]
    if part == "kind":
        return pivot(rows, "setting", "signal", SETTINGS[part])
    if part == "articles":
        return pivot(rows, "setting", "signal", SETTINGS[part], detail=True)
    columns = [SETTINGS[part], *["signal"] * (part == "misses"), "AUROC"]
    shares = [name for name in SHARES if any(row.get(name) for row in rows)]
    columns += [SHARES[name] for name in shares]
    errors = any(row.get("ece") for row in rows)
    columns += ["calibration error"] * errors
    shown = []
    for row in rows:
        cells = [row["setting"] or "none", *[row["signal"]] * (part == "misses"), interval(row)]
        cells += [f"{float(row[name]):.1%}" for name in shares]
        cells += [f"{float(row['ece']):.3f}" if row["ece"] else ""] * errors
        shown.append(cells)
    return markdown(columns, shown)


def pivot(
    rows: list[dict[str, str]], down: str, across: str, heading: str, *, detail: bool = False
) -> str:
    """Return AUROCs with one column per signal."""
    names = list(dict.fromkeys(row[across] for row in rows))
    names.sort(key=lambda name: name == "entropy")
    shown = []
    for setting in dict.fromkeys(row[down] for row in rows):
        found = {row[across]: row for row in rows if row[down] == setting}
        cells = [interval(found[n]) if n in found else "" for n in names]
        shown.append(["none" if setting == "0" and detail else setting, *cells])
    return markdown([heading, *names], shown)


def interval(row: dict[str, str]) -> str:
    """Return an AUROC with its interval."""
    value, low, high = (float(row[name]) for name in ("auroc", "low", "high"))
    return f"{value:.3f} [{low:.3f}-{high:.3f}]"


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(page: str) -> str:
    """Return the page with its tables made from the file of results."""
    with open(FILE, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return MARKER.sub(lambda m: f"{m[1]}\n{table(m[2], lines)}\n{m[4]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page)
    if new == page:
        return 0
    if check:
        print(f"{PAGE.name} differs from {FILE.name}: python scripts/tune_page.py", file=sys.stderr)
        return 1
    write_atomic(PAGE, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
