"""Settings: one dataclass is the Python object, the YAML file and the command-line flags.

A setting is a dataclass field with a type, a default and a docstring (a string literal below it).
From that come the commented file (``dump_commented``), reading a file with all its problems
reported at once (``load``), and the flags with their help (``parse``, through tyro, which is
imported only there). Precedence: field default < file < flag.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lacy._convert import (
    REPEATED,
    Nested,
    Problem,
    construct,
    describe,
    fields_from,
    is_dataclass,
    show,
    verb_of,
)
from lacy._parse import MOST_CHARACTERS, parse_yaml
from lacy.errors import LacyError

T = TypeVar("T")


# ---------------------------------------------------------------------------------- reading


def load(
    cls: type[T],
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    verb: str | None = None,
) -> T:
    """Makes a ``cls`` from its defaults, then a YAML file, then ``overrides``.

    Args:
        cls: a dataclass.
        path: a YAML file with some or all of the fields; ``None`` reads no file.
        overrides: values by name; nested ones by dotted name (``{"optim.lr": 1e-3}``).
        verb: named in the advice ``lacy help config VERB``; by default from the class's name.

    Raises:
        LacyError: E13 no such file, E15 not YAML, E10 an unknown key, E12 a bad or missing
            value, E14 several problems (all are listed).
    """
    verb = verb or verb_of(cls)
    data, lines = read_yaml(path) if path is not None else ({}, {})
    problems: list[Problem] = []
    where = str(path) if path is not None else f"the settings of {verb}"
    for dotted, value in (overrides or {}).items():
        _put(data, dotted, value)
    values = fields_from(cls, data, "", problems)
    _report(problems, where, lines, verb)
    return construct(cls, values, where, verb)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Reads a YAML mapping and the line of each dotted key.

    Raises:
        LacyError: E13 no such file, E15 not a readable YAML mapping, or one key twice.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)  # it may be an endless device
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
        raise LacyError("E15", path=path, why=f"it holds {show(data)}, not `key: value` lines")
    lines: dict[str, int] = {}
    _lines_of(node, "", lines, path)
    return data, lines


def _lines_of(node: Any, prefix: str, lines: dict[str, int], path: Path) -> None:
    """Fills ``lines`` with the line of every key; a key that stands twice is an error."""
    if not hasattr(node, "value") or not isinstance(node.value, list):
        return
    for pair in node.value:
        if not isinstance(pair, tuple):
            continue
        key = f"{prefix}{pair[0].value}"
        line = pair[0].start_mark.line + 1
        if key in lines:
            why = f"{key!r} stands in line {lines[key]} and again in line {line}"
            raise LacyError("E15", path=path, why=why)
        lines[key] = line
        _lines_of(pair[1], key + ".", lines, path)


def _put(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets a nested value by its dotted name."""
    *parents, last = dotted.split(".")
    for name in parents:
        child = data.get(name)
        data[name] = child = dict(child) if isinstance(child, Mapping) else {}
        data = child
    data[last] = value


def _report(problems: list[Problem], where: str, lines: Mapping[str, int], verb: str) -> None:
    """Raises one error for all problems; does nothing for none."""
    if not problems:
        return
    sentences = []
    for problem in problems:
        line = f" (line {lines[problem.key]})" if problem.key in lines else ""
        if problem.expected:
            what = f"{problem.key} is {show(problem.value)}, expected {problem.expected}{line}"
        else:
            what = f"unknown setting {problem.key!r}{line}{problem.hint}"
        sentences.append(what)
    first = problems[0]
    line = f", line {lines[first.key]}" if first.key in lines else ""
    if len(problems) > 1:
        listed = "".join(f"\n  - {sentence}" for sentence in sentences)
        raise LacyError("E14", count=len(problems), where=where, problems=listed, verb=verb)
    if not first.expected:
        raise LacyError("E10", key=first.key, where=where + line, hint=first.hint, verb=verb)
    why = f"expected {first.expected} ({where}{line})"
    do = f"see the setting: lacy help config {verb}"
    raise LacyError("E12", key=first.key, value=first.value, why=why, do=do)


# ----------------------------------------------------------------------------------- writing


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain YAML values: paths as text, enums by name, tuples as lists."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def dump_commented(config: Any) -> str:
    """Writes settings as YAML, each with its docstring, choices and default as comment.

    Args:
        config: a dataclass (its defaults are written; a required field stands as a comment
            to fill in) or an instance of one.

    Returns:
        Text that ``load`` reads back to an equal object.
    """
    cls = config if isinstance(config, type) else type(config)
    head = textwrap.wrap((inspect.getdoc(cls) or "").split("\n\n")[0], 98)
    lines = [f"# {line}" for line in head if not line.startswith(cls.__name__ + "(")]
    return "\n".join([*lines, "", *_dump_fields(config, 0)]).lstrip("\n").rstrip() + "\n"


