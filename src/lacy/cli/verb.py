"""What the verbs share: reading their settings with help that ends in an example, and tables."""

from __future__ import annotations

import codecs
import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TextIO, TypeVar

import tyro

from lacy.config import REPEATED, parse
from lacy.errors import LacyError, one_line, sanitized

T = TypeVar("T")

Repeated = Annotated[list[str], tyro.conf.UseAppendAction]
"""A flag that may stand several times, each with one value, in an order that counts."""


REPEATS = {REPEATED: True}
"""Metadata of such a field."""


def settings(cls: type[T], argv: Sequence[str], verb: str, example: str, *, file: bool = True) -> T:
    """Reads a verb's settings from its arguments; ``--help`` ends with an example.

    Args:
        cls: the dataclass of the settings.
        argv: the arguments after the verb.
        verb: for the help's program name; may have two words (``"check marks"``).
        example: one or more lines that can be typed as they stand.
        file: whether settings may stand in a file; False where a ``.yaml`` means something else.
    """
    try:
        return parse(cls, argv, verb=verb, file=file)
    except SystemExit as leaving:
        if not leaving.code:
            label = "Example" if "\n" not in example.strip() else "Examples"
            print(f"{label}:")
            for line in example.strip().splitlines():
                print(f"  {line.strip()}")
        raise


def room(name: str, *, extra: str | None = None, what: str = "") -> Any:
    """Imports a module of lacy; a package it misses is an error that names the line to type.

    Raises:
        LacyError: E11, a package is not installed.
    """
    try:
        return importlib.import_module(f"lacy.{name}")
    except ModuleNotFoundError as error:
        if extra is None or (error.name or "").startswith("lacy"):
            raise
        raise LacyError("E11", extra_for=what, package=error.name, extra=extra) from error


def input_lines() -> Iterator[str]:
    """Yields the lines of the standard input, without empty ones.

    A byte order mark is removed from the first line; it shows whether the input is UTF-16. All
    other input is read as UTF-8 (from a terminal, or with PYTHONIOENCODING, in the encoding that is
    set); invalid bytes become U+FFFD.

    Raises:
        LacyError: E151, the input contains zero bytes: it is UTF-16 without a byte order mark, or
            not text.
    """
    stream: Any = sys.stdin
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=_input_encoding(stream), errors="replace")
    for number, line in enumerate(stream, 1):
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            raise LacyError("E151", line=number)
        if text.strip():
            yield text


def _input_encoding(stream: io.TextIOWrapper) -> str:
    """UTF-16 if the input starts with its byte order mark, else UTF-8 or what the user has set."""
    if stream.isatty() or os.environ.get("PYTHONIOENCODING"):
        return stream.encoding
    peek = getattr(stream.buffer, "peek", None)  # missing if Python runs unbuffered
    first = peek(2)[:2] if peek is not None else b""
    return "utf-16" if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def as_text(word: str) -> str:
    """A word of the command line; bytes that are no UTF-8 become U+FFFD."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def note(sentence: str) -> None:
    """Prints a remark on standard error, wrapped at words if that is a terminal."""
    if sys.stderr.isatty():
        import shutil
        import textwrap

        width = shutil.get_terminal_size().columns
        sentence = textwrap.fill(sentence, width, break_long_words=False, break_on_hyphens=False)
    print(sentence, file=sys.stderr)


def say(line: str, file: TextIO | None = None) -> None:
    """Prints a line that may contain file names or other untrusted text, which it cleans."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    print(f"{indent}{one_line(line)}", file=file or sys.stdout)


def table(title: str, rows: Sequence[Sequence[Any]], columns: Sequence[str] = ("", "")) -> None:
    """Prints a table; the first column is text, the others are aligned right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(show_header=any(columns), box=None)
    for place, column in enumerate(columns):
        shown.add_column(column, justify="left" if place == 0 or len(columns) == 2 else "right")
    for row in rows:
        shown.add_row(*(Text(sanitized(readable(cell))) for cell in row))
    console = Console()
    console.print(Text(one_line(title), style="bold"), soft_wrap=True)
    console.print(shown)


def facts(title: str, values: Mapping[str, Any]) -> None:
    """Prints names with their values."""
    table(title, list(values.items()))


def readable(value: Any) -> str:
    """A value for people: numbers with separators or four significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def choose(verb: str, options: Mapping[str, str], argv: Sequence[str]) -> tuple[str, list[str]]:
    """Splits off the second word of a verb (``lacy check marks``).

    Prints the choices and leaves (0 for help, 2 for a word that is none of them).
    """
    if argv and argv[0] in options:
        return argv[0], list(argv[1:])
    asked = not argv or argv[0] in ("-h", "--help")
    out = sys.stdout if asked else sys.stderr
    if not asked:
        import difflib

        close = difflib.get_close_matches(argv[0], options, 1, 0.5)
        hint = f" Did you mean: lacy {verb} {close[0]}" if close else ""
        say(f"There is no `lacy {verb} {argv[0]}`.{hint}", file=out)
    print(f"usage: lacy {verb} WHAT ...", file=out)
    for option, purpose in options.items():
        print(f"  {option:<10}{purpose}", file=out)
    raise SystemExit(0 if asked else 2)
