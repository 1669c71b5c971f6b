"""Settings: one dataclass is the Python object, the YAML file and the command-line flags.

A setting is a dataclass field with a type, a default and a docstring (a string literal below it).
``dump_commented`` writes the fields as a commented file, ``load`` reads such a file and reports all
problems at once, and ``parse`` reads flags with tyro. Precedence: field default < file < flag.

Supported types: ``int float bool str Path None``, ``Literal``, ``Enum`` (by name), unions of these,
``list[T]``, ``tuple[T, ...]``, ``tuple[A, B]``, ``dict[str, T]`` and nested dataclasses.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import itertools
import os
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lacy._convert import (
    REPEATED,
    Nested,
    Problem,
    build,
    choices,
    command_of,
    describe,
    read_fields,
    short_repr,
)
from lacy._parse import MAX_CHARACTERS, parse_yaml
from lacy._text import did_you_mean
from lacy.errors import LacyError

T = TypeVar("T")


def load(
    cls: type[T],
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    command: str | None = None,
) -> T:
    """Build a ``cls`` from its defaults, then a YAML file, then ``overrides``.

    Args:
        cls: a dataclass.
        path: a YAML file with some or all of the fields; ``None`` reads no file.
        overrides: values by name; nested ones by dotted name (``{"optim.lr": 1e-3}``).
        command: the command named in error messages; by default from the class's name.

    Raises:
        LacyError: E13 no such file, E15 not YAML, E10 an unknown key, E12 a bad or missing
            value, E14 several problems (all are listed).
    """
    command = command or command_of(cls)
    data, lines = read_yaml(path) if path is not None else ({}, {})
    where = str(path) if path is not None else f"the settings of {command}"
    for dotted, value in (overrides or {}).items():
        _put(data, dotted, value)
    return build(cls, _read_checked(cls, data, where, lines, command), where, command)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML mapping and the line of each dotted key.

    Raises:
        LacyError: E13 no such file, E15 not a readable YAML mapping, or a repeated key.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)  # bounded, as it may be an endless device
    except OSError as error:
        do = f"check the path ({error.strerror})" if path.exists() else "check the path"
        raise LacyError("E13", path=path, do=do) from error
    except UnicodeDecodeError as error:
        raise LacyError("E15", path=path, why=f"it is not UTF-8 text ({error.reason})") from error
    try:
        data, node = parse_yaml(text)
    except ValueError as error:
        raise LacyError("E15", path=path, why=str(error)) from error
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise LacyError(
            "E15", path=path, why=f"it contains {short_repr(data)}, not `key: value` lines"
        )
    lines: dict[str, int] = {}
    _lines_of(node, "", lines, path)
    return data, lines


def _lines_of(node: Any, prefix: str, lines: dict[str, int], path: Path) -> None:
    """Fill ``lines`` with the line of every key; a repeated key is an error."""
    if not hasattr(node, "value") or not isinstance(node.value, list):
        return
    for pair in node.value:
        if not isinstance(pair, tuple):
            continue
        key = f"{prefix}{pair[0].value}"
        line = pair[0].start_mark.line + 1
        if key in lines:
            why = f"{key!r} is set in line {lines[key]} and again in line {line}"
            raise LacyError("E15", path=path, why=why)
        lines[key] = line
        _lines_of(pair[1], key + ".", lines, path)


def _put(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a nested value by its dotted name."""
    *parents, last = dotted.split(".")
    for name in parents:
        child = data.get(name)
        data[name] = child = dict(child) if isinstance(child, Mapping) else {}
        data = child
    data[last] = value


def _read_checked(
    cls: type, data: Any, where: str, lines: Mapping[str, int], command: str
) -> dict[str, Any]:
    """Convert settings to constructor arguments; raise one error for all problems."""
    problems: list[Problem] = []
    values = read_fields(cls, data, "", problems)
    if not problems:
        return values
    sentences = []
    for problem in problems:
        line = f" (line {lines[problem.key]})" if problem.key in lines else ""
        if problem.expected:
            what = (
                f"{problem.key} is {short_repr(problem.value)}, expected {problem.expected}{line}"
            )
        else:
            what = f"unknown setting {problem.key!r}{line}{problem.hint}"
        sentences.append(what)
    first = problems[0]
    line = f", line {lines[first.key]}" if first.key in lines else ""
    if len(problems) > 1:
        listed = "".join(f"\n  - {sentence}" for sentence in sentences)
        raise LacyError("E14", count=len(problems), where=where, problems=listed, command=command)
    if not first.expected:
        raise LacyError("E10", key=first.key, where=where + line, hint=first.hint, command=command)
    why = f"expected {first.expected} ({where}{line})"
    do = f"see all settings with: lacy help config {command}"
    raise LacyError("E12", key=first.key, value=first.value, why=why, do=do)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as YAML values: paths as text, enums by name, tuples as lists."""
    return {
        field.name: _yaml_value(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def _yaml_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _yaml_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_yaml_value(item) for item in value]
    return value


def dump_commented(config: Any) -> str:
    """Write settings as YAML, each with its docstring, choices and default as a comment.

    Args:
        config: an instance of a dataclass, or the class itself: its defaults are written, and
            required fields as comments to fill in.

    Returns:
        Text that ``load`` reads back to an equal object.
    """
    cls = config if isinstance(config, type) else type(config)
    head = textwrap.wrap((inspect.getdoc(cls) or "").split("\n\n")[0], 98)
    lines = [f"# {line}" for line in head if not line.startswith(cls.__name__ + "(")]
    return "\n".join([*lines, "", *_dump_fields(config, 0)]).lstrip("\n").rstrip() + "\n"


def _dump_fields(config: Any, depth: int) -> list[str]:
    """Return the lines of one nesting level."""
    cls = config if isinstance(config, type) else type(config)
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    pad = "  " * depth
    lines: list[str] = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default = _default_of(field)
        value = default if isinstance(config, type) else getattr(config, field.name)
        notes = [docs.get(field.name, "")]
        if "one of: " in (kind := describe(hints[field.name])):
            notes.append(kind[0].upper() + kind[1:] + ".")
        if (
            value != default
            and default is not dataclasses.MISSING
            and not dataclasses.is_dataclass(value)
        ):
            notes.append(f"Default: {_scalar(_yaml_value(default))}.")
        text = " ".join(note for note in notes if note)
        lines += [f"{pad}# {line}" for line in textwrap.wrap(text, 98 - len(pad))]
        if value is dataclasses.MISSING:
            lines.append(f"{pad}# {field.name}:    (required)")
        elif dataclasses.is_dataclass(value):
            lines += [f"{pad}{field.name}:", *_dump_fields(value, depth + 1)]
        else:
            lines.append(f"{pad}{field.name}: {_scalar(_yaml_value(value))}")
        lines.append("")
    return lines


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def _scalar(value: Any) -> str:
    """Format one YAML value on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Return the docstrings below a dataclass's fields by name, including those of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # defined in an interpreter, without source
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for first, second in itertools.pairwise(body):
            if isinstance(first, ast.AnnAssign) and isinstance(first.target, ast.Name):
                match second:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        docs[first.target.id] = " ".join(text.split())
    return docs


