"""Read Markdown, HTML and PDF in a separate process with limits.

A malicious or damaged file may make a parser run for hours or use all memory. The process is
killed after ``TIMEOUT`` and fails above ``MAX_MEMORY``; in both cases only this file is skipped.
It starts when the first such file is read.
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

from lacy.corpus.files import MAX_BYTES, PlacedRow, ReadOptions, Skip, Unreadable, read_whole

SUFFIXES = {
    ".md": "markdown", ".markdown": "markdown", ".mdown": "markdown", ".mkd": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
}  # fmt: skip
"""Format by file suffix."""

NOTE = "\0note"
"""Key under which a row carries a remark; no field of a file can have this name."""

TIMEOUT = 120.0
"""Time limit for one file in seconds."""

MAX_MEMORY = 3 << 30
"""Limit of the process's address space in bytes, if the system supports it."""

MAX_TEXT = 32 << 20
"""Maximum number of characters of text from one file; anything longer is not a document."""

_HEAD = 4
"""Number of bytes that encode a message's length."""


class ReaderProcess:
    """Context manager for the reader process; ``missing`` collects packages it could not import."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def rows(self, path: Path, kind: str, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
        """Yield the file as one row, or call ``skip`` with the reason why it cannot be read."""
        data = read_whole(path, skip)
        if data is None:
            return
        request = {"kind": kind, "text_field": options.text_field, "codec": options.codec}
        answer = self._ask(request, data)
        if package := answer.get("missing"):
            self.missing.append(package)
            why = f"it needs the package {package!r}: pip install 'lacy[documents]'"
            skip("no reader", str(path), why)
        elif problem := answer.get("why"):
            skip(problem[0], str(path), problem[1])
        else:
            row = answer["row"]
            if note := row.pop(NOTE, ""):
                options.note(note, str(path), "")
            yield str(path), row

    def _ask(self, request: dict[str, str | None], data: bytes) -> dict[str, Any]:
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
        clock = threading.Timer(TIMEOUT, process.kill)
        clock.start()
        try:
            _send(process.stdin, json.dumps(request).encode())
            _send(process.stdin, data)
            answer = _receive(process.stdout)
        except OSError:  # the process died while we were writing
            answer = None
        finally:
            late = not clock.is_alive()
            clock.cancel()
        if answer is not None:
            found: dict[str, Any] = json.loads(answer)
            return found
        self._stop()
        detail = f"not read within {TIMEOUT:g} s" if late else "the process that read it ended"
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

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def _answer(request: dict[str, Any], data: bytes) -> dict[str, Any]:
    try:
        row = dict(_fields(request["kind"], data, request["text_field"], request["codec"]))
        if len(row[request["text_field"]]) > MAX_TEXT:
            return {"why": ("text too long", f"more than {MAX_TEXT >> 20} million characters")}
        return {"row": row}
    except Unreadable as error:
        return {"why": error.args}
    except ModuleNotFoundError as error:
        return {"missing": (error.name or "").split(".")[0]}
    except ImportError as error:  # the package is installed, but one of its dependencies is not
        return {"why": ("no reader", f"{type(error).__name__}: {str(error).splitlines()[0]}")}
    except MemoryError:
        return {"why": ("unreadable file", f"it needs more than {MAX_MEMORY >> 30} GiB of memory")}
    except Exception as error:  # parsers raise exceptions of any class
        line = (str(error).splitlines() or [""])[0]
        return {"why": ("unreadable file", f"{type(error).__name__}: {line}"[:200])}


def _fields(
    kind: str, data: bytes, text_field: str, codec: str | None
) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a file's row: its text, and title, pages and note if present."""
    if SUFFIXES[kind] == "pdf":
        from lacy.corpus.read_pdf import pdf_to_text

        plain = pdf_to_text(data)
    else:
        from lacy.corpus.read_markup import html_to_text, markdown_to_text

        convert = markdown_to_text if SUFFIXES[kind] == "markdown" else html_to_text
        plain = convert(data, codec)
    if plain.title:
        yield "title", plain.title.encode(errors="replace").decode()
    if plain.pages:
        yield "pages", list(plain.pages)
    if plain.note:
        yield NOTE, plain.note
    yield text_field, plain.text.encode(errors="replace").decode()


def answer_requests() -> None:
    """Read requests from stdin and write answers to stdout until the input ends."""
    _limit()
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # output of libraries must not mix with answers
    while (request := _receive(sys.stdin.buffer)) is not None:
        data = _receive(sys.stdin.buffer)
        if data is None:
            break
        assert len(data) <= MAX_BYTES
        _send(out, json.dumps(_answer(json.loads(request), data)).encode())


if __name__ == "__main__":
    answer_requests()
