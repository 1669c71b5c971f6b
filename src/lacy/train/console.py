"""Show and log a run: lines in the terminal, trackers, and the model card."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lacy._require import require_one_of
from lacy._text import format_duration
from lacy.errors import LacyError
from lacy.run import flatten

if TYPE_CHECKING:
    from lacy.train.setup import Session

LINE_SECONDS = 10.0
"""Minimum seconds between plain lines (or a tenth of the elapsed time, if that is longer)."""


class _Screen(RichConsole):
    """A rich console that raises ``BrokenPipeError`` where rich would exit the program."""

    def on_broken_pipe(self) -> None:
        """Raise the error again that rich has caught."""
        raise BrokenPipeError


class Console:
    """Shows the progress of a run: a live line with ETA in a terminal, plain lines elsewhere.

    Args:
        total: the step at which the run ends.
        step: the step at which it begins.
        silent: print nothing.

    If the terminal is lost or the disk is full, the run continues without printing. A closed pipe
    sets ``closed``; then the loop saves and stops.
    """

    def __init__(self, total: int, step: int = 0, *, silent: bool = False) -> None:
        self.total = total
        self.silent = silent
        self.closed = False
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

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        if self._bar is not None:
            with self._guarded():
                self._bar.stop()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Stop printing if the output cannot be written."""
        try:
            yield
        except OSError as error:
            self.silent = True
            self.closed = isinstance(error, BrokenPipeError)

    def line(self, text: str) -> None:
        """Print a permanent line."""
        if not self.silent:
            with self._guarded():
                self._rich.print(Text(text), soft_wrap=True)

    def metrics(self, row: dict[str, Any]) -> None:
        """Show a row of ``metrics.jsonl``."""
        if self.silent:
            return
        step = int(row["step"])
        if self._bar is not None:
            with self._guarded():
                note = f"{format_metrics(row)}  {self._time_left(step)}"
                self._bar.update(self._task, completed=step, note=note)
            return
        now = time.perf_counter()
        share = (now - self._begin) / 10
        if now - self._last >= max(LINE_SECONDS, share) or step >= self.total:
            self._last = now
            self.line(
                f"step {step:,}/{self.total:,}  {format_metrics(row)}  {self._time_left(step)}"
            )

    def _time_left(self, step: int) -> str:
        """Return the remaining time at the average speed so far."""
        done = step - self._first
        if done <= 0:
            return ""
        left = (time.perf_counter() - self._begin) / done * max(0, self.total - step)
        return f"{format_duration(left)} left"


def format_metrics(row: dict[str, Any]) -> str:
    """Format the main metrics of a row."""
    parts = [f"loss {row['loss']:.3f}", f"text {row['text_loss']:.3f}"]
    if row.get("call_rate"):
        parts.append(f"calls {row['call_rate']:.1%} at {row['call_loss']:.3f}")
    parts += [f"lr {row['lr']:.1e}", f"{row['tokens_per_second']:,.0f} tokens/s"]
    return "  ".join(parts)


class TrackerLog(Protocol):
    """Sends rows of the metrics to the trackers."""

    def __call__(self, row: dict[str, Any]) -> None:
        """Log the numbers of a row under its step."""


@contextlib.contextmanager
def trackers(
    names: tuple[str, ...], folder: Path, settings: dict[str, Any]
) -> Iterator[TrackerLog]:
    """Open ``accelerate``'s trackers by name and close them at the end.

    Raises:
        LacyError: E12, accelerate does not know this tracker; E11, the tracker is not installed.
    """
    if not names:
        yield lambda row: None
        return
    from accelerate import Accelerator
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = [str(name) for name in get_available_trackers()]
    for name in names:
        if require_one_of("trackers", name, known) not in installed:
            raise LacyError("E11", extra_for=f"tracker {name}", package=name, extra="trackers")
    accelerator = Accelerator(log_with=list(names), project_dir=str(folder))
    plain = {key: str(value) for key, value in flatten(settings).items()}
    accelerator.init_trackers("lacy", config=plain)

    def log(row: dict[str, Any]) -> None:
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and k != "step"}
        accelerator.log(numbers, step=int(row["step"]))

    try:
        yield log
    finally:
        for tracker in accelerator.trackers:  # end_training would end the group of processes, too
            tracker.finish()


CARD = """
The last token of the vocabulary, `<CALL>`, asks a source to continue the text; plain decoding
should forbid it. Settings: `lacy.json`. Generate with `lacy generate`; load with
`transformers.AutoModelForCausalLM.from_pretrained`.
"""
"""Text below the table in the model card of a run."""


def card_facts(session: Session, last: dict[str, Any]) -> dict[str, Any]:
    """Return the table of the model card as values by name."""
    config = session.config
    names = (
        "loss",
        "text_loss",
        "call_rate",
        "valid_loss",
        "valid_fact_loss",
        "valid_other_loss",
        "general_loss",
    )
    return {
        "model": config.model,
        **({} if config.depth == "full" else {"depth": config.depth}),
        "parameters": f"{sum(p.numel() for p in session.state.parameters()):,}",
        "steps": f"{session.state.step:,}",
        "tokens": f"{session.state.step * session.tokens_per_step:,}",
        "selection method": config.method,
        "requested call rate": config.call_rate if config.method != "none" else "-",
        **{name.replace("_", " "): f"{last[name]:.4f}" for name in names if last.get(name)},
    }
