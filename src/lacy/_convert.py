"""Convert YAML values to typed Python values; errors say what was expected.

``lacy.config`` builds on this module; nothing here reads files or flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lacy._fields import FieldMark, settings_of
from lacy._text import closest, did_you_mean
from lacy.errors import LacyError

T = TypeVar("T")

_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a setting: an unknown key (then ``expected`` is "") or an invalid value."""

    key: str
    value: Any = None
    expected: str = ""
    hint: str = ""
    place: str = ""


class Mismatch(Exception):
    """Raised when a value does not have the type ``expected``; ``note`` is additional advice."""

    def __init__(self, expected: Any, note: str = "") -> None:
        super().__init__(describe(expected) + note)
        self.note = note


QUOTE_NOTE = "; write names that look like numbers, true, false or null in quotes"
"""Advice if text is expected but YAML parsed something else."""


def read_fields(cls: type, data: Any, prefix: str, problems: list[Problem]) -> dict[str, Any]:
    """Convert a mapping to constructor arguments of ``cls``; append problems to ``problems``."""
    known = {setting.name: setting for setting in settings_of(cls)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        dotted = f"{prefix}{key}"
        if key not in known:
            near = closest(str(key).replace("-", "_"), known)
            hint = f"; did you mean {prefix + near!r}?" if near else ""
            problems.append(Problem(dotted, hint=hint))
        elif known[key].nested and isinstance(value, Mapping):
            inner = read_fields(known[key].type, value, dotted + ".", problems)
            values[key] = Nested(known[key].type, inner)
        elif (each := _settings_by_name(known[key].type)) and isinstance(value, Mapping):
            values[key] = {}
            for name, entry in value.items():
                if not isinstance(entry, Mapping):
                    problems.append(Problem(f"{dotted}.{name}", entry, describe(each)))
                    continue
                inner = read_fields(each, entry, f"{dotted}.{name}.", problems)
                values[key][str(name)] = Nested(each, inner)
        else:
            try:
                if FieldMark.REPEATED in known[key].marks and not isinstance(value, list | tuple):
                    value = [] if value is None else [value]
                values[key] = convert(value, known[key].type)
            except Mismatch as mismatch:
                problems.append(Problem(dotted, value, str(mismatch)))
    return values


def _settings_by_name(hint: Any) -> Any:
    """Return the value type of a ``dict`` of dataclasses by name; None for any other type hint."""
    args = typing.get_args(hint) if typing.get_origin(hint) in (dict, Mapping) else ()
    return args[1] if len(args) == 2 and dataclasses.is_dataclass(args[1]) else None


@dataclasses.dataclass(slots=True)
class Nested:
    """Arguments of a nested dataclass, which is built later."""

    cls: Any
    values: dict[str, Any]


def build(cls: type[T], values: dict[str, Any], where: str, command: str) -> T:
    """Create an instance of a dataclass from its arguments.

    Raises:
        LacyError: E12, a required field has no value.
    """
    if missing := [name for name in required(cls) if name not in values]:
        why = f"it has no default and {where} does not set it"
        do = f"set {', '.join(missing)}; see: lacy help config {command}"
        raise LacyError("E12", key=missing[0], value=None, why=why, do=do)

    def built(value: Any) -> Any:
        if isinstance(value, Nested):
            return build(value.cls, value.values, where, command)
        if isinstance(value, dict):
            return {name: built(one) for name, one in value.items()}
        return value

    return cls(**{name: built(value) for name, value in values.items()})


def required(cls: type) -> list[str]:
    """Return the names of the fields without a default."""
    return [setting.name for setting in settings_of(cls) if setting.required]


def choices(hint: Any) -> list[str]:
    """Return the words that a type allows (``Literal``, ``Enum``, or an optional one), else []."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return choices(args[0])
    if origin is typing.Literal and all(isinstance(choice, str) for choice in args):
        return list(args)
    if origin in (typing.Union, types.UnionType):
        members = [arg for arg in args if arg is not type(None)]
        return [*choices(members[0]), "None"] if len(members) == 1 and choices(members[0]) else []
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint.__members__)
    return []


def convert(value: Any, hint: Any) -> Any:
    """Convert a YAML value to a type.

    YAML 1.2 reads ``1e-3`` and ``on`` as text; they are converted if a number or boolean is
    expected. A boolean is never accepted as a number, nor a number as text.

    Raises:
        Mismatch: the value does not have this type.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return convert(value, args[0])
    if origin is typing.Literal:
        for choice in args:
            if value == choice and type(value) is type(choice):
                return choice
    elif origin in (typing.Union, types.UnionType):
        return _convert_union(value, hint)
    elif origin in (list, tuple, Sequence) or hint in (list, tuple):
        return _convert_sequence(value, hint, tuple if tuple in (origin, hint) else list)
    elif origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            key_hint, value_hint = args or (Any, Any)
            with contextlib.suppress(Mismatch):
                return {convert(k, key_hint): convert(v, value_hint) for k, v in value.items()}
    elif dataclasses.is_dataclass(hint):
        return _convert_dataclass(value, hint)
    elif isinstance(hint, type):
        return _convert_scalar(value, hint)
    raise Mismatch(hint, did_you_mean(value, choices(hint)) if isinstance(value, str) else "")


def _convert_scalar(value: Any, hint: type) -> Any:
    """Convert to a scalar type or an enum."""
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    if issubclass(hint, enum.Enum):
        if isinstance(value, str) and value in hint.__members__:
            return hint[value]
        raise Mismatch(hint, did_you_mean(value, hint.__members__) if type(value) is str else "")
    if hint is bool and isinstance(value, str):
        # YAML 1.2 reads these as text.
        switch = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
        if value.lower() in switch:
            return switch[value.lower()]
    elif hint in (int, float) and isinstance(value, int | float | str):
        number = None
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)  # accepts text such as 1e-3 or inf
        if number is not None and not isinstance(value, bool):
            if hint is float:
                return number
            if number.is_integer():
                return int(number)
    elif issubclass(hint, Path) and isinstance(value, str):
        return hint(value)
    raise Mismatch(hint, QUOTE_NOTE if hint is str else "")


