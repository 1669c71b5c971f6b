"""Load and write settings; one dataclass defines the Python object, the YAML file and the flags.

A setting is a dataclass field with a type, a default and a docstring (a string literal below it).
``load`` reads a YAML file and reports all problems at once, and ``dump_commented`` writes such a
file. The command line reads flags (``lacy.cli.flags``). Precedence: field default < file < flag.
``lacy/_fields.py`` explains groups and marks of fields.

Supported types: ``int float bool str Path None``, ``Literal``, ``Enum`` (by name), unions of these,
``list[T]``, ``tuple[T, ...]``, ``tuple[A, B]``, ``dict[str, T]`` and nested dataclasses.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lacy._convert import Problem, build, command_of, describe, read_fields, short_repr
from lacy._fields import Inline, Positional, Rare, Repeated, field_docs, settings_of
from lacy._parse import MAX_CHARACTERS, parse_yaml
from lacy.errors import LacyError

__all__ = [
    "Inline", "Positional", "Rare", "Repeated", "dump_commented", "field_docs", "load", "put",
    "read_settings", "read_yaml", "to_dict",
]  # fmt: skip

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
        overrides: values by name; nested settings have dotted names (``{"optim.lr": 1e-3}``).
        command: the command named in error messages; None derives it from the class's name.

    Raises:
        LacyError: E13, no such file; E15, not YAML; E10, an unknown key; E12, an invalid or missing
            value; E14, several problems, which are all listed.
    """
    command = command or command_of(cls)
    data, lines = read_yaml(path) if path is not None else ({}, {})
    where = str(path) if path is not None else f"the settings of {command}"
    for dotted, value in (overrides or {}).items():
        put(data, dotted, value)
    return build(cls, read_settings(cls, data, where, lines, command), where, command)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML mapping; return it with the line number of each dotted key.

    Raises:
        LacyError: E13, no such file; E15, not a readable YAML mapping, or a key is repeated.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(
                MAX_CHARACTERS + 1
            )  # bounded, because the path may be an endless device
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
    """Fill ``lines`` with the line number of every key; raise E15 for a repeated key."""
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


def put(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a nested value by its dotted name."""
    *parents, last = dotted.split(".")
    for name in parents:
        child = data.get(name)
        data[name] = child = dict(child) if isinstance(child, Mapping) else {}
        data = child
    data[last] = value


def read_settings(
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
    """Return settings as YAML, each with a comment about its meaning, choices and default.

    Args:
        config: an instance of a dataclass; or the class itself, to write its defaults and, for
            required fields, comments to fill in.

    Returns:
        Text from which ``load`` creates an equal object.
    """
    cls = config if isinstance(config, type) else type(config)
    head = textwrap.wrap((inspect.getdoc(cls) or "").split("\n\n")[0], 98)
    lines = [f"# {line}" for line in head if not line.startswith(cls.__name__ + "(")]
    return "\n".join([*lines, "", *_dump_fields(config, 0)]).lstrip("\n").rstrip() + "\n"


def _dump_fields(config: Any, depth: int) -> list[str]:
    """Return the lines of one nesting level."""
    pad, group = "  " * depth, ""
    lines: list[str] = []
    settings = settings_of(config if isinstance(config, type) else type(config))
    groups = list(dict.fromkeys(setting.group for setting in settings))
    for setting in sorted(settings, key=lambda setting: groups.index(setting.group)):
        if setting.group != group:
            group = setting.group
            lines += [f"{pad}# ---- {group} ----", ""]
        value = setting.default if isinstance(config, type) else getattr(config, setting.name)
        notes = [setting.doc]
        if "one of: " in (kind := describe(setting.type)):
            notes.append(kind[0].upper() + kind[1:] + ".")
        if value != setting.default and not setting.required and not setting.nested:
            notes.append(f"Default: {_scalar(_yaml_value(setting.default))}.")
        text = " ".join(note for note in notes if note)
        lines += [f"{pad}# {line}" for line in textwrap.wrap(text, 98 - len(pad))]
        if value is dataclasses.MISSING:
            lines.append(f"{pad}# {setting.name}:    (required)")
        elif dataclasses.is_dataclass(value):
            lines += [f"{pad}{setting.name}:", *_dump_fields(value, depth + 1)]
        else:
            lines.append(f"{pad}{setting.name}: {_scalar(_yaml_value(value))}")
        lines.append("")
    return lines


def _scalar(value: Any) -> str:
    """Format one YAML value on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
