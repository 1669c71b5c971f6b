"""Print texts in a terminal while they are generated, and receipts of their cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lacy import cascade
from lacy._signals import handle_signals
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from types import FrameType

    from lacy.cascade import Bill, Engine, TextSequence
    from lacy.remote import LoopThread

_SPACES = re.compile(r"(\s+)")
_BAR = 20
"""Length of the longest bar in a receipt, in characters."""


class SpanWriter:
    """Prints spans as they arrive, each in the colour of its speaker.

    In a terminal, only whole words are printed; a word that does not fit into the current line
    begins the next one (the terminal may be resized at any time). Elsewhere, every span is printed
    at once.

    Args:
        console: the console to print to.
        palette: colours by source; new sources are added to it.
    """

    def __init__(self, console: Console, palette: dict[str, str]) -> None:
        self.console, self.palette = console, palette
        self._column = 0
        self._word, self._spaces = Text(), Text()
        self._guesses = cascade.GuessTracker()

    def write(self, span: Span) -> None:
        """Print a span."""
        if not self.console.is_terminal:
            self.console.file.write(span.text)
            self.console.file.flush()
            return
        for text, guessed in self._guesses.split(span):
            colour = not self.console.no_color
            self._write(text, cascade.style_of(span, self.palette, colour, guessed=guessed))

    def _write(self, text: str, style: str) -> None:
        """Print words of one style."""
        for part in _SPACES.split(cascade.printable(text).expandtabs(4)):
            if part.isspace():
                self._flush()
                self._space(part, style)
            else:
                self._word.append(part, style)

    def end(self) -> None:
        """Print the pending word and end the line."""
        if self.console.is_terminal:
            self._flush()
        self._spaces, self._column = Text(), 0
        self._print(Text("\n"))

    def _flush(self) -> None:
        """Print the pending word, on the next line if it does not fit into this one."""
        if not self._word:
            return
        width, gap = cell_len(self._word.plain), self._spaces.cell_len
        if self._column and self._column + gap + width > self.console.width:
            self._spaces, gap, self._column = Text("\n"), 0, 0
        self._print(self._spaces.append_text(self._word))
        self._column += gap + width
        self._word, self._spaces = Text(), Text()

    def _space(self, spaces: str, style: str) -> None:
        """Hold back spaces until the next word is printed, but print newlines at once."""
        lines = spaces.count("\n")
        if lines:
            self._print(Text("\n" * lines))
            self._spaces, self._column = Text(), 0
        self._spaces.append(spaces.rpartition("\n")[2], "" if "underline" in style else style)

    def _print(self, text: Text) -> None:
        if self.console.is_terminal:
            self.console.print(text, end="", soft_wrap=True, highlight=False)
        else:
            self.console.file.write(text.plain)
            self.console.file.flush()


def generate_live(
    engine: Engine,
    loop_thread: LoopThread,
    sequence: TextSequence,
    on_span: Callable[[Span], object],
    *,
    stoppable: bool = False,
) -> Answer:
    """Generate the same text as ``Engine.generate``, but pass on every span as it comes.

    Args:
        engine: the engine.
        loop_thread: the thread in which the source is asked.
        sequence: the text to continue, from ``engine.sequence``.
        on_span: called with each span.
        stoppable: True if Ctrl-C should end the text and not the program. A second Ctrl-C before
            the text has ended still raises ``KeyboardInterrupt``.

    Raises:
        LacyError: for the same reasons as ``Engine.generate``.
    """
    results: list[Answer | Exception] = []

    def pass_on(span: Span) -> bool:
        on_span(span)
        return False

    sequence.on_text, sequence.on_end = pass_on, results.append
    with (
        closing(engine.loop(loop_thread.submit)) as loop,
        _stopping(sequence) if stoppable else nullcontext(),
    ):
        loop.add([sequence])
        while not results:
            if loop.stuck:
                time.sleep(0.002)  # a source or a server is still working
            else:
                loop.step()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _stopping(sequence: TextSequence) -> AbstractContextManager[None]:
    """Return a context in which Ctrl-C ends a text, and a second Ctrl-C the command."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if sequence.cancelled:
            raise KeyboardInterrupt
        sequence.cancelled = True

    return handle_signals(("SIGINT",), stop)


