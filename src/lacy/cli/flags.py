"""Read the arguments of a command into its dataclass.

Flags take precedence over a settings file, which takes precedence over defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import inspect
import os
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lacy._convert import Mismatch, build, choices, convert
from lacy._fields import FieldMark, Setting, settings_of
from lacy._text import closest
from lacy.config import put, read_settings, read_yaml
from lacy.errors import LacyError

T = TypeVar("T")

MAX_WIDTH = 120
"""Maximum line length of the help, in characters."""

HELP_POSITION = 26
"""Column at which the descriptions of flags begin."""

MAX_CHOICES = 24
"""If the list of choices is longer, it is shown in the description and not in the placeholder."""

PLACEHOLDERS: dict[Any, str] = {int: "N", float: "X", Path: "PATH"}


@dataclasses.dataclass(frozen=True)
class Flag:
    """A setting as a flag or argument of the command line.

    Attributes:
        name: ``--call-rate``, ``--judge.url``, or ``MODEL`` for an argument without a flag.
        path: the dotted name of the setting.
        setting: its type, default and docstring.
        group: the heading in the help under which it is listed.
        rare: True if only ``--help-all`` shows it.
    """

    name: str
    path: str
    setting: Setting
    group: str
    rare: bool

    @property
    def kinds(self) -> list[Any]:
        """The possible types of the value, without None."""
        hint = self.setting.type
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        members = typing.get_args(hint) if union else (hint,)
        return [kind for kind in members if kind is not type(None)]

    def options(self) -> dict[str, Any]:
        """Return arguments for ``add_argument``; the values stay text until ``convert``."""
        [kind, *_] = self.kinds
        if kind is bool:
            return {"action": argparse.BooleanOptionalAction}
        listed, args = typing.get_origin(kind) in (list, tuple), typing.get_args(kind)
        choice_list = "{" + ",".join(choices(args[0] if listed else kind)) + "}"
        placeholder = PLACEHOLDERS.get(args[0] if listed else kind, "TEXT")
        metavar = (
            placeholder
            if choice_list == "{}"
            else choice_list
            if len(choice_list) <= MAX_CHOICES
            else "NAME"
        )
        if FieldMark.POSITIONAL in self.setting.marks:
            return {"metavar": self.name, "nargs": "*" if listed else "?"}
        if FieldMark.REPEATED in self.setting.marks:
            return {"metavar": metavar, "action": "append"}
        if not listed:
            return {"metavar": metavar}
        fixed = typing.get_origin(kind) is tuple and args[-1] is not Ellipsis
        if fixed:
            return {"metavar": metavar, "nargs": len(args)}
        # Given twice, the flag has the values of both: --cost a=1 --cost b=2.
        return {"metavar": metavar, "nargs": "+", "action": "extend"}

    def help(self) -> str:
        """Return the help text: the docstring, choices that the placeholder lacks, the default."""
        default, words = self.setting.default, choices(self.setting.type)
        notes = [self.setting.doc]
        if words and not self.options().get("metavar", "").startswith("{"):
            notes.append(f"One of: {', '.join(word for word in words if word != 'None')}.")
        if default not in (None, (), [], "", False, dataclasses.MISSING):
            notes.append(f"(default: {_shown(default)})")
        return " ".join(notes).replace("%", "%%")

    def convert(self, value: Any) -> Any:
        """Convert a value from the command line to the type of the setting.

        Raises:
            LacyError: E12, the value does not fit.
        """
        if value in ("None", "null") and self.kinds != [self.setting.type]:
            return None
        try:
            # Without the None of an optional setting, the message says "expected a number".
            return convert(value, self.kinds[0] if len(self.kinds) == 1 else self.setting.type)
        except Mismatch as mismatch:
            why, do = f"expected {mismatch}", f"correct {self.name}; --help-all explains all flags"
            raise LacyError("E12", key=self.name, value=value, why=why, do=do) from None


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return value.name if isinstance(value, enum.Enum) else str(value)


def flags_of(cls: type, prefix: str = "", path: str = "", group: str = "Flags") -> Iterator[Flag]:
    """Yield the flags of a dataclass, including those of nested dataclasses.

    Args:
        cls: the dataclass.
        prefix: prefix of the flags' names, such as ``judge.``.
        path: prefix of the settings' dotted names.
        group: the heading for fields without one of their own.
    """
    for setting in settings_of(cls):
        rare, heading = FieldMark.RARE in setting.marks, setting.group or group
        if setting.nested:
            inner = prefix if FieldMark.INLINE in setting.marks else f"{prefix}{setting.name}."
            for flag in flags_of(setting.type, inner, f"{path}{setting.name}.", heading):
                yield dataclasses.replace(flag, rare=flag.rare or rare)
        elif FieldMark.POSITIONAL in setting.marks:
            yield Flag(setting.name.upper(), path + setting.name, setting, "Arguments", rare)
        else:
            name = f"--{prefix}{setting.name}".replace("_", "-")
            yield Flag(name, path + setting.name, setting, heading, rare)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps texts only at spaces, so that flags and hyphenated words are not broken."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
        super().__init__(prog, max_help_position=HELP_POSITION, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", f"--{action.metavar}")
        return super()._format_action_invocation(action)

    def start_section(self, heading: str | None) -> None:
        """Print headings bold in a terminal."""
        plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR")
        bold = heading and not plain and os.environ.get("TERM") != "dumb"
        super().start_section(f"\x1b[1m{heading}\x1b[0m" if bold else heading)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        # Paragraphs with indented lines, such as examples, are not wrapped.
        return "\n\n".join(
            part if "\n  " in part else "\n".join(self._split_lines(part, width))
            for part in paragraphs
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(
            " ".join(text.split()), width, break_on_hyphens=False, break_long_words=False
        )


class _Parser(argparse.ArgumentParser):
    """A parser that raises ``LacyError`` instead of printing errors and exiting."""

    def error(self, message: str) -> NoReturn:
        _refuse(self.prog, message, f"see: {self.prog} --help")


def _refuse(program: str, why: str, do: str) -> NoReturn:
    raise LacyError("E115", program=program, why=why, do=do)


def make_parser(
    cls: type, command: str, *, examples: str = "", everything: bool = True, file: bool = True
) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Args:
        cls: the dataclass of the command's flags.
        command: the command, such as ``data mark``.
        examples: example command lines for the end of the help, one per line.
        everything: False to hide rare flags in the help.
        file: True if the command takes a settings file.
    """
    flags = list(flags_of(cls))
    hidden = sum(flag.rare for flag in flags) * (not everything)
    lines = "\n  ".join(["Examples:", *(line.strip() for line in examples.strip().splitlines())])
    more = f"--help-all shows {hidden} more flag{'s' * (hidden != 1)}.\n\n" if hidden else ""
    arguments = [flag.name for flag in flags if FieldMark.POSITIONAL in flag.setting.marks]
    parser = _Parser(
        prog=f"lacy {command}",
        usage=" ".join(["%(prog)s", *["[CONFIG.yaml]"] * file, *arguments, "[FLAGS]"]),
        description=inspect.getdoc(cls),
        epilog=more + lines,
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
    )
    groups = {
        name: parser.add_argument_group(name) for name in dict.fromkeys(f.group for f in flags)
    }
    for flag in flags:
        options, positional = flag.options(), FieldMark.POSITIONAL in flag.setting.marks
        shown = flag.help() if everything or not flag.rare else argparse.SUPPRESS
        names = [flag.path] if positional else [flag.name]
        options |= {} if positional else {"dest": flag.path}
        action = groups[flag.group].add_argument(*names, help=shown, **options)
        if flag.kinds == [bool]:  # for _Formatter: --dry-run, but --[no-]marks
            action.metavar = "" if flag.setting.default is False else "[no-]"
    return parser


