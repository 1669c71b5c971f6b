"""Handle closed or limited standard streams, and signals that end a command.

This module is imported at every start, so it imports only ``os`` and ``sys`` itself.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would cost milliseconds
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

NARROWEST = 20
"""Minimum plausible width of a terminal; if COLUMNS is smaller, it is ignored."""

STOPPED, CLOSED = 130, 141
"""Exit codes: ended by Ctrl-C or another signal; the reader of the output is gone."""


def prepare_streams() -> None:
    """Make the standard streams safe to use, whatever they are connected to.

    A closed stream is replaced by the null device. Otherwise the next opened file would get its
    file descriptor, and messages would be written into that file. Characters that an output's
    encoding does not have are shown as question marks.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, _null(number, mode))
    columns = os.environ.get("COLUMNS", "")
    if columns and not (columns.isdecimal() and int(columns) >= NARROWEST):
        del os.environ["COLUMNS"]  # with such a width, rich would cut texts off
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            _reconfigure(stream, errors="replace")


def _null(number: int, mode: str) -> Any:
    """Open the null device as a standard stream, under the stream's own descriptor if possible."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(null, number)
    if null > 2:
        os.close(null)
    return open(number if number <= 2 else null, mode, encoding="utf-8", closefd=False)


def _reconfigure(stream: Any, **options: Any) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(**options)


def reader_gone() -> bool:
    """True if stdout or stderr is a pipe whose reader is gone.

    A ``BrokenPipeError`` alone does not tell, as it may also come from a source's connection.
    """
    import select

    if not hasattr(select, "poll"):  # Windows
        return True
    poller = select.poll()
    for stream in (sys.stdout, sys.stderr):
        try:
            poller.register(stream.fileno(), 0)  # poll always reports errors
        except (OSError, ValueError):
            continue
    return any(events & select.POLLERR for _, events in poller.poll(0))


def lost_output() -> int:
    """Flush the outputs; return 0 or, if that fails, the exit code."""
    lost = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            lost = max(lost, unwritten(error))
        except ValueError:  # the command closed it
            continue
    return lost


def unwritten(error: OSError) -> int:
    """Handle an output that cannot be written.

    Returns:
        The exit code: 141 without a message if the reader is gone (as with ``head``); 2 with a
        message on standard error in other cases, such as a full disk.
    """
    if not isinstance(error, BrokenPipeError):
        from lacy.errors import LacyError

        with_reason = LacyError("E19", path="the output", why=error.strerror)
        try:
            print(str(with_reason), file=sys.stderr)
            sys.stderr.flush()
        except OSError:
            error = BrokenPipeError()
    for stream in (sys.stdout, sys.stderr):
        _silence_if_stuck(stream)
    return CLOSED if isinstance(error, BrokenPipeError) else 2


def _silence_if_stuck(stream: Any) -> None:
    """Redirect a stream to the null device if it cannot be flushed, as Python would try at exit."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except ValueError:
        return


def end_on_signals() -> AbstractContextManager[None]:
    """Return a context in which SIGTERM and SIGHUP end a command as Ctrl-C does: exit code 130.

    Ignored signals (``nohup``) stay ignored. A command may set its own handlers inside: training
    saves a checkpoint first, the server lets running texts finish.
    """
    import signal

    from lacy._signals import handle_signals

    return handle_signals(
        ("SIGTERM", "SIGHUP"), _stop, replaceable=lambda _, before: before is signal.SIG_DFL
    )


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
