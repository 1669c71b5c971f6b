"""Read the arguments of a command into its dataclass: flags over a settings file over defaults."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from lacy._text import closest
from lacy.config import (
    Mark,
    Mismatch,
    Setting,
    build,
    convert,
    put,
    read_settings,
    read_yaml,
    settings_of,
)
from lacy.errors import LacyError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Flag:
    """A setting on the command line.

    Attributes:
        name: ``--call-rate``, ``--judge.url``, or ``MODEL`` for an argument without a flag.
        path: the dotted name of the setting.
        setting: its type, default and docstring.
        group: the heading of the help under which it stands.
        rare: True if only ``--help-all`` shows it.
    """

    name: str
    path: str
    setting: Setting
    group: str
    rare: bool

    @property
    def positional(self) -> bool:
        """True if the argument is given without a flag."""
        return Mark.POSITIONAL in self.setting.marks

    @property
    def repeated(self) -> bool:
        """True if the flag may be given several times, each time with one value."""
        return Mark.REPEATED in self.setting.marks

    @property
    def switch(self) -> bool:
        """True if the flag is on or off and needs no value."""
        return bool in members(self.setting.type)

    @property
    def length(self) -> int | None:
        """Number of values: 1, n for a tuple of n, None for any number."""
        kind, args = typing.get_origin(self.setting.type), typing.get_args(self.setting.type)
        if kind not in (list, tuple) or self.repeated:
            return 1
        return len(args) if kind is tuple and args[-1] is not Ellipsis else None


def members(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def flags_of(cls: type, prefix: str = "", path: str = "", group: str = "") -> Iterator[Flag]:
    """Yield the flags of a dataclass, including those of nested dataclasses.

    Args:
        cls: the dataclass.
        prefix: what the names of its flags begin with.
        path: what the dotted names of its settings begin with.
        group: the heading for fields that have none.
    """
    for setting in settings_of(cls):
        rare, heading = Mark.RARE in setting.marks, setting.group or group
        if setting.nested:
            inner = prefix if Mark.INLINE in setting.marks else f"{prefix}{setting.name}."
            for flag in flags_of(setting.type, inner, f"{path}{setting.name}.", heading):
                yield dataclasses.replace(flag, rare=flag.rare or rare)
        else:
            name = f"--{prefix}{setting.name}".replace("_", "-")
            if Mark.POSITIONAL in setting.marks:
                name = setting.name.upper()
            yield Flag(name, path + setting.name, setting, heading, rare)


def parse(cls: type[T], argv: Sequence[str], *, command: str, file: bool = True) -> T:
    """Read settings from flags, a file and defaults, in this order of precedence.

    The file is the first argument, if it ends in ``.yaml`` or ``.yml``, or follows ``--config``.

    Args:
        cls: a dataclass; its fields become flags (``call_rate`` -> ``--call-rate``, nested
            ``optim.lr`` -> ``--optim.lr``).
        argv: the arguments after the command.
        command: the command, for errors: ``lacy COMMAND``.
        file: False if the command takes no settings file, so that ``.yaml`` is an ordinary
            argument.

    Raises:
        LacyError: the problems of the file, as in ``lacy.config.load``; E115, a flag does not
            exist, or an argument is missing or unexpected; E12, a value does not fit its flag.
    """
    path, words = _take_file(argv, command) if file else (None, list(argv))
    data, lines = read_yaml(path) if path is not None else ({}, {})
    read_settings(cls, data, str(path), lines, command)  # its problems come before the flags'
    flags = list(flags_of(cls))
    for dotted, value in _read_arguments(flags, words, command).items():
        put(data, dotted, value)
    for flag in flags:
        if flag.setting.required and not _contains(data, flag.path):
            do = f"give {flag.name}; all arguments: lacy {command} --help"
            _refuse(command, f"{flag.name} is missing", do)
    return build(cls, read_settings(cls, data, str(path), lines, command), str(path), command)


def _contains(data: Any, dotted: str) -> bool:
    for name in dotted.split("."):
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True


def _refuse(command: str, why: str, do: str) -> NoReturn:
    raise LacyError("E115", command=command, why=why, do=do)


def _read_arguments(flags: list[Flag], argv: Sequence[str], command: str) -> dict[str, Any]:
    """Return the values of the arguments by the dotted names of their settings."""
    named = {flag.name: flag for flag in flags if not flag.positional}
    negated = {_negated_name(flag): flag for flag in named.values() if flag.switch}
    arguments = [flag for flag in flags if flag.positional]
    words, found, literal = list(argv), dict[str, Any](), False
    while words:
        word = words.pop(0)
        if word == "--" and not literal:
            literal = True  # what follows are arguments, even if they begin with a hyphen
            continue
        if literal or not _is_flag(word):
            if not arguments:
                _refuse(command, f"unexpected argument {word!r}", f"lacy {command} --help")
            flag = arguments[0]
            if flag.length == 1:
                found[arguments.pop(0).path] = _converted(flag, word)
            else:
                found[flag.path] = [*found.get(flag.path, []), word]
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if name in negated and not equals:
            found[negated[name].path] = False
            continue
        if name not in named:
            near = closest(name, [*named, *negated])
            hint = f"did you mean {near}? " if near else ""
            do = f"{hint}All flags: lacy {command} --help-all"
            _refuse(command, f"there is no flag {name}", do)
        flag = named[name]
        values = [value] if equals else _take_values(flag, words, command)
        if flag.repeated:
            found[flag.path] = [*found.get(flag.path, []), *values]
        elif flag.length == 1:
            found[flag.path] = _converted(flag, values[0])
        else:
            found[flag.path] = _converted(flag, values)
    return found


def _is_flag(word: str) -> bool:
    """True for ``--steps`` and ``-x``; False for values such as ``-1`` and ``-``."""
    return word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())


def _negated_name(flag: Flag) -> str:
    """Return the flag that turns a switch off: ``--no-marks``, ``--rules.no-keywords``."""
    parent, dot, name = flag.name.removeprefix("--").rpartition(".")
    return f"--{parent}{dot}no-{name}"


def _take_values(flag: Flag, words: list[str], command: str) -> list[str]:
    """Remove the values of a flag from the front of the words."""
    if flag.switch:
        return [words.pop(0)] if words and words[0].lower() in ("true", "false") else ["true"]
    count = 0
    while count < len(words) and not _is_flag(words[count]) and count != flag.length:
        count += 1
    if count != flag.length and (flag.length is not None or not count):
        needed = f"{flag.length or 'at least one'} value{'s' * ((flag.length or 1) > 1)}"
        _refuse(command, f"{flag.name} needs {needed}", f"lacy {command} --help-all")
    values, words[:] = words[:count], words[count:]
    return values


def _converted(flag: Flag, value: str | list[str]) -> Any:
    """Convert a value to the type of its flag.

    Raises:
        LacyError: E12, it does not fit.
    """
    hint = flag.setting.type
    kinds = [kind for kind in members(hint) if kind is not type(None)]
    if len(kinds) < len(members(hint)):
        if value in ("None", "null"):
            return None
        hint = kinds[0] if len(kinds) == 1 else hint  # "expected a number", not "or null"
    if flag.switch and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return convert(value, hint)
    except Mismatch as mismatch:
        do = f"correct {flag.name}; --help-all explains all flags"
        why = f"expected {mismatch}"
        raise LacyError("E12", key=flag.name, value=value, why=why, do=do) from None


def _take_file(argv: Sequence[str], command: str) -> tuple[str | None, list[str]]:
    """Split the settings file from the other arguments."""
    words = list(argv)
    if words and not words[0].startswith("-") and words[0].endswith((".yaml", ".yml")):
        return words[0], words[1:]
    for place, word in enumerate(words):
        if word == "--config":
            if place + 1 == len(words):
                _refuse(command, "no file follows --config", f"lacy {command} --config FILE.yaml")
            return words[place + 1], words[:place] + words[place + 2 :]
        if word.startswith("--config="):
            return word.partition("=")[2], words[:place] + words[place + 1 :]
    return None, words


def read_flags(module: Any, name: str, argv: Sequence[str]) -> Any:
    """Read the flags of a command, or print its help and exit.

    Args:
        module: the command: ``FLAGS`` is its dataclass, ``EXAMPLES`` lines that can be typed as
            they stand. ``FILE = False`` says that it takes no settings file.
        name: the command, such as ``"data mark"``.
        argv: the arguments after the command.
    """
    file = getattr(module, "FILE", True)
    if asked := {"-h", "--help", "--help-all"} & set(argv):
        from lacy.cli.help_text import help_text

        everything = "--help-all" in asked
        print(help_text(module.FLAGS, name, module.EXAMPLES, everything=everything, file=file))
        raise SystemExit(0)
    return parse(module.FLAGS, argv, command=name, file=file)
