"""Read lines from standard input; print notes, tables and reports."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from lacy._text import format_value
from lacy.errors import LacyError, one_line, sanitized

if TYPE_CHECKING:
    from lacy.corpus import ReadReport

PLACES = 3
"""Number of places that are listed for each reason why texts were skipped."""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """A context that turns a missing package into an error that says what to install.

    Args:
        extra: the optional extra that the package belongs to.
        what: what needs the extra.

    Raises:
        LacyError: E11, a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lacy"):
            raise
        raise LacyError("E11", extra_for=what, package=error.name, extra=extra) from error


def input_lines() -> Iterator[str]:
    """Yield the lines of standard input, without empty ones.

    Input with a UTF-16 byte order mark is read as UTF-16. All other input is read as UTF-8 or, from
    a terminal or with PYTHONIOENCODING, in the encoding that is set. Invalid bytes become U+FFFD.

    Raises:
        LacyError: E151, the input contains zero bytes, so it is UTF-16 without a byte order mark or
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
    """Return UTF-16 if the input begins with its byte order mark, else UTF-8 or what is set."""
    if stream.isatty() or os.environ.get("PYTHONIOENCODING"):
        return stream.encoding
    peek = getattr(stream.buffer, "peek", None)  # missing if Python runs unbuffered
    first = peek(2)[:2] if peek is not None else b""
    return "utf-16" if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def as_text(word: str) -> str:
    """Return a command-line argument as text; bytes that are not UTF-8 become U+FFFD."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def note(sentence: str) -> None:
    """Print a note on standard error, wrapped at words if that is a terminal."""
    if sys.stderr.isatty():
        import shutil
        import textwrap

        width = shutil.get_terminal_size().columns
        sentence = textwrap.fill(sentence, width, break_long_words=False, break_on_hyphens=False)
    print(sentence, file=sys.stderr)


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line without control characters; use this for lines with untrusted text."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    print(f"{indent}{one_line(line)}", file=file or sys.stdout)


def table(title: str, rows: Sequence[Sequence[Any]], columns: Sequence[str] = ("", "")) -> None:
    """Print a table; of more than two columns, all but the first are right-aligned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(show_header=any(columns), box=None)
    for place, column in enumerate(columns):
        shown.add_column(column, justify="left" if place == 0 or len(columns) == 2 else "right")
    for row in rows:
        shown.add_row(*(Text(sanitized(format_value(cell))) for cell in row))
    console = Console()
    console.print(Text(one_line(title), style="bold"), soft_wrap=True)
    console.print(shown)


def facts(title: str, values: Mapping[str, Any]) -> None:
    """Print a table of names with their values."""
    table(title, list(values.items()))


def print_report(report: ReadReport, out: TextIO | None = None) -> None:
    """Print which texts were skipped, and where; by default on standard error."""
    out = out or sys.stderr
    for sentence, places in report.lines():
        say(sentence, out)
        if sentence.endswith("x wrong encoding"):
            say("  to read them, give their encoding: --encoding windows-1251, shift_jis ...", out)
        for place in places[:PLACES]:
            say(f"  {place}", out)
