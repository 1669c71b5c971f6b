"""Texts in a terminal while they are written: words in colours, whole lines, receipts."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lacy.cascade import Bill, GuessTracker, legend, style_of, visible
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from types import FrameType

    from lacy.cascade import Engine, TextSequence
    from lacy.remote import LoopThread

_SPACES = re.compile(r"(\s+)")
_BAR = 20
"""Letters of the longest bar of a receipt."""


class Pen:
    """Writes pieces of text in the colour of who says them.

    In a terminal words are written whole, and a word that does not fit into the line (however
    wide it is by then) begins the next. Elsewhere every piece is passed on as it is.

    Args:
        console: where to.
        palette: colours by source; new sources are added.
    """

    def __init__(self, console: Console, palette: dict[str, str]) -> None:
        self.console, self.palette = console, palette
        self._column = 0
        self._word, self._gap = Text(), Text()
        self._unconfirmed = GuessTracker()

    def write(self, span: Span) -> None:
        """Write a piece."""
        if not self.console.is_terminal:
            self.console.file.write(span.text)
            self.console.file.flush()
            return
        for text, guessed in self._unconfirmed.split(span):
            colour = not self.console.no_color
            self._write(text, style_of(span, self.palette, colour, guessed=guessed))

    def _write(self, text: str, style: str) -> None:
        """Write words of one style."""
        for part in _SPACES.split(visible(text).expandtabs(4)):
            if part.isspace():
                self._flush()
                self._space(part, style)
            else:
                self._word.append(part, style)

    def end(self) -> None:
        """Write what is left, and end the line."""
        if self.console.is_terminal:
            self._flush()
        self._gap, self._column = Text(), 0
        self._print(Text("\n"))

    def _flush(self) -> None:
        """Write the word, on the next line if it does not fit into this one."""
        if not self._word:
            return
        width, gap = cell_len(self._word.plain), self._gap.cell_len
        if self._column and self._column + gap + width > self.console.width:
            self._gap, gap, self._column = Text("\n"), 0, 0
        self._print(self._gap.append_text(self._word))
        self._column += gap + width
        self._word, self._gap = Text(), Text()

    def _space(self, spaces: str, style: str) -> None:
        """Spaces wait for the word behind them; lines are ended at once."""
        lines = spaces.count("\n")
        if lines:
            self._print(Text("\n" * lines))
            self._gap, self._column = Text(), 0
        self._gap.append(spaces.rpartition("\n")[2], "" if "underline" in style else style)

    def _print(self, text: Text) -> None:
        if self.console.is_terminal:
            self.console.print(text, end="", soft_wrap=True, highlight=False)
        else:
            self.console.file.write(text.plain)
            self.console.file.flush()


def speak(
    engine: Engine,
    loop_thread: LoopThread,
    sequence: TextSequence,
    heard: Callable[[Span], object],
    *,
    stoppable: bool = False,
) -> Answer:
    """Continue one text and pass on every piece as it is said; says what ``generate`` says.

    Args:
        engine: who speaks.
        loop_thread: where its source is asked.
        sequence: the text to continue, made by ``engine.sequence``.
        heard: is given the pieces.
        stoppable: Ctrl-C ends the text as it stands, instead of the program; a second one, while
            the first is still being followed, raises ``KeyboardInterrupt``.

    Raises:
        LacyError: as ``Engine.generate`` does.
    """
    ends: list[Answer | Exception] = []

    def hear(piece: Span) -> bool:
        heard(piece)
        return False

    sequence.on_text, sequence.on_end = hear, ends.append
    with (
        closing(engine.loop(loop_thread.submit)) as loop,
        _stopping(sequence) if stoppable else _nothing(),
    ):
        loop.add([sequence])
        while not ends:
            if loop.stuck:
                time.sleep(0.002)  # a source or a server is being waited for
            else:
                loop.step()
    if isinstance(ends[0], Exception):
        raise ends[0]
    return ends[0]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _stopping(sequence: Any) -> Iterator[None]:
    """Lets Ctrl-C end a text; only the main thread hears of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if sequence.cancelled:
            raise KeyboardInterrupt
        sequence.cancelled = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def cut_off(answer: Answer) -> str:
    """That an answer did not end by itself but at a limit or by Ctrl-C; "" where it did."""
    return "" if answer.finished else f"Cut off after {answer.tokens} tokens"