def parse(cls: type[T], argv: Sequence[str], *, command: str, file: bool = True) -> T:
    """Read settings from flags, a file and defaults, in this order of precedence.

    The file is the first argument if that ends in ``.yaml`` or ``.yml``, or follows ``--config``.

    Args:
        cls: a dataclass; its fields become flags (``call_rate`` -> ``--call-rate``, nested
            ``optim.lr`` -> ``--optim.lr``).
        argv: the arguments after the command.
        command: the command, such as ``data mark``, for error messages.
        file: False if the command takes no settings file; then a ``.yaml`` file is an ordinary
            argument.

    Raises:
        LacyError: for the same reasons as ``lacy.config.load``; E115, a flag does not exist, or an
            argument is missing or unexpected; E12, a value does not fit its flag.
    """
    parser, flags = make_parser(cls, command), list(flags_of(cls))
    path, words = _take_file(argv, parser) if file else (None, list(argv))
    data, lines = read_yaml(path) if path is not None else ({}, {})
    # Check the file now, so that its problems are reported before those of flags.
    read_settings(cls, data, str(path), lines, command)
    parsed, unknown = parser.parse_known_intermixed_args(words)
    for word in unknown:
        if not word.startswith("-"):
            parser.error(f"unexpected argument {word!r}")
        similar = closest(word.partition("=")[0], [flag.name for flag in flags])
        do = f"did you mean {similar}? " if similar else ""
        _refuse(parser.prog, f"there is no flag {word}", f"{do}All flags: {parser.prog} --help-all")
    for flag in flags:
        if flag.path in parsed:
            put(data, flag.path, flag.convert(getattr(parsed, flag.path)))
        elif flag.setting.required and flag.path not in data:
            parser.error(f"{flag.name} is missing")
    return build(cls, read_settings(cls, data, str(path), lines, command), str(path), command)


def _take_file(
    argv: Sequence[str], parser: argparse.ArgumentParser
) -> tuple[str | None, list[str]]:
    """Return the settings file, if given, and the other arguments."""
    words = list(argv)
    if words and not words[0].startswith("-") and words[0].endswith((".yaml", ".yml")):
        return words[0], words[1:]
    for index, word in enumerate(words):
        if word == "--config":
            if index + 1 == len(words):
                parser.error("no file follows --config")
            return words[index + 1], words[:index] + words[index + 2 :]
        if word.startswith("--config="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
    return None, words


def read_flags(module: Any, name: str, argv: Sequence[str]) -> Any:
    """Read the flags of a command, or print its help and exit.

    Args:
        module: the command's module. ``FLAGS`` is the dataclass, ``EXAMPLES`` has command lines
            that work as they are, and ``FILE = False`` says that it takes no settings file.
        name: the command, such as ``"data mark"``.
        argv: the arguments after the command.
    """
    file = getattr(module, "FILE", True)
    if asked := {"-h", "--help", "--help-all"} & set(argv):
        everything = "--help-all" in asked
        parser = make_parser(
            module.FLAGS, name, examples=module.EXAMPLES, everything=everything, file=file
        )
        print(parser.format_help(), end="")
        raise SystemExit(0)
    return parse(module.FLAGS, argv, command=name, file=file)
