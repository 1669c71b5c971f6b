"""The help of a command: its flags under headings, wrapped to the terminal."""

from __future__ import annotations

import enum
import inspect
import os
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from lacy.cli.flags import Flag, flags_of, members
from lacy.config import choices

WIDEST = 120
"""Longest line of the help, in characters."""

COLUMN = 26
"""Characters before the description of a flag."""

LONGEST_CHOICES = 24
"""Choices longer than this are listed in the description."""

PLACEHOLDERS: dict[Any, str] = {int: "N", float: "X", Path: "PATH"}


def help_text(cls: type, command: str, examples: str, *, everything: bool, file: bool) -> str:
    """Return the help of a command.

    Args:
        cls: the dataclass of its flags.
        command: the command, such as ``data mark``.
        examples: command lines, one per line.
        everything: also show rare flags.
        file: True if the command takes a settings file.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    flags = list(flags_of(cls))
    arguments = [_usage(flag) for flag in flags if flag.positional]
    words = ["lacy", command, *["[CONFIG.yaml]"] * file, *arguments, "[FLAGS]"]
    lines = [f"usage: {' '.join(words)}", ""]
    for paragraph in (inspect.getdoc(cls) or "").split("\n\n"):
        lines += [*_wrapped(paragraph, width), ""]
    shown = [flag for flag in flags if everything or not flag.rare]
    headings = dict.fromkeys(_heading(flag) for flag in shown)
    for heading in headings:
        lines.append(_bold(f"{heading}:"))
        for flag in shown:
            if _heading(flag) == heading:
                lines += _entry(flag, width)
        lines.append("")
    if hidden := len(flags) - len(shown):
        lines += [f"--help-all shows {hidden} more flag{'s' * (hidden != 1)}.", ""]
    commands = examples.strip().splitlines()
    lines.append(_bold("Examples:" if len(commands) > 1 else "Example:"))
    return "\n".join([*lines, *(f"  {line.strip()}" for line in commands)])


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap at spaces only, so that flags and compound words stay whole."""
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _heading(flag: Flag) -> str:
    return "Arguments" if flag.positional else flag.group or "Flags"


def _usage(flag: Flag) -> str:
    name = f"{flag.name} ..." if flag.length is None else flag.name
    return name if flag.setting.required else f"[{name}]"


def _entry(flag: Flag, width: int) -> Iterator[str]:
    """Yield the lines of a flag: its name and value, then its description in a column."""
    name = flag.name if flag.positional else " ".join(filter(None, [_name(flag), _value(flag)]))
    head = f"  {name:<{COLUMN - 2}}"
    if not head.endswith("  "):
        yield head.rstrip()
        head = " " * COLUMN
    text = " ".join([flag.setting.doc, *_notes(flag)])
    for line in _wrapped(text, width - COLUMN) or [""]:
        yield (head + line).rstrip()
        head = " " * COLUMN


def _name(flag: Flag) -> str:
    """Return the flag; ``--[no-]marks`` if it is on by default."""
    if not (flag.switch and flag.setting.default is not False):
        return flag.name
    parent, dot, name = flag.name.removeprefix("--").rpartition(".")
    return f"--{parent}{dot}[no-]{name}"


def _value(flag: Flag) -> str:
    """Return a placeholder for the value of a flag, such as ``N`` or ``{token,word,value}``."""
    if flag.switch:
        return ""
    hint = next(kind for kind in members(flag.setting.type) if kind is not type(None))
    listed = typing.get_origin(hint) in (list, tuple)
    if listed:
        hint = typing.get_args(hint)[0]
    words = choices(hint)
    value = f"{{{','.join(words)}}}" if words else PLACEHOLDERS.get(hint, "TEXT")
    value = value if len(value) <= LONGEST_CHOICES else "NAME"
    return " ".join([value] * flag.length) if flag.length else f"{value} ..."


def _notes(flag: Flag) -> Iterator[str]:
    """Yield the choices that the placeholder does not list, and the default."""
    words = choices(flag.setting.type)
    if words and not _value(flag).startswith("{"):
        yield f"One of: {', '.join(word for word in words if word != 'None')}."
    default = flag.setting.default
    if flag.repeated and flag.setting.doc:
        yield "May be repeated."
    if default not in (None, (), [], "", False, True, MISSING):
        values = default if isinstance(default, list | tuple) else [default]
        yield f"(default: {' '.join(map(_shown, values))})"


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bold(text: str) -> str:
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[1m{text}\x1b[0m" if colours and os.environ.get("TERM") != "dumb" else text
