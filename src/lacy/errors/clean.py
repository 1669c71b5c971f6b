"""Errors of cleaning texts."""

from __future__ import annotations

from lacy.errors.entry import DATA, Entry

ENTRIES = {
    # E400-E404: cleaning
    "E400": Entry(
        "there are only {count} {what}; a model of quality needs at least {fewest}",
        "give more of them, or leave --like out to remove near-duplicates only",
        DATA,
    ),
}
