"""Fills the tables and figures of results pages from the files of a study.

python scripts/results_pages.py docs/results/methods.md --study studies/methods

Between ``<!-- table: methods -->`` (or ``<!-- figure: frontier FILE.svg -->``) and ``<!-- end -->``
it writes what the study's files say; the page's own prose stays. All marks: ``lacy.study.pages``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lacy.errors import LacyError
from lacy.study.pages import write_page


def main() -> int:
    """Writes the pages in place, and says what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("pages", nargs="+", type=Path, help="Markdown pages with marks")
    parser.add_argument("--study", required=True, type=Path, help="folder of the study")
    parser.add_argument("--out", type=Path, help="write the page here (one page only)")
    given = parser.parse_args()
    if given.out and len(given.pages) > 1:
        parser.error("--out goes with one page")
    try:
        for page in given.pages:
            for file in write_page(page, given.study, given.out or page):
                print(file)
    except LacyError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
