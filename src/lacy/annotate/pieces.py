"""Texts of any length and content, in pieces that spaCy can parse in bounded time and memory.

spaCy's tokenizer peels signs off a run of characters one by one and copies the rest each time, so
a run without spaces costs the square of its length: 100,000 quotation marks take hours. Runs
longer than ``LONGEST_RUN`` are therefore tokenized in parts; every character keeps its place. What
may still stall (a pipeline of someone else) ends by ``time_limit``.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

PIECE = 100_000
"""Characters parsed at once; longer texts are cut at a line end (spaCy's memory grows with it)."""

TOGETHER = 200_000
"""Characters of the texts that are parsed together."""

LONGEST_RUN = 64
"""Characters without a space that are tokenized together; longer words are rare (links)."""

LONGEST_SIGNS = 16
"""The same where all of them are signs, which cost most."""

_LONG_RUN = re.compile(rf"(?<!\S)\S{{{LONGEST_RUN + 1},}}")


class TooSlow(Exception):
    """A block of code took longer than its limit."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Ends a block that takes longer, in seconds of processor time: a busy machine changes nothing.

    In the main thread of a process it is interrupted by a signal, where the system has one.
    Elsewhere it runs to its end, and is then refused all the same.

    Raises:
        TooSlow: the time is over.
    """
    if seconds is None:
        yield
        return
    main = threading.current_thread() is threading.main_thread()
    clock = time.process_time if main else time.thread_time
    end = clock() + seconds
    over = threading.Event()
    with _timer(seconds, over) if main and hasattr(signal, "SIGPROF") else nullcontext():
        yield
    # No signal here, or it was caught on its way; its clock is coarser and may be ahead of ours.
    if over.is_set() or clock() > end:
        raise TooSlow


@contextmanager
def _timer(seconds: float, over: threading.Event) -> Iterator[None]:
    """Sets ``over`` and raises ``TooSlow`` in the block; not where a profiler uses the signal."""

    def stop(*_: Any) -> None:
        over.set()
        raise TooSlow

    if signal.getsignal(signal.SIGPROF) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGPROF, stop)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def cut(text: str, size: int = PIECE) -> Iterator[tuple[int, str]]:
    """Pieces of at most ``size`` characters with their offsets, cut after a line or a space."""
    start = 0
    while len(text) - start > size:
        end = start + size
        for mark in ("\n", " "):
            place = text.rfind(mark, start + size // 2, end)
            if place > 0:
                end = place + 1
                break
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def batches(texts: Sequence[str], size: int) -> Iterator[slice]:
    """Groups of at most ``size`` neighbouring texts; if several, of ``TOGETHER`` characters."""
    start = length = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == size or length + len(text) > TOGETHER):
            yield slice(start, place)
            start, length = place, 0
        length += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def prepared(nlp: Language, text: str) -> str | Doc:
    """A text for ``nlp.pipe``: as it is, or tokenized where it has long runs without a space."""
    places = list(_places(text))
    if not places:
        return text
    from spacy.tokens import Doc

    parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    whole = Doc.from_docs([nlp.make_doc(part) for part in parts], ensure_whitespace=False)
    assert whole is not None
    return whole


def _places(text: str) -> Iterator[int]:
    """Where long runs are cut: between two kinds of characters, if there is such a place."""
    for run in _LONG_RUN.finditer(text):
        at, end = run.span()
        while end - at > LONGEST_RUN:
            signs = not any(map(str.isalnum, text[at : at + LONGEST_SIGNS]))
            at = at + LONGEST_SIGNS if signs else _boundary(text, at)
            yield at


def _boundary(text: str, at: int) -> int:
    last = at + LONGEST_RUN
    for place in range(last, at + LONGEST_RUN // 2, -1):
        if text[place - 1].isalnum() != text[place].isalnum():
            return place
    return last
