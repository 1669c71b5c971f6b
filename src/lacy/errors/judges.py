"""Errors of judges and of the files with people's labels."""

from __future__ import annotations

from lacy.errors.entry import USAGE, Entry

ENTRIES = {
    # E216-E223: judges
    "E216": Entry(
        "there is no judge {name!r}{hint}",
        "use --judge verifier (the default) or --judge overlap",
        USAGE,
    ),
}
