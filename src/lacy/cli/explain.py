"""``lacy explain E20``: what an error code means, why it is an error, and what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from lacy.errors import CATALOG, Entry

HELP = """usage: lacy explain [CODE ...]

Says what an error code means and what to do; without a code, lists them all.

Example:
  lacy explain E20"""

KINDS = {2: "a mistake in the command", 3: "in the data or a checkpoint", 4: "a source failed"}


def main(argv: Sequence[str]) -> int:
    """Prints the entries of the codes."""
    if argv and argv[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if not argv:
        for code, entry in sorted(CATALOG.items()):
            print(f"{code}  {plain(entry.what)}")
        return 0
    unknown = [word for word in argv if word.strip("[]").upper() not in CATALOG]
    if unknown:
        print(
            f"There is no error {', '.join(unknown)}. See them all: lacy explain", file=sys.stderr
        )
        return 2
    print("\n\n".join(explain(word.strip("[]").upper()) for word in argv))
    return 0


def explain(code: str) -> str:
    """One entry as text."""
    entry = CATALOG[code]
    kind = f"exit code {entry.exit_code}, {KINDS[entry.exit_code]}"
    lines = [f"[{code}] {plain(entry.what)}  ({kind})"]
    lines += [f"  Why: {entry.more}"] if entry.more else []
    return "\n".join([*lines, f"  Do: {action(entry)}"])


def plain(template: str) -> str:
    """A template for reading: ``{tokens}`` becomes ``TOKENS``, ``{path!r}`` becomes ``PATH``."""
    spaced = re.sub(r"(?<=[}:])\{", " {", template)
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: match[1].upper(), spaced)


def action(entry: Entry) -> str:
    """What to do; where it depends on the case, the message itself says it."""
    return "what the message says" if entry.do == "{do}" else plain(entry.do)
