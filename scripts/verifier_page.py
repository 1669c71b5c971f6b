"""Fill the tables of docs/results/verifier.md from benchmarks/results/verifier.json.

python scripts/verifier_page.py
python scripts/verifier_page.py --check

The page keeps its prose. Between ``<!-- rows: PART -->`` and ``<!-- end -->`` stand the rows of one
part of the benchmark, so that no number of a table is ever typed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lacy.run import write_atomic

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results" / "verifier.md"
FILE = ROOT / "benchmarks" / "results" / "verifier.json"
MARKER = re.compile(r"(<!-- rows: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n"


def interval(score: dict[str, float], sign: str = "") -> str:
    """Return a value with its interval."""
    return f"{score['value']:{sign}.3f} [{score['low']:{sign}.3f}, {score['high']:{sign}.3f}]"


def agreement(data: dict[str, Any]) -> str:
    """Return a row per judge and model."""
    columns = ["judge", "facts of", "AUROC", "more than overlap", "Pearson", "gap", "accuracy"]
    rows = []
    for judge, models in data["judges"].items():
        for one in models:
            more = dict(zip(("value", "low", "high"), one["better_than_overlap"], strict=True))
            rows.append([
                judge, one["model"], interval(one["auroc"]),
                "" if judge == "overlap" else interval(more, "+"),
                *["", ""] * (judge == "network"),
                *[interval(one["pearson"]), interval(one["gap"], "+")] * (judge != "network"),
                "" if judge == "network" else interval(one["accuracy"]),
            ])  # fmt: skip
    return markdown(columns, rows)


def speed(data: dict[str, Any]) -> str:
    """Return a row per judge."""
    rows = [
        [judge, f"{one['cold_facts_per_second']:,.0f}", f"{one['warm_facts_per_second']:,.0f}"]
        for judge, one in data["speed"].items()
        if judge != "bytes"
    ]
    return markdown(["judge", "facts per second, first time", "again"], rows)


def worst(data: dict[str, Any]) -> str:
    """Return the facts on which the verifier was surest and wrong."""
    rows = []
    for fact in data["worst"]:
        score = next(value for key, value in fact.items() if isinstance(value, float))
        people = "supported" if fact["supported"] else "not supported"
        rows.append([fact["topic"], fact["text"], people, f"{score:.2f}"])
    return markdown(["topic", "fact", "people", "score"], rows)


PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "agreement": agreement, "speed": speed, "worst": worst,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    args = parser.parse_args()
    data = json.loads(FILE.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    filled = MARKER.sub(lambda m: m[1] + PARTS[m[2]](data) + m[4], text)
    if args.check:
        return int(filled != text)
    write_atomic(PAGE, filled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
