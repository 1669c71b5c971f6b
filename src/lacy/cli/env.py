"""``lacy env``: versions and machine, to paste into a report."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence

from lacy.run import environment, flatten

HELP = """usage: lacy env [--json]

Prints versions, machine and device, to paste into a report. Nothing is sent anywhere.

Example:
  lacy env"""


def main(argv: Sequence[str]) -> int:
    """Prints the environment as Markdown lines or JSON."""
    if argv and argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if [word for word in argv if word != "--json"]:
        print(f"lacy env takes only --json, not {' '.join(argv)}", file=sys.stderr)
        return 2
    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401  (so that the device is known)
    found = environment()
    if "--json" in argv:
        print(json.dumps(found, indent=2))
    else:
        for name, value in flatten(found).items():
            print(f"- {name}: {'not installed' if value is None else value}")
    return 0
