"""What a person sees of a run: a live line with ETA in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lacy._text import format_duration

LINE_SECONDS = 10.0
"""Plain lines come at least this far apart (and at a tenth of the run, if that is later)."""


class _Screen(RichConsole):
    """rich's console, which raises on a broken pipe instead of exiting the program."""

    def on_broken_pipe(self) -> None:
        """Re-raise the error that rich has just caught."""
        raise BrokenPipeError


class Console:
    """Shows a run; does nothing in processes that do not print.

    Args:
        total: the step at which the run ends.
        step: where it begins.
        silent: print nothing.

    A lost terminal or a full disk does not end the run; nothing more is printed. A closed pipe sets
    ``lost``, and the loop saves and stops.
    """

    def __init__(self, total: int, step: int = 0, *, silent: bool = False) -> None:
        self.total = total
        self.silent = silent
        self.lost = False
        self._begin = self._last = time.perf_counter()
        self._first = step
        self._rich = _Screen(file=sys.stdout, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if not silent and self._rich.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=self._rich,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, completed=step, note="")

    def __enter__(self) -> Console:
        """Start the live line."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            with self._tolerant():
                self._bar.stop()

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Records that the output can no longer be written."""
        try:
            yield
        except OSError as error:
            self.silent = True
            self.lost = isinstance(error, BrokenPipeError)

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.silent:
            with self._tolerant():
                self._rich.print(Text(text), soft_wrap=True)

    def row(self, row: dict[str, Any]) -> None:
        """News of the run, as it stands in ``metrics.jsonl``."""
        if self.silent:
            return
        step = int(row["step"])
        if self._bar is not None:
            with self._tolerant():
                note = f"{brief(row)}  {self._left(step)}"
                self._bar.update(self._task, completed=step, note=note)
            return
        now = time.perf_counter()
        share = (now - self._begin) / 10
        if now - self._last >= max(LINE_SECONDS, share) or step >= self.total:
            self._last = now
            self.say(f"step {step:,}/{self.total:,}  {brief(row)}  {self._left(step)}")

    def _left(self, step: int) -> str:
        """How long it will take from here, at the speed so far."""
        done = step - self._first
        if done <= 0:
            return ""
        left = (time.perf_counter() - self._begin) / done * max(0, self.total - step)
        return f"{format_duration(left)} left"


def brief(row: dict[str, Any]) -> str:
    """A row of the metrics in a few words."""
    parts = [f"loss {row['loss']:.3f}", f"text {row['text_loss']:.3f}"]
    if row.get("call_rate"):
        parts.append(f"calls {row['call_rate']:.1%} at {row['call_loss']:.3f}")
    parts += [f"lr {row['lr']:.1e}", f"{row['tokens_per_second']:,.0f} tokens/s"]
    return "  ".join(parts)
