"""A file of answers, so that a long measurement that is stopped asks no question twice.

Every answer is one line of JSON with a key that names everything the answer depends on (model,
settings, question). A line is written when its answer is known; a process that is killed loses at
most the answers it was working on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lacy.disk import disk_error, lock
from lacy.errors import LacyError

LOG = logging.getLogger("lacy.results")

T = TypeVar("T")


def answer_key(*parts: Any) -> str:
    """Return the key of an answer: a hash of everything that it depends on.

    Args:
        parts: plain data (strings, numbers, lists, mappings, None).

    Raises:
        TypeError: a part is not plain data.
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class AnswerStore:
    """Answers by key, in memory and in a file of JSON lines. A context manager.

    One process at a time may use a file. A last line that a kill cut off is removed; other damaged
    lines are skipped, counted in ``damaged``, and their questions are asked again.

    Args:
        path: the file, created if needed; None keeps the answers in memory only.
        on_put: called with the number of answers after some were added, to show progress.

    Raises:
        LacyError: E150, another process uses the file; E19, the file cannot be read or written.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        on_put: Callable[[int], object] = lambda number: None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self._on_put = on_put
        self.damaged = 0
        self._answers: dict[str, Any] = {}
        self._handle: int | None = None
        self._stack = ExitStack()
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(lock(self.path.parent, name=f".{self.path.name}.lock"))
            self._read()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._handle = os.open(self.path, flags, 0o666)
        except OSError as error:
            self._stack.close()
            raise LacyError("E19", path=self.path, why=error.strerror or str(error)) from error
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def get(self, key: str, default: Any = None) -> Any:
        """Return the answer of a key, or ``default``."""
        return self._answers.get(key, default)

    def put(self, answers: Mapping[str, Any]) -> None:
        """Keep answers by key, in the file before this returns.

        Raises:
            LacyError: E19, the disk is full or failing.
            TypeError: an answer is not plain data.
        """
        lines = [
            json.dumps({"key": key, "answer": answer}, ensure_ascii=False) + "\n"
            for key, answer in answers.items()
        ]
        if self._handle is not None:
            data = "".join(lines).encode("utf-8", "surrogatepass")
            try:
                while data:
                    data = data[os.write(self._handle, data) :]
            except OSError as error:
                raise disk_error(error) or LacyError("E19", path=self.path, why=error) from error
        self._answers.update(
            (key, json.loads(line)["answer"]) for key, line in zip(answers, lines, strict=True)
        )
        self._on_put(len(self))

    def answers(
        self,
        items: Sequence[T],
        key: Callable[[T], str],
        ask: Callable[[list[T]], Iterable[Any]],
        *,
        batch: int = 1,
    ) -> Iterator[Any]:
        """Yield the answer of each item in order; only items without an answer are asked.

        Items with equal keys are asked once. The answers of a batch are written together, so a
        measurement that goes on after a kill has the same batches as one that was not stopped.

        Args:
            items: the questions.
            key: returns the key of an item.
            ask: returns one answer (plain data) for each item of a batch, in order.
            batch: number of items that are asked together.
        """
        keys = [key(item) for item in items]
        waiting: dict[str, T] = {}
        for name, item in zip(keys, items, strict=True):
            if name not in self:
                waiting.setdefault(name, item)
        open_keys = list(waiting)
        asked = 0
        for name in keys:
            while name not in self:
                chunk = open_keys[asked : asked + batch]
                asked += batch
                found = ask([waiting[one] for one in chunk])
                self.put(dict(zip(chunk, found, strict=True)))
            yield self.get(name)

    def close(self) -> None:
        """Close the file; other processes may then use it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._stack.close()

    def _read(self) -> None:
        """Read the file and remove a last line that has no end."""
        assert self.path is not None
        if not self.path.exists():
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                try:
                    entry = json.loads(line)
                    self._answers[entry["key"]] = entry["answer"]
                except (ValueError, KeyError, TypeError):
                    self.damaged += 1
        if end < self.path.stat().st_size:
            os.truncate(self.path, end)
        if self.damaged:
            LOG.warning(
                "%s: %d damaged lines skipped; they are asked again", self.path, self.damaged
            )
