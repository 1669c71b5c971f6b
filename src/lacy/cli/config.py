"""``lacy config VERB``: all settings of a verb as a commented YAML file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from lacy.cli.verb import choose
from lacy.config import dump_commented, load

CONFIGURED = {
    "train": "what a training run reads",
    "annotate": "what annotation and packing read",
    "world": "what a made-up world is made from",
    "generate": "how a model speaks and whom it may call",
    "evaluate": "what is measured",
    "study": "which methods, seeds, sizes and ways of asking are compared",
}

HELP = """
Writes all settings of a verb with their meaning and default; with a file, checks the file and
writes it completed.

Examples:
  lacy config train > train.yaml
  lacy config train train.yaml
  lacy train train.yaml --steps 100"""


def main(argv: Sequence[str]) -> int:
    """Prints the file."""
    try:
        verb, rest = choose("config", CONFIGURED, argv)
    except SystemExit as leaving:
        if not leaving.code:
            print(HELP)
        raise
    if rest and rest[0] in ("-h", "--help"):
        print(f"usage: lacy config {verb} [FILE.yaml]\n{HELP}")
        return 0
    if len(rest) > 1:
        print(f"lacy config {verb} takes one file, not {' '.join(rest)}", file=sys.stderr)
        return 2
    cls = importlib.import_module(f"lacy.cli.{verb}").SETTINGS
    print(dump_commented(load(cls, rest[0], verb=verb) if rest else cls), end="")
    return 0
