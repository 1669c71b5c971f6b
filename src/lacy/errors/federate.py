"""Errors of federated training."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E330-E344: federated training
    "E330": Entry(
        "{path} contains no clients: {why}",
        "give a folder with one file (or folder) of texts for each client, or split one file among "
        "simulated clients: --data FILE --simulate 8",
        USAGE,
        "The name of a file or folder is the name of its client.",
    ),
    "E331": Entry(
        "{texts} texts are too few for {clients} clients",
        "give at least one text per client, or fewer clients (--simulate)",
        DATA,
        "Every simulated client needs at least one text.",
    ),
    "E332": Entry(
        "document {document} has no field {field!r} (it has: {known})",
        "name the field with the topic (--topic-field), or split at random (--skew none)",
        DATA,
        "To split texts by topic, every text needs one.",
    ),
}
