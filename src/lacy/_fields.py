"""Inspect the fields of a settings dataclass: their docstrings, groups and marks.

A field's docstring is the string literal below it. A comment line ``# [Schedule]`` begins a group
that extends to the next such comment. ``Rare[int]`` and the other types below mark fields for the
command line; type checkers see the plain types.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import itertools
import re
import textwrap
import typing
from typing import Annotated, Any, TypeVar

T = TypeVar("T")


class FieldMark(enum.Enum):
    """How the command line turns a field into a flag."""

    RARE = "shown only by --help-all"
    POSITIONAL = "an argument without a flag"
    REPEATED = "a flag that may be given several times; in a file, one value may stand alone"
    INLINE = "a nested dataclass whose flags have no prefix"


Rare = Annotated[T, FieldMark.RARE]
Positional = Annotated[T, FieldMark.POSITIONAL]
Repeated = Annotated[list[str], FieldMark.REPEATED]
Inline = Annotated[T, FieldMark.INLINE]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a settings dataclass; ``default`` is ``dataclasses.MISSING`` if required."""

    name: str
    type: Any
    default: Any
    doc: str
    group: str
    marks: frozenset[FieldMark]

    @property
    def required(self) -> bool:
        """True if the field has no default."""
        return self.default is dataclasses.MISSING

    @property
    def nested(self) -> bool:
        """True if the field holds a dataclass of settings."""
        return dataclasses.is_dataclass(self.type)


@functools.cache
def settings_of(cls: type) -> tuple[Setting, ...]:
    """Return the fields of a dataclass that its constructor accepts."""
    hints = typing.get_type_hints(cls, include_extras=True)
    docs = _docs_and_groups(cls)
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        hint, marks = hints[field.name], []
        while typing.get_origin(hint) is Annotated:
            hint, *extras = typing.get_args(hint)
            marks += [extra for extra in extras if isinstance(extra, FieldMark)]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        doc, group = docs.get(field.name, ("", ""))
        found.append(Setting(field.name, hint, default, doc, group, frozenset(marks)))
    return tuple(found)


def field_docs(cls: type) -> dict[str, str]:
    """Return the docstrings below a dataclass's fields by name, including those of its bases."""
    return {name: doc for name, (doc, _) in _docs_and_groups(cls).items() if doc}


def _docs_and_groups(cls: type) -> dict[str, tuple[str, str]]:
    """Return the docstring and the group of each field whose source is available."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # no source, because it was defined interactively
            continue
        headings = {
            number: match[1]
            for number, line in enumerate(source.splitlines(), 1)
            if (match := re.fullmatch(r"\s+# \[(.+)\]", line))
        }
        body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
        for node, after in itertools.zip_longest(body, body[1:]):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                doc, group = "", ""
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        doc = " ".join(text.split())
                for line, heading in headings.items():
                    group = heading if line < node.lineno else group
                found[node.target.id] = (doc, group)
    return found
