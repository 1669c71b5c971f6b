"""Read the flags of a command; what several commands' flags have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from lacy.config import REPEATED, parse

Repeated = Annotated[list[str], tyro.conf.UseAppendAction]
"""A flag that may be given several times, each with one value; the order counts."""

REPEATS = {REPEATED: True}
"""Metadata of such a field."""


def read_flags(module: Any, name: str, argv: Sequence[str]) -> Any:
    """Read the flags of a command; ``--help`` ends with its examples.

    Args:
        module: the command: ``FLAGS`` is its dataclass, ``EXAMPLES`` lines that can be typed as
            they stand. ``FILE = False`` says that a ``.yaml`` argument is no file of settings.
        name: the command, such as ``"data mark"``.
        argv: the arguments after the command.
    """
    try:
        return parse(module.FLAGS, argv, command=name, file=getattr(module, "FILE", True))
    except SystemExit as leaving:
        if not leaving.code:
            lines = [line.strip() for line in module.EXAMPLES.strip().splitlines()]
            print("\n  ".join(["Examples:" if len(lines) > 1 else "Example:", *lines]))
        raise
