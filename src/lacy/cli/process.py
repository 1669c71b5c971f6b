"""What a verb has from its process: streams that may be closed or narrow, signals that end it.

Imported at each start, so it needs nothing but ``os`` and ``sys``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing itself costs milliseconds
if TYPE_CHECKING:
    from typing import Any

NARROWEST = 20
"""Columns of a terminal; a smaller COLUMNS is not believed."""

STOPPED, CLOSED = 130, 141
"""Exit codes: a signal ended the verb (as after Ctrl-C); the reader of its output is gone."""


def prepare_streams() -> None:
    """Makes the standard streams safe to use, whatever they are connected to.

    A closed one becomes the null device: otherwise the next file that is opened would take its
    number, and messages would end up in it. What the encoding of an output cannot hold is shown as
    a question mark.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, _null(number, mode))
    columns = os.environ.get("COLUMNS", "")
    if columns and not (columns.isdecimal() and int(columns) >= NARROWEST):
        del os.environ["COLUMNS"]  # texts would be cut away, and help would never end
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            _reconfigure(stream, errors="replace")


def _null(number: int, mode: str) -> Any:
    """The null device as a standard stream, under the stream's own number if that is free."""
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
    """Whether a standard output is a pipe that nobody reads any more.

    A ``BrokenPipeError`` may also come from the connection of a source.
    """
    import select

    if not hasattr(select, "poll"):  # Windows
        return True
    look = select.poll()
    for stream in (sys.stdout, sys.stderr):
        try:
            look.register(stream.fileno(), 0)  # errors are told without being asked for
        except (OSError, ValueError):
            continue
    return any(found & select.POLLERR for _, found in look.poll(0))


def lost_output() -> int:
    """Writes out what is still buffered; 0, or the exit code if it could not be written."""
    lost = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            lost = max(lost, unwritten(error))
        except ValueError:  # the verb closed it
            continue
    return lost


def unwritten(error: OSError) -> int:
    """What to do when an output cannot be written.

    Returns:
        The exit code: 141 where the reader has gone away (``lacy explain | head``), and nothing is
        said; 2 for a full disk, which is said on standard error.
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
    """Sends what a stream cannot write to the null device, as Python flushes it again at exit."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except ValueError:
        return


class Signals:
    """Within this block SIGTERM and SIGHUP end a verb as Ctrl-C does: cleaning up, exit code 130.

    One that is ignored (``nohup``) stays ignored. A verb may set its own handlers inside (training
    saves first, the server lets its texts end).
    """

    def __enter__(self) -> None:
        """Sets the handlers; only the main thread can."""
        import signal
        import threading

        self._before: list[tuple[Any, Any]] = []
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                self._before.append((number, signal.signal(number, _stop)))

    def __exit__(self, *_: object) -> None:
        """Puts the handlers back."""
        import signal

        for number, handler in self._before:
            signal.signal(number, handler)


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
