"""Errors of judges and of the files with people's labels."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E216-E223: judges
    "E216": Entry(
        "there is no judge {name!r}{hint}",
        "use one of: {names}",
        USAGE,
    ),
    "E217": Entry(
        "cannot read {place}: {why}",
        "give files in FActScore's format: for labels, one JSON object per line with topic, output "
        "and annotations; for passages, one with topic and text",
        DATA,
    ),
    "E218": Entry(
        "no usable verifier in {path}: {why}",
        "use the verifier that comes with lacy (reinstall lacy if that is damaged), or train one: "
        "python scripts/train_verifier.py --help",
        DATA,
    ),
}