def told_receipt(found: Bill, palette: dict[str, str], console: Console) -> Text:
    """A receipt of some lines: who said how much, what it took, what it saved."""
    colour, wide = not console.no_color, console.width >= 60
    names = {name: "own words" if name == "slm" else visible(name) for name in found.speakers}
    room = min(max(map(cell_len, names.values())), 24)
    text = Text()
    for name, share in found.speakers.items():
        style = "" if name == "slm" else palette.get(name, "") if colour else "reverse"
        part = share.tokens / found.tokens if found.tokens else 0.0
        shown = Text(names[name], style)
        shown.truncate(room, overflow="ellipsis", pad=True)
        text.append("  ").append_text(shown).append(f" {share.tokens:>5} {part:>4.0%}")
        if wide:
            bar = round(part * _BAR)
            text.append("  ").append("\u2588" * bar, style if colour else "")
            text.append("\u2591" * (_BAR - bar), "dim")
        if name != "slm":
            text.append(f"  {share.answers} answer{'s' * (share.answers != 1)}", "dim")
            text.append(f", {_seconds(share.seconds)}" if wide else "", "dim")
        text.append("\n")
    return text.append(_fitted(_parts(found), console.width) + "\n" + _saved(found, console.width))


def short_receipt(found: Bill, console: Console) -> Text:
    """A receipt of one line, or as many as a narrow terminal needs."""
    return Text(_fitted(_parts(found), console.width), style="dim")


def _fitted(parts: Sequence[str], width: int) -> str:
    """Parts in lines, none of them torn apart."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 5 > width:
            lines.append("")
        lines[-1] += (" \u00b7 " if lines[-1] else "  ") + part
    return "\n".join(lines)


def _saved(found: Bill, width: int) -> str:
    own = f"{found.own:.0%} own words"
    if found.undelegated is None:
        return _fitted([own, *["no source has a price"] * bool(found.calls)], width)
    saved = 1 - found.cost / found.undelegated if found.undelegated else 0.0
    whole = f"without delegation: {found.undelegated:.4g}"
    return _fitted([own, whole, _less(saved)], width)


def _less(saved: float) -> str:
    return f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more than that was paid"


def _parts(found: Bill) -> list[str]:
    own = found.speakers["slm"].tokens
    parts = [f"{found.tokens} tokens, {found.tokens - own} borrowed"]
    calls = f"{found.calls} call{'s' * (found.calls != 1)}"
    parts.append(calls + (f" ({found.unanswered} without answer)" if found.unanswered else ""))
    if found.calls:
        parts.append(f"call rate {found.rate:.0%}")
    if found.seconds is not None:
        each = found.seconds / found.tokens if found.tokens else 0.0
        parts.append(f"{_seconds(found.seconds)}, {_seconds(each)} per token")
    parts.append(f"cost {found.cost:.4g}" if found.cost else "no cost")
    return parts


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def evidence(answer: Answer, palette: dict[str, str], console: Console) -> Iterator[Any]:
    """For each call of an answer: who was asked, what came, why and from where; to be printed."""
    for span in answer.spans:
        if not span.asked:
            continue
        who = "no answer" if span.speaker == "slm" else visible(span.speaker)
        style = style_of(span, palette, not console.no_color)
        line = Text("  ").append(repr(span.text.strip()), style).append(f"  {who}", "dim")
        why = [visible(part) for part in (span.reason, span.evidence) if part]
        if not console.is_terminal:
            yield line.append("  " + " ".join("; ".join(why).split()))  # a line for each call
            continue
        yield line
        yield from (Padding(Text(part, style="dim"), (0, 0, 0, 4), expand=False) for part in why)


def shown_legend(palette: dict[str, str], console: Console, **which: bool) -> Text:
    """Who is shown how, in this console."""
    return legend(palette, not console.no_color, **which)