def cut_off(answer: Answer) -> str:
    """Return a note if a text was cut off by a limit or Ctrl-C; "" if the model ended it."""
    return "" if answer.finished else f"Cut off after {answer.tokens} tokens"


def long_receipt(bill: Bill, palette: dict[str, str], console: Console) -> Text:
    """Return a receipt of several lines: tokens by speaker, calls, time, cost and savings."""
    colour, wide = not console.no_color, console.width >= 60
    names = {
        name: "own words" if name == "slm" else cascade.printable(name) for name in bill.speakers
    }
    name_width = min(max(map(cell_len, names.values())), 24)
    text = Text()
    for name, share in bill.speakers.items():
        style = "" if name == "slm" else palette.get(name, "") if colour else "reverse"
        ratio = share.tokens / bill.tokens if bill.tokens else 0.0
        label = Text(names[name], style)
        label.truncate(name_width, overflow="ellipsis", pad=True)
        text.append("  ").append_text(label).append(f" {share.tokens:>5} {ratio:>4.0%}")
        if wide:
            bar = round(ratio * _BAR)
            text.append("  ").append("\u2588" * bar, style if colour else "")
            text.append("\u2591" * (_BAR - bar), "dim")
        if name != "slm":
            text.append(f"  {share.answers} answer{'s' * (share.answers != 1)}", "dim")
            text.append(f", {_seconds(share.seconds)}" if wide else "", "dim")
        text.append("\n")
    return text.append(
        _join_lines(_summary_parts(bill), console.width) + "\n" + _savings(bill, console.width)
    )


def short_receipt(bill: Bill, console: Console) -> Text:
    """Return a receipt of one line (several in a narrow terminal)."""
    return Text(_join_lines(_summary_parts(bill), console.width), style="dim")


def _join_lines(parts: Sequence[str], width: int) -> str:
    """Join parts into lines of at most ``width`` characters, without breaking a part."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 5 > width:
            lines.append("")
        lines[-1] += (" \u00b7 " if lines[-1] else "  ") + part
    return "\n".join(lines)


def _savings(bill: Bill, width: int) -> str:
    """Return a line that compares the cost with that of a larger model writing everything."""
    own = f"{bill.own:.0%} own words"
    if bill.undelegated is None:
        return _join_lines([own, *["no source has a price"] * bool(bill.calls)], width)
    saved = 1 - bill.cost / bill.undelegated if bill.undelegated else 0.0
    whole = f"without delegation: {bill.undelegated:.4g}"
    return _join_lines([own, whole, _saved_text(saved)], width)


def _saved_text(saved: float) -> str:
    return f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more than that was paid"


def _summary_parts(bill: Bill) -> list[str]:
    """Return the parts of the receipt's summary line: tokens, calls, time, cost."""
    own = bill.speakers["slm"].tokens
    parts = [f"{bill.tokens} tokens, {bill.tokens - own} borrowed"]
    calls = f"{bill.calls} call{'s' * (bill.calls != 1)}"
    parts.append(calls + (f" ({bill.unanswered} without answer)" if bill.unanswered else ""))
    if bill.calls:
        parts.append(f"call rate {bill.rate:.0%}")
    if bill.seconds is not None:
        per_token = bill.seconds / bill.tokens if bill.tokens else 0.0
        parts.append(f"{_seconds(bill.seconds)}, {_seconds(per_token)} per token")
    parts.append(f"cost {bill.cost:.4g}" if bill.cost else "no cost")
    return parts


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def evidence(answer: Answer, palette: dict[str, str], console: Console) -> Iterator[Any]:
    """Yield lines for each call of a text: the value, its source, the reason and the evidence."""
    for span in answer.spans:
        if not span.asked:
            continue
        speaker = "no answer" if span.speaker == "slm" else cascade.printable(span.speaker)
        style = cascade.style_of(span, palette, not console.no_color)
        line = Text("  ").append(repr(span.text.strip()), style).append(f"  {speaker}", "dim")
        details = [cascade.printable(part) for part in (span.reason, span.evidence) if part]
        if not console.is_terminal:
            yield line.append("  " + " ".join("; ".join(details).split()))  # a line for each call
            continue
        yield line
        yield from (indented(Text(part, style="dim")) for part in details)


def indented(text: Text) -> Padding:
    """Return a text that stays indented where it wraps."""
    return Padding(text, (0, 0, 0, 4), expand=False)
