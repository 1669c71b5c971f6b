"""Errors of scorecards and comparisons."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E250-E259: scorecards
    "E250": Entry(
        "cannot read the scorecard {path}: {why}",
        "write one: lacy evaluate MODEL --all --out FOLDER",
        DATA,
        "A scorecard is a folder with scorecard.json and a file for each section.",
    ),
    "E251": Entry(
        "{flag} {path} does not exist",
        "check the path",
        USAGE,
        "All files of a scorecard are checked before the first section is measured.",
    ),
    "E252": Entry(
        "nothing to compare: {why}",
        "compare two scorecards (lacy compare A B), or the conditions of one "
        "(lacy compare A --conditions alone cascade)",
        DATA,
        "Two scorecards are compared section by section, on the units that both measured.",
    ),
}
