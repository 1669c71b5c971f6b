"""``lacy help error E20``: what an error code means, why it is an error, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lacy.config import Positional
from lacy.errors import CATALOG, Entry, LacyError

KINDS = {2: "a mistake in the command", 3: "in the data or a checkpoint", 4: "a source failed"}


@dataclass
class ErrorConfig:
    """Explain error codes and what to do about them; without a code, list all."""

    code: Positional[list[str]] = field(default_factory=list)
    """Error codes, such as E20."""


FILE = False
FLAGS = ErrorConfig
EXAMPLES = """
lacy help error E20
"""


def run(config: ErrorConfig) -> int:
    """Print the entries of the codes."""
    codes = [code.strip("[]").upper() for code in config.code]
    if unknown := [code for code in codes if code not in CATALOG]:
        why, do = "there is no such error", "list them all: lacy help error"
        raise LacyError("E12", key="CODE", value=", ".join(unknown), why=why, do=do)
    if codes:
        print("\n\n".join(map(describe_error, codes)))
    else:
        for code, entry in sorted(CATALOG.items()):
            print(f"{code}  {readable_template(entry.what)}")
    return 0


def describe_error(code: str) -> str:
    """Return one entry of the catalogue as text."""
    entry = CATALOG[code]
    kind = f"exit code {entry.exit_code}, {KINDS[entry.exit_code]}"
    lines = [f"[{code}] {readable_template(entry.what)}  ({kind})"]
    lines += [f"  Why: {entry.more}"] if entry.more else []
    return "\n".join([*lines, f"  Do: {what_to_do(entry)}"])


def readable_template(template: str) -> str:
    """Make a template readable: ``{tokens}`` becomes ``TOKENS``, ``{path!r}`` becomes ``PATH``."""
    spaced = re.sub(r"(?<=[}:])\{", " {", template)
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: match[1].upper(), spaced)


def what_to_do(entry: Entry) -> str:
    """Return what to do; where it depends on the case, the message itself says it."""
    return "what the message says" if entry.do == "{do}" else readable_template(entry.do)
