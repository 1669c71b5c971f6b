"""Files that need a program to be read (Markdown, HTML, PDF), read in a process of its own.

A file from anywhere may be made, or broken, so that its reader runs for hours or takes all memory.
So it is read by another process, which has limits: after ``SECONDS`` it is ended, above ``MEMORY``
it fails; either costs this one file. The process is started when the first such file is met.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lacy.corpus._files import LARGEST, Complain, Row, Wanted, whole
from lacy.corpus._plain import NOTE

SECONDS = 120.0
"""Longest time for one file."""

MEMORY = 3 << 30
"""Most address space of the reading process in bytes, where the system can limit it."""

LONGEST = 32 << 20
"""Most bytes of text from one file; more is no document."""

_HEAD = 4
"""Bytes in which the length of a message stands."""


class Pages:
    """The reading process, as a context; ``missing`` names packages that it would have needed."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def rows(self, path: Path, kind: str, wanted: Wanted, complain: Complain) -> Iterator[Row]:
        """The file as one row, or a complaint."""
        data = whole(path, complain)
        if data is None:
            return
        what = {"kind": kind, "text_field": wanted.text_field, "codec": wanted.codec}
        answer = self._ask(what, data)
        if package := answer.get("missing"):
            self.missing.append(package)
            why = f"it needs the package {package!r}: pip install 'lacy[documents]'"
            complain("no reader", str(path), why)
        elif problem := answer.get("why"):
            complain(problem[0], str(path), problem[1])
        else:
            row = answer["row"]
            if note := row.pop(NOTE, ""):
                wanted.note(note, str(path), "")
            yield str(path), row

    def _ask(self, what: dict[str, str | None], data: bytes) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            self._stop()
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert process.stdin and process.stdout
        clock = threading.Timer(SECONDS, process.kill)
        clock.start()
        try:
            _send(process.stdin, json.dumps(what).encode())
            _send(process.stdin, data)
            answer = _receive(process.stdout)
        except OSError:  # it ended while it was written to
            answer = None
        finally:
            late = not clock.is_alive()
            clock.cancel()
        if answer is not None:
            found: dict[str, Any] = json.loads(answer)
            return found
        self._stop()
        detail = f"not read within {SECONDS:g} s" if late else "the process that read it ended"
        return {"why": ("unreadable file", detail)}

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        assert process.stdin and process.stdout
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(_HEAD, "big") + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        return None
    size = int.from_bytes(head, "big")
    data = stream.read(size)
    return data if len(data) == size else None


def _limit() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _answer(what: dict[str, Any], data: bytes) -> dict[str, Any]:
    from lacy.corpus.read_formats import Unreadable, fields

    try:
        row = dict(fields(what["kind"], data, what["text_field"], what["codec"]))
        if len(row[what["text_field"]]) > LONGEST:
            return {"why": ("text too long", f"more than {LONGEST >> 20} million characters")}
        return {"row": row}
    except Unreadable as error:
        return {"why": error.args}
    except ModuleNotFoundError as error:
        return {"missing": (error.name or "").split(".")[0]}
    except ImportError as error:  # installed, but a part of it is not
        return {"why": ("no reader", f"{type(error).__name__}: {str(error).splitlines()[0]}")}
    except MemoryError:
        return {"why": ("unreadable file", f"it needs more than {MEMORY >> 30} GiB of memory")}
    except Exception as error:  # its reader may fail in any way
        line = (str(error).splitlines() or [""])[0]
        return {"why": ("unreadable file", f"{type(error).__name__}: {line}"[:200])}


def main() -> None:
    """Reads files until nobody sends any."""
    _limit()
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not stand between answers
    while (what := _receive(sys.stdin.buffer)) is not None:
        data = _receive(sys.stdin.buffer)
        if data is None:
            break
        assert len(data) <= LARGEST
        _send(out, json.dumps(_answer(json.loads(what), data)).encode())


if __name__ == "__main__":
    main()
