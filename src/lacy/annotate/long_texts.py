"""Split texts of any length and content so that spaCy parses them in bounded time and memory.

spaCy's tokenizer splits punctuation off a run of characters one by one and copies the rest each
time, so a run without spaces takes quadratic time: 100,000 quotation marks take hours. Runs longer
than ``MAX_RUN`` are therefore tokenized in parts; offsets do not change. ``time_limit`` stops
anything else that is slow, for example a user's own pipeline.
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

CHUNK_CHARACTERS = 100_000
"""Characters parsed at once, to limit memory; longer texts are split at a line end."""

BATCH_CHARACTERS = 200_000
"""Maximum total characters of the texts in one batch."""

MAX_RUN = 64
"""Maximum characters without a space that are tokenized as a whole; few words are longer."""

MAX_PUNCTUATION_RUN = 16
"""The same for a run of punctuation only, which is the slowest case."""

_LONG_RUN = re.compile(rf"(?<!\S)\S{{{MAX_RUN + 1},}}")


class TooSlow(Exception):
    """Raised when a block took longer than its time limit."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Limit a block to ``seconds`` of processor time, which is independent of other load.

    In the main thread, a signal interrupts the block if the system supports it. Otherwise the error
    is raised only after the block has finished.

    Raises:
        TooSlow: the time limit was exceeded.
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
    # No signal came, or other code swallowed it. The timer's clock is coarser than ours and may run
    # ahead, so ``over`` counts even if our clock has not reached ``end``.
    if over.is_set() or clock() > end:
        raise TooSlow


@contextmanager
def _timer(seconds: float, over: threading.Event) -> Iterator[None]:
    """Start a timer that raises ``TooSlow`` in the block, unless a profiler uses the signal."""

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


def split_text(text: str, size: int = CHUNK_CHARACTERS) -> Iterator[tuple[int, str]]:
    """Yield parts of at most ``size`` characters with their offsets, split at a line or space."""
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
    """Yield slices of at most ``size`` texts and ``BATCH_CHARACTERS`` (or one longer text)."""
    start = length = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == size or length + len(text) > BATCH_CHARACTERS):
            yield slice(start, place)
            start, length = place, 0
        length += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def prepare_text(nlp: Language, text: str) -> str | Doc:
    """Return a text for ``nlp.pipe``: unchanged, or tokenized if it has long runs."""
    places = list(_split_positions(text))
    if not places:
        return text
    from spacy.tokens import Doc

    parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    whole = Doc.from_docs([nlp.make_doc(part) for part in parts], ensure_whitespace=False)
    assert whole is not None
    return whole


def _split_positions(text: str) -> Iterator[int]:
    """Yield the positions at which long runs are split, between kinds of characters if possible."""
    for run in _LONG_RUN.finditer(text):
        at, end = run.span()
        while end - at > MAX_RUN:
            signs = not any(map(str.isalnum, text[at : at + MAX_PUNCTUATION_RUN]))
            at = at + MAX_PUNCTUATION_RUN if signs else _boundary(text, at)
            yield at


def _boundary(text: str, at: int) -> int:
    last = at + MAX_RUN
    for place in range(last, at + MAX_RUN // 2, -1):
        if text[place - 1].isalnum() != text[place].isalnum():
            return place
    return last