def parse(
    cls: type[T],
    argv: Sequence[str],
    *,
    command: str,
    description: str | None = None,
    file: bool = True,
) -> T:
    """Read settings from flags, a file and defaults, in this order of precedence.

    The file is the first argument, if it ends in ``.yaml`` or ``.yml``, or follows ``--config``.
    tyro prints help and errors in flags, and raises ``SystemExit``.

    Args:
        cls: a dataclass; its fields become flags (``call_rate`` -> ``--call-rate``, nested
            ``optim.lr`` -> ``--optim.lr``), their docstrings the help.
        argv: the arguments after the command.
        command: the command, for help and errors: ``lacy COMMAND``.
        description: the text on top of the help; by default the class's docstring.
        file: False if the command takes no settings file, so that ``.yaml`` is an ordinary
            argument.

    Raises:
        LacyError: the problems of the file, as in ``load``; E12, a flag's value is none of its
            choices.
        SystemExit: help was requested (0) or a flag is wrong (2).
    """
    import tyro

    tyro._experimental_options["ansi_codes"] = _use_colours()
    path, rest = _take_file(argv, command) if file else (None, list(argv))
    settings: dict[str, Any] = {
        "args": rest,
        "prog": f"lacy {command}",
        "description": description or inspect.getdoc(cls),
        "config": (tyro.conf.AvoidSubcommands,),
    }
    if path is not None:
        data, lines = read_yaml(path)
        values = _read_checked(cls, data, str(path), lines, command)
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            flag = f"--{field.name.replace('_', '-')}"
            if field.metadata.get(REPEATED) and any(a.split("=")[0] == flag for a in rest):
                values.pop(field.name, None)  # flags replace the file's list, they do not extend it
        settings["default"] = _partial(cls, values, tyro.MISSING)
    _check_choices(cls, rest, command)
    config: T = tyro.cli(cls, **settings)
    return config


def _check_choices(cls: type, argv: Sequence[str], command: str) -> None:
    """Raise an error with a suggestion for a mistyped choice; tyro suggests only flags."""
    flags = {f"--{name.replace('_', '-')}": words for name, words in _flag_choices(cls, "")}
    for place, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        words = flags.get(flag.replace("_", "-"), [])
        if not equals and place + 1 < len(argv):
            value = argv[place + 1]
        if words and value not in words and (hint := did_you_mean(value, words)):
            why = f"expected one of: {', '.join(words)}{hint}"
            do = f"see all settings with: lacy help config {command}"
            raise LacyError("E12", key=flag, value=value, why=why, do=do)


def _flag_choices(cls: type, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the flags of a dataclass that have choices, by dotted name."""
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        # tyro.conf.arg(name="") drops the name of a nested dataclass from its flags.
        unnamed = any(getattr(extra, "name", None) == "" for extra in typing.get_args(hint)[1:])
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if dataclasses.is_dataclass(inner):
            yield from _flag_choices(inner, prefix if unnamed else f"{prefix}{name}.")  # type: ignore[arg-type]
        elif words := choices(inner):
            yield prefix + name, words


def _use_colours() -> bool:
    """True if help and errors may have colours: on a terminal, unless NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() and sys.stderr.isatty()  # tyro writes its errors to stderr


def _partial(cls: type[T], values: dict[str, Any], missing: Any) -> T:
    """Build an instance without its constructor, so that required fields may still be missing."""
    config = object.__new__(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = values.get(field.name, _default_of(field))
        if isinstance(value, Nested):
            value = _partial(value.cls, value.values, missing)
        elif value is dataclasses.MISSING:
            value = missing
        object.__setattr__(config, field.name, value)
    return config


def _take_file(argv: Sequence[str], command: str) -> tuple[str | None, list[str]]:
    """Split the settings file from the flags."""
    rest = list(argv)
    if rest and not rest[0].startswith("-") and rest[0].endswith((".yaml", ".yml")):
        return rest[0], rest[1:]
    for place, argument in enumerate(rest):
        if argument == "--config":
            if place + 1 == len(rest):
                do = f"lacy {command} --config FILE.yaml"
                raise LacyError("E12", key="--config", value=None, why="no file follows it", do=do)
            return rest[place + 1], rest[:place] + rest[place + 2 :]
        if argument.startswith("--config="):
            return argument.partition("=")[2], rest[:place] + rest[place + 1 :]
    return None, rest
