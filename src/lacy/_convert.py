"""YAML values to typed Python values, with what was expected where one does not fit.

The lower half of ``lacy.config``; nothing here reads files or knows of flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lacy.errors import LacyError

T = TypeVar("T")

_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a setting: an unknown key (``expected`` empty) or a bad value."""

    key: str
    value: Any = None
    expected: str = ""
    hint: str = ""
    place: str = ""


class Mismatch(Exception):
    """The value does not have the type; the message says what was expected."""


IN_QUOTES = "; write names that look like numbers, true, false or null in quotes"
"""Where text is expected and YAML read something else."""

REPEATED = "repeated"
"""In a field's metadata: its flag may stand several times; in a file one value may stand alone."""


def fields_from(cls: type, data: Any, prefix: str, problems: list[Problem]) -> dict[str, Any]:
    """Converts a mapping to constructor arguments of ``cls``, collecting problems."""
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        dotted = f"{prefix}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key).replace("-", "_"), known, 1, 0.6)
            hint = f"; did you mean {prefix + close[0]!r}?" if close else ""
            problems.append(Problem(dotted, hint=hint))
        elif is_dataclass(hints[key]) and isinstance(value, Mapping):
            inner = fields_from(hints[key], value, dotted + ".", problems)
            values[key] = Nested(hints[key], inner)
        else:
            try:
                if known[key].metadata.get(REPEATED) and not isinstance(value, list | tuple):
                    value = [] if value is None else [value]
                values[key] = convert(value, hints[key])
            except Mismatch as mismatch:
                problems.append(Problem(dotted, value, str(mismatch)))
    return values


@dataclasses.dataclass(slots=True)
class Nested:
    """A nested dataclass whose arguments are known but which is not built yet."""

    cls: type
    values: dict[str, Any]


def construct(cls: type[T], values: dict[str, Any], where: str, verb: str) -> T:
    """Builds the dataclass; a required field that nobody gave is a named error."""
    missing = [name for name in required(cls) if name not in values]
    if missing:
        key = missing[0]
        raise LacyError(
            "E12",
            key=key,
            value=None,
            why=f"it has no default and {where} does not give it",
            do=f"give {', '.join(missing)}; see: lacy help config {verb}",
        )
    built = {
        name: construct(value.cls, value.values, where, verb)
        if isinstance(value, Nested)
        else value
        for name, value in values.items()
    }
    return cls(**built)


def required(cls: type) -> list[str]:
    """Names of the fields without a default."""
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.init
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]


def convert(value: Any, hint: Any) -> Any:
    """Converts a YAML value to a type.

    YAML reads ``1e-3`` and ``on`` as text; here they are a number and a boolean where these are
    expected. A bool is never a number, and a number never text.

    Raises:
        Mismatch: it does not fit; the message says what was expected.
    """
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return convert(value, typing.get_args(hint)[0])
    if origin is typing.Literal:
        for choice in typing.get_args(hint):
            if value == choice and type(value) is type(choice):
                return choice
    elif origin is typing.Union or origin is types.UnionType:
        return _convert_union(value, hint)
    elif origin in (list, tuple, Sequence) or hint in (list, tuple):
        return _convert_sequence(value, hint, tuple if origin is tuple or hint is tuple else list)
    elif origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            key_hint, value_hint = typing.get_args(hint) or (Any, Any)
            with contextlib.suppress(Mismatch):
                return {convert(k, key_hint): convert(v, value_hint) for k, v in value.items()}
    elif is_dataclass(hint):
        return _convert_dataclass(value, hint)
    elif isinstance(hint, type):
        return _convert_plain(value, hint)
    raise Mismatch(describe(hint))


def _convert_plain(value: Any, hint: type) -> Any:
    """Converts to one of the plain types or an enum."""
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    if issubclass(hint, enum.Enum):
        if isinstance(value, str) and value in hint.__members__:
            return hint[value]
    elif hint is bool and isinstance(value, str):
        return _switch(value)
    elif hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        return _number(value, hint)
    elif hint is int and isinstance(value, float | str):
        number = _number(value, hint)
        if number.is_integer():
            return int(number)
    elif issubclass(hint, Path) and isinstance(value, str):
        return hint(value)
    raise Mismatch(describe(hint) + (IN_QUOTES if hint is str else ""))


def _switch(word: str) -> bool:
    """Reads a boolean that YAML 1.2 takes for a word (``yes``, ``off``)."""
    for value, words in ((True, ("yes", "on", "y")), (False, ("no", "off", "n"))):
        if word.lower() in words:
            return value
    raise Mismatch(describe(bool))


def _number(value: float | str, hint: type) -> float:
    """Reads a number that YAML may have taken for text (``1e-3``, ``inf``)."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise Mismatch(describe(hint)) from None


def _convert_union(value: Any, hint: Any) -> Any:
    """The first member that takes the value as it is, else the first that can convert it."""
    members = typing.get_args(hint)
    for member in members:
        if isinstance(member, type) and type(value) is member:
            return value
    quotes = ""
    for member in members:
        try:
            return convert(value, member)
        except Mismatch as mismatch:
            quotes = IN_QUOTES if str(mismatch).endswith(IN_QUOTES) else quotes
    raise Mismatch(describe(hint) + quotes)


def _convert_sequence(value: Any, hint: Any, kind: type) -> Any:
    """Converts a list's items; text is not taken for a list of letters."""
    if not isinstance(value, list | tuple):
        raise Mismatch(describe(hint))
    args = typing.get_args(hint)
    items = args if kind is tuple and args and args[-1] is not Ellipsis else None
    if items is not None and len(items) != len(value):
        raise Mismatch(describe(hint))
    try:
        return kind(
            convert(item, items[place] if items else args[0] if args else Any)
            for place, item in enumerate(value)
        )
    except Mismatch as mismatch:
        quotes = IN_QUOTES if str(mismatch).endswith(IN_QUOTES) else ""
        raise Mismatch(describe(hint) + quotes) from None


def _convert_dataclass(value: Any, hint: type) -> Any:
    """Converts a mapping inside a union or list to its dataclass."""
    if isinstance(value, hint):
        return value
    if not isinstance(value, Mapping):
        raise Mismatch(describe(hint))
    problems: list[Problem] = []
    values = fields_from(hint, value, "", problems)
    if problems:
        raise Mismatch(f"{describe(hint)}; {problems[0].key!r} does not fit{problems[0].hint}")
    return construct(hint, values, "it", verb_of(hint))


def describe(hint: Any) -> str:
    """Says a type in words: ``one of: bpe, unigram``, ``a whole number or null``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin is typing.Literal:
        return "one of: " + ", ".join(str(choice) for choice in args)
    if origin is typing.Union or origin is types.UnionType:
        return " or ".join(describe(arg) for arg in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} items"
    if origin in (list, tuple, Sequence) or hint in (list, tuple):
        return f"a list (of {describe(args[0])})" if args else "a list"
    if origin in (dict, Mapping) or hint is dict:
        return f"a mapping (to {describe(args[1])})" if args else "a mapping"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of: " + ", ".join(hint.__members__)
    if is_dataclass(hint):
        return "a mapping of settings (" + ", ".join(f.name for f in dataclasses.fields(hint)) + ")"
    return _NAMES.get(hint, str(getattr(hint, "__name__", hint)))


def is_dataclass(thing: Any) -> bool:
    """Whether it is a dataclass or an instance of one."""
    return dataclasses.is_dataclass(thing)


def verb_of(cls: type) -> str:
    """The verb whose settings a class holds, by its name."""
    return cls.__name__.removesuffix("Config").lower()


def show(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
