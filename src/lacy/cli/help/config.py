"""``lacy help config COMMAND``: all settings of a command as a commented YAML file."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from lacy._text import closest
from lacy.cli import PURPOSES
from lacy.config import Positional, dump_commented, load
from lacy.errors import LacyError


@dataclass
class ConfigCommand:
    """Write all settings of a command, such as train or data mark, with meanings and defaults.

    With a file, check the file and write it completed.
    """

    command: Positional[list[str]]
    """The command, and a file with its settings to check and complete."""


FILE = False
FLAGS = ConfigCommand
EXAMPLES = """
lacy help config train > train.yaml
lacy help config train train.yaml
lacy train train.yaml --steps 100
"""


def run(config: ConfigCommand) -> int:
    """Print the file."""
    for name in PURPOSES:
        words = name.split()
        if config.command[: len(words)] == words and len(config.command) <= len(words) + 1:
            module = importlib.import_module(f"lacy.cli.{name.replace(' ', '.')}")
            if not (hasattr(module, "SETTINGS") or getattr(module, "FILE", True)):
                break
            cls = getattr(module, "SETTINGS", module.FLAGS)
            files = config.command[len(words) :]
            print(dump_commented(load(cls, files[0], command=name) if files else cls), end="")
            if more := getattr(module, "more_settings", None):
                print(more(), end="")
            return 0
    typed = " ".join(config.command)
    near = closest(typed, [name for name in PURPOSES if name != typed], cutoff=0.5)
    do = f"lacy help config {near}" if near else f"name one of: {', '.join(PURPOSES)}"
    raise LacyError("E12", key="COMMAND", value=typed, why="it has no settings file", do=do)
