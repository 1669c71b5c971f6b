"""Fill docs/results/scorecard.md from a scorecard.

python scripts/scorecard_page.py SCORECARD [--check]

What stands between ``<!-- scorecard -->`` or ``<!-- comparison -->`` and ``<!-- end -->`` is made
from the scorecard, so that no number in the tables is typed; the prose is kept.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lacy.report import comparison_rows, scorecard_markdown
from lacy.report.scorecard_page import markdown_table
from lacy.run import write_atomic
from lacy.scorecard import Scorecard, compare, read_scorecard

PAGE = Path(__file__).parents[1] / "docs" / "results" / "scorecard.md"


def main() -> int:
    """Write or check the page; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scorecard", type=Path)
    parser.add_argument("--check", action="store_true", help="only say if the page is up to date")
    args = parser.parse_args()
    card = read_scorecard(args.scorecard)
    old = PAGE.read_text(encoding="utf-8")
    new = filled(filled(old, "scorecard", scorecard_markdown(card)), "comparison", compared(card))
    if args.check:
        return int(new != old)
    write_atomic(PAGE, new)
    return 0


def filled(page: str, name: str, text: str) -> str:
    """Return the page with the text between the markers of that name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{PAGE} has no marker <!-- {name} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{text.rstrip()}\n\n{match[2]}", page)


def compared(card: Scorecard) -> str:
    """Return the tested differences between cascade and alone as one table."""
    found = compare(card, card, conditions=("alone", "cascade"))
    head = ["section", "metric", "alone", "cascade", "difference", "p, adjusted", "cascade is"]
    rows = [
        [section, *row]
        for section, rows in comparison_rows(found).items()
        for row in rows
        if row[-1] != "not tested"
    ]
    return markdown_table([head, *rows])


if __name__ == "__main__":
    sys.exit(main())