def _dump_fields(config: Any, depth: int) -> list[str]:
    """The lines of one level."""
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
        if "one of: " in (choices := describe(hints[field.name])):
            notes.append(choices[0].upper() + choices[1:] + ".")
        if value != default and default is not dataclasses.MISSING and not is_dataclass(value):
            notes.append(f"Default: {_scalar(_plain(default))}.")
        text = " ".join(note for note in notes if note)
        lines += [f"{pad}# {line}" for line in textwrap.wrap(text, 98 - len(pad))]
        if value is dataclasses.MISSING:
            lines.append(f"{pad}# {field.name}:    (required)")
        elif is_dataclass(value):
            lines += [f"{pad}{field.name}:", *_dump_fields(value, depth + 1)]
        else:
            lines.append(f"{pad}{field.name}: {_scalar(_plain(value))}")
        lines.append("")
    return lines


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def _scalar(value: Any) -> str:
    """One YAML value on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstrings below the fields of a dataclass, by name, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # made in an interpreter: no source
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for first, second in itertools.pairwise(body):
            if isinstance(first, ast.AnnAssign) and isinstance(first.target, ast.Name):
                text = _string(second)
                if text is not None:
                    docs[first.target.id] = " ".join(text.split())
    return docs


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None


# ------------------------------------------------------------------------------------- flags


def parse(
    cls: type[T],
    argv: Sequence[str],
    *,
    verb: str,
    description: str | None = None,
    file: bool = True,
) -> T:
    """Reads flags over a file over defaults.

    A file is given as the first argument that ends in ``.yaml`` or ``.yml``, or by
    ``--config FILE``. tyro prints help and typing mistakes (with its hints) and leaves by
    ``SystemExit``.

    Args:
        cls: a dataclass; its fields become flags (``call_rate`` -> ``--call-rate``, nested
            ``optim.lr`` -> ``--optim.lr``), their docstrings the help.
        argv: the arguments after the verb.
        verb: names the program in the help: ``lacy VERB``.
        description: the text on top of the help; by default the class's docstring.
        file: whether there may be a file; False where a ``.yaml`` means something else.

    Raises:
        LacyError: the file's problems, as in ``load``.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    import tyro

    tyro._experimental_options["ansi_codes"] = _colours()
    path, rest = _take_file(argv, verb) if file else (None, list(argv))
    settings: dict[str, Any] = {
        "args": rest,
        "prog": f"lacy {verb}",
        "description": description or inspect.getdoc(cls),
        "config": (tyro.conf.AvoidSubcommands,),
    }
    if path is not None:
        data, lines = read_yaml(path)
        problems: list[Problem] = []
        values = fields_from(cls, data, "", problems)
        _report(problems, str(path), lines, verb)
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            flag = f"--{field.name.replace('_', '-')}"
            if field.metadata.get(REPEATED) and any(a.split("=")[0] == flag for a in rest):
                values.pop(field.name, None)  # flags stand for the file's, they add nothing to it
        settings["default"] = _partial(cls, values, tyro.MISSING)
    config: T = tyro.cli(cls, **settings)
    return config


def _colours() -> bool:
    """Whether help and usage errors may have colours: on a terminal, unless NO_COLOR is set.

    tyro checks only the standard output, but writes errors to standard error.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() and sys.stderr.isatty()


def _partial(cls: type[T], values: dict[str, Any], missing: Any) -> T:
    """An instance made without its constructor, so that a required field may still be missing."""
    config = object.__new__(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = values.get(field.name, _default_of(field))
        if isinstance(value, Nested):
            value = _partial(value.cls, value.values, missing)
        elif value is dataclasses.MISSING:
            value = missing
        object.__setattr__(config, field.name, value)
    return config


def _take_file(argv: Sequence[str], verb: str) -> tuple[str | None, list[str]]:
    """Splits the settings file from the flags."""
    rest = list(argv)
    if rest and not rest[0].startswith("-") and rest[0].endswith((".yaml", ".yml")):
        return rest[0], rest[1:]
    for place, argument in enumerate(rest):
        if argument == "--config":
            if place + 1 == len(rest):
                do = f"lacy {verb} --config FILE.yaml"
                raise LacyError("E12", key="--config", value=None, why="no file follows", do=do)
            return rest[place + 1], rest[:place] + rest[place + 2 :]
        if argument.startswith("--config="):
            return argument.partition("=")[2], rest[:place] + rest[place + 1 :]
    return None, rest