def _convert_union(value: Any, hint: Any) -> Any:
    """Return the value if it has a member's type, else convert it to the first type that fits."""
    members = typing.get_args(hint)
    if any(isinstance(member, type) and type(value) is member for member in members):
        return value
    note = ""
    for member in members:
        try:
            return convert(value, member)
        except Mismatch as mismatch:
            note = note or mismatch.note
    raise Mismatch(hint, note)


def _convert_sequence(value: Any, hint: Any, kind: type) -> Any:
    """Convert the items of a list; text is not accepted as a list of characters."""
    args = typing.get_args(hint)
    fixed = args if kind is tuple and args and args[-1] is not Ellipsis else None
    if not isinstance(value, list | tuple) or (fixed is not None and len(fixed) != len(value)):
        raise Mismatch(hint)
    item_hints = fixed or [args[0] if args else Any] * len(value)
    try:
        return kind(convert(item, each) for item, each in zip(value, item_hints, strict=True))
    except Mismatch as mismatch:
        raise Mismatch(hint, mismatch.note) from None


def _convert_dataclass(value: Any, hint: Any) -> Any:
    """Convert a mapping inside a union or list to its dataclass."""
    if isinstance(value, hint):
        return value
    if not isinstance(value, Mapping):
        raise Mismatch(hint)
    problems: list[Problem] = []
    values = read_fields(hint, value, "", problems)
    if problems:
        raise Mismatch(hint, f"; {problems[0].key!r} does not fit{problems[0].hint}")
    return build(hint, values, "it", command_of(hint))


def describe(hint: Any) -> str:
    """Describe a type in words: ``one of: bpe, unigram``, ``a whole number or null``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin is typing.Literal:
        return "one of: " + ", ".join(str(choice) for choice in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} items"
    if origin in (list, tuple, Sequence) or hint in (list, tuple):
        return f"a list (of {describe(args[0])})" if args else "a list"
    if origin in (dict, Mapping) or hint is dict:
        return f"a mapping (to {describe(args[1])})" if args else "a mapping"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of: " + ", ".join(hint.__members__)
    if dataclasses.is_dataclass(hint):
        return "a mapping of settings (" + ", ".join(f.name for f in dataclasses.fields(hint)) + ")"
    return _TYPE_NAMES.get(hint, str(getattr(hint, "__name__", hint)))


def command_of(cls: type) -> str:
    """Return the command that a settings class belongs to, derived from the class's name."""
    return cls.__name__.removesuffix("Config").lower()


def short_repr(value: Any) -> str:
    """Return the repr of a value, truncated to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
