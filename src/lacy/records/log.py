"""Write records in the background, in files of bounded size, without slowing the server down.

Records wait in a bounded queue for a thread that writes them. If the queue is full or the disk
fails, records are lost and counted, and answers go on. Files are readable only by their owner; the
oldest are deleted when all together become too large.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from pathlib import Path

from lacy._require import require_at_least
from lacy._text import first_line
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.records.format import AnswerRecord, UserVerdict, to_line
from lacy.records.reading import SUFFIX, file_number, read_lines, record_files

LOG = logging.getLogger("lacy.serve")

MIB = 1 << 20

MAX_LINE = MIB
"""A longer record is not kept."""

MAX_KNOWN = 20_000
"""Number of latest answers that verdicts may refer to."""

MAX_VERDICTS = 100
"""Maximum number of verdicts on one answer, so that verdicts cannot displace answers."""

RETRY_SECONDS = 5.0
"""Pause after a write has failed; records that arrive meanwhile are lost."""

CLOSE_SECONDS = 10.0
"""Maximum time to write the remaining records at the end."""


class RecordLog:
    """A folder of records. A context manager; otherwise call ``close``.

    Args:
        folder: the folder; created if needed, readable only by its owner.
        texts: True to keep prompts and generated texts too.
        file_bytes: maximum size of one file.
        total_bytes: maximum size of all files.
        waiting: maximum number of records that wait to be written.

    Raises:
        LacyError: E12, a size is too small; E150, another process writes to the folder; E203, the
            folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        texts: bool = False,
        file_bytes: int = 16 * MIB,
        total_bytes: int = 256 * MIB,
        waiting: int = 1000,
    ) -> None:
        require_at_least("file_bytes", file_bytes, 1)
        require_at_least("total_bytes", total_bytes, file_bytes)
        require_at_least("waiting", waiting, 1)
        self.folder, self.texts = Path(folder), texts
        self.file_bytes, self.total_bytes = file_bytes, total_bytes
        self.kept = self.lost = 0
        self.problem = ""
        """Why the last write failed; empty if it succeeded."""
        self._queue: queue.Queue[AnswerRecord | UserVerdict | None] = queue.Queue(waiting)
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._mutex = threading.Lock()
        self._file: int | None = None
        self._size = self._number = 0
        self._retry_at = 0.0
        self._full = False
        self._stack = contextlib.ExitStack()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stack.enter_context(lock(self.folder))
            self._open()
            self._delete_oldest()
        except OSError as error:
            self._stack.close()
            raise LacyError("E203", path=self.folder, why=first_line(error)) from error
        self._recall()
        self._thread = threading.Thread(target=self._work, name="lacy-records", daemon=True)
        self._thread.start()

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, record: AnswerRecord | UserVerdict) -> bool:
        """Queue a record and return at once; False if it is lost."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._lose(record)
            if not self._full:
                self._full = True
                LOG.warning("records of answers are lost: the disk is too slow for them")
            return False
        if isinstance(record, AnswerRecord):
            self._remember(record)
        return True

    def characters(self, answer: str, choice: int) -> list[int] | None:
        """Return the length of each span of an answer; None if there is no record of it."""
        with self._mutex:
            known = self._known.get((answer, choice))
            return None if known is None else list(known.lengths)

    def count_verdict(self, answer: str, choice: int) -> bool:
        """Count a verdict on a known answer; False if it has too many already."""
        with self._mutex:
            known = self._known.get((answer, choice))
            if known is None or known.verdicts >= MAX_VERDICTS:
                return False
            known.verdicts += 1
            return True

    def close(self) -> None:
        """Write the records that wait, and release the folder."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_SECONDS)
        self._thread.join(CLOSE_SECONDS)
        self._stack.close()

    # ------------------------------------------------------------------------------ the thread

    def _work(self) -> None:
        while (record := self._queue.get()) is not None:
            self._full = self._full and not self._queue.empty()
            try:
                self._write(to_line(record))
            except OSError as error:
                self._lose(record)
                self._failed(error)
            except Exception as error:  # a bug must not end the thread
                self._lose(record)
                LOG.error("a record of an answer could not be made", exc_info=error)
        self._close_file()

    def _write(self, line: bytes) -> None:
        """Write a line, in a new file if the current one is full or broken."""
        if len(line) > min(MAX_LINE, self.file_bytes):
            raise ValueError(f"it has {len(line):,} bytes")
        if time.monotonic() < self._retry_at:
            raise OSError(None, self.problem)
        if self._file is None or self._size + len(line) > self.file_bytes:
            self._close_file()
            self._open()
            self._delete_oldest()
        assert self._file is not None
        if (written := os.write(self._file, line)) < len(line):
            raise OSError(None, f"only {written} of {len(line)} bytes could be written")
        self._size += len(line)
        self.kept += 1
        if self.problem:
            LOG.warning("records of answers are kept again; %d were lost in all", self.lost)
        self.problem = ""

    def _failed(self, error: OSError) -> None:
        """Log the first failure of several, and pause before the next attempt."""
        if time.monotonic() < self._retry_at:
            return
        if not self.problem:
            LOG.error("records of answers are lost until it can write to %s: %s", self.folder,
                      error.strerror)  # fmt: skip
        self.problem = error.strerror or first_line(error)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._close_file()  # it may end in half a line

    def _open(self) -> None:
        """Open a new file, readable only by its owner."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        before = record_files(self.folder)
        self._number = max(self._number, file_number(before[-1]) if before else 0) + 1
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = self.folder / f"records-{self._number:06d}-{stamp}{SUFFIX}"
        self._file, self._size = os.open(path, flags, 0o600), 0

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = None

    def _delete_oldest(self) -> None:
        """Delete the oldest files, so that there is room for the new one."""
        files = [(path, path.stat().st_size) for path in record_files(self.folder)]
        total = sum(size for _, size in files) + self.file_bytes
        for path, size in files[:-1]:
            if total <= self.total_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    # -------------------------------------------------------------------------- known answers

    def _recall(self) -> None:
        """Remember the answers of earlier processes, the newest first, as far as there is room."""
        found: list[list[AnswerRecord]] = []
        left = MAX_KNOWN
        for path in reversed(record_files(self.folder)):
            if left <= 0:
                break
            answers = [r for r, _ in read_lines(path) if isinstance(r, AnswerRecord)]
            found.append(answers)
            left -= len(answers)
        for answers in reversed(found):
            for answer in answers:
                self._remember(answer)

    def _remember(self, record: AnswerRecord) -> None:
        with self._mutex:
            lengths = tuple(span.characters for span in record.spans)
            self._known[record.id, record.choice] = _Known(lengths)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)

    def _lose(self, record: AnswerRecord | UserVerdict) -> None:
        self.lost += 1
        if isinstance(record, AnswerRecord):
            with self._mutex:
                self._known.pop((record.id, record.choice), None)


class _Known:
    """An answer that verdicts may refer to."""

    __slots__ = ("lengths", "verdicts")

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths, self.verdicts = lengths, 0
