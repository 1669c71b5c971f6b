"""Show the progress of long work in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def progress_bar(what: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left on a terminal, and yield a function that advances it.

    Args:
        what: what is done.
        total: number of items.
        shown: False for no bar.
    """
    from rich import progress as rp
    from rich.console import Console

    console = Console(stderr=True)
    with rp.Progress(
        rp.TextColumn(what), rp.BarColumn(), rp.MofNCompleteColumn(),
        rp.TimeElapsedColumn(), rp.TextColumn("left"), rp.TimeRemainingColumn(),
        console=console, disable=not (shown and console.is_terminal),
    ) as bar:  # fmt: skip
        yield partial(bar.advance, bar.add_task(what, total=total))
