"""``lacy generate``: continue texts, with a source that answers the calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from lacy import cascade
from lacy.cli import streaming
from lacy.cli.options import SamplingOptions, note_questions
from lacy.cli.terminal import as_text, input_lines
from lacy.config import Positional, Repeated
from lacy.errors import LacyError
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lacy.cascade import Engine, TextSequence


@dataclass
class GenerateConfig(SamplingOptions):
    """Continue texts with a model; a source answers its calls.

    MODEL may also be the address of a model on another server: http://host:port/v1#name.
    """

    texts: Positional[list[str]] = field(default_factory=list)
    """Texts to continue; without any, one per line of standard input."""
    prompt: Repeated = field(default_factory=list)
    """Text to continue, also one that begins with a dash (--prompt=-x); can be repeated."""

    # [Output]
    show: bool = False
    """Show the reason and evidence of each call, and a receipt."""
    out: Path | None = None
    """Also write the texts with their provenance, as JSON lines."""


FLAGS = GenerateConfig
EXAMPLES = """
lacy generate runs/mine "Emil Quilodell" --source world --policy budget=0.22 --show
"""


def run(config: GenerateConfig) -> int:
    """Generate and print."""
    prompts = [as_text(word) for word in (*config.texts, *config.prompt)] or _read_prompts()
    engine = config.open(fixed_policy=True)
    note_questions(prompts, engine, config.model)
    answers = _generate(engine, prompts, config.show)
    if config.out is not None:
        cascade.write_answers(config.out, answers)
    return 0


def _generate(engine: Engine, prompts: Sequence[str], show: bool) -> list[Answer]:
    """Generate and print: a single text while it is written if in a terminal, others at the end."""
    console = Console()
    palette: dict[str, str] = {}
    begin = time.perf_counter()
    if streamed := len(prompts) == 1 and console.is_terminal:
        answers = [_generate_live(engine, prompts[0], console, palette)]
    else:
        with _progress(engine, len(prompts)) as observed:
            answers = observed.generate(prompts)
    seconds = time.perf_counter() - begin
    palette |= {n: c for n, c in cascade.colours(answers).items() if n not in palette}
    for answer in answers:
        if not streamed:
            coloured = cascade.render_answer(answer, palette, not console.no_color)
            console.print(coloured, soft_wrap=True)
        _print_details(answer, console, palette, show)
    unanswered = any(s.asked and s.speaker == "slm" for answer in answers for s in answer.spans)
    console.print(cascade.legend(palette, not console.no_color, silent=unanswered))
    if show:
        from lacy.sources import price_of

        bill = cascade.bill(answers, seconds=seconds, price=price_of(engine.source))
        console.print(streaming.long_receipt(bill, palette, console), soft_wrap=True)
    else:
        console.print(Text(cascade.receipt(answers)))
    return answers


def _print_details(answer: Answer, console: Console, palette: dict[str, str], show: bool) -> None:
    """Print if an answer was cut off and, with --show, the evidence of its calls."""
    if console.is_terminal and (cut := streaming.cut_off(answer)):
        console.print(Text(f"({cut}: --max-new-tokens sets the limit)", style="dim"))
    if show:
        console.print("\n" * console.is_terminal, end="")
        for line in streaming.evidence(answer, palette, console):
            console.print(line, soft_wrap=not console.is_terminal)
    console.print()


def _generate_live(
    engine: Engine, prompt: str, console: Console, palette: dict[str, str]
) -> Answer:
    """Generate one text and print its words while it is written."""
    from lacy.remote import LoopThread

    writer = streaming.SpanWriter(console, palette)
    with LoopThread() as loop_thread:
        writer.write(Span(prompt, "prompt"))
        try:
            sequence = engine.sequence(0, prompt, None, engine.max_new_tokens)
            return streaming.generate_live(engine, loop_thread, sequence, writer.write)
        finally:
            writer.end()


@contextmanager
def _progress(engine: Engine, prompts: int) -> Iterator[Engine]:
    """Yield the engine, with a progress bar on standard error if that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if prompts < 2 or not console.is_terminal:
        yield engine
        return
    columns = (
        BarColumn(24), MofNCompleteColumn(), TextColumn("texts, {task.fields[tokens]:,} tokens"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=prompts, tokens=0)
        observed = engine.variant()
        observed.observer = ProgressCounter(
            lambda done, tokens: bar.update(task, completed=done, tokens=tokens)
        )
        yield observed


class ProgressCounter:
    """An observer of the engine that counts finished texts and generated tokens.

    Args:
        on_progress: called after each token with the numbers of finished texts and of tokens.
    """

    def __init__(self, on_progress: Callable[[int, int], object]) -> None:
        self._on_progress = on_progress
        self._tokens: dict[int, int] = {}
        self._done: set[int] = set()

    def decided(self, sequences: Any, logits_RV: Any, decisions: Any) -> None:
        """Do nothing, as no token has been generated yet."""

    def applied(self, sequence: TextSequence, own_token: int, outcome: Any) -> None:
        """Count the tokens of a text that has grown, and the text itself if it is complete."""
        self._tokens[sequence.number] = sequence.generated
        if sequence.complete:
            self._done.add(sequence.number)
        self._on_progress(len(self._done), sum(self._tokens.values()))


def _read_prompts() -> list[str]:
    """Read prompts from standard input, one per line."""
    if not sys.stdin.isatty() and (prompts := list(input_lines())):
        return prompts
    do = 'give a text: lacy generate MODEL "Ada Lovelace", or lines on standard input'
    raise LacyError("E12", key="PROMPT", value=None, why="there is no text to continue", do=do)
