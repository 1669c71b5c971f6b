"""``lacy generate``: continue texts, with a source that answers the calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.cli.options import SamplingOptions
from lacy.cli.terminal import as_text, input_lines, note
from lacy.config import Positional
from lacy.errors import LacyError

if TYPE_CHECKING:
    from rich.console import Console

    from lacy.cascade import Engine, TextSequence
    from lacy.types import Answer


@dataclass
class GenerateConfig(SamplingOptions):
    """Continue texts with a model; where it calls, a source answers.

    MODEL may also be the address of a model on another server: http://host:port/v1#name.
    """

    prompt: Positional[list[str]] = field(default_factory=list)
    """Texts to continue; without any, one per line of standard input."""

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
    prompts = [as_text(word) for word in config.prompt] or _read_prompts()
    from lacy.cascade import question_hint

    engine = config.open(fixed_policy=True)
    templated = bool(getattr(engine.tokenizer, "chat_template", None))
    for hint in dict.fromkeys(question_hint(prompt, templated=templated) for prompt in prompts):
        if hint:
            note(hint)
    answers = _generate(engine, prompts, config.show)
    if config.out is not None:
        from lacy.cascade import write_answers

        write_answers(config.out, answers)
    return 0


def _generate(engine: Engine, prompts: Sequence[str], show: bool) -> list[Answer]:
    """Generate and print: a single text in a terminal as it is written, others at the end."""
    from rich.console import Console

    console = Console()
    palette: dict[str, str] = {}
    begin = time.perf_counter()
    streamed = len(prompts) == 1 and console.is_terminal
    if streamed:
        answers = [_streamed(engine, prompts[0], console, palette)]
    else:
        with _progress(engine, len(prompts)) as watched:
            answers = watched.generate(prompts)
    seconds = time.perf_counter() - begin
    _print(console, answers, palette, show, engine, seconds, shown=streamed)
    return answers


def _streamed(engine: Engine, prompt: str, console: Console, palette: dict[str, str]) -> Answer:
    """Generate one text and print its words as they come."""
    from lacy.cli.streaming import SpanWriter, generate_live
    from lacy.remote import LoopThread
    from lacy.types import Span

    writer = SpanWriter(console, palette)
    with LoopThread() as loop_thread:
        writer.write(Span(prompt, "prompt"))
        try:
            sequence = engine.sequence(0, prompt, None, engine.max_new_tokens)
            return generate_live(engine, loop_thread, sequence, writer.write)
        finally:
            writer.end()


@contextmanager
def _progress(engine: Engine, prompts: int) -> Iterator[Engine]:
    """Yield the engine; show a progress bar on standard error if that is a terminal."""
    from rich.console import Console
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
        counted = engine.variant()
        counted.observer = ProgressCounter(
            lambda done, tokens: bar.update(task, completed=done, tokens=tokens)
        )
        yield counted


class ProgressCounter:
    """An observer of the engine that counts finished texts and generated tokens.

    Args:
        on_progress: is called with both after each token.
    """

    def __init__(self, on_progress: Callable[[int, int], object]) -> None:
        self._on_progress = on_progress
        self._tokens: dict[int, int] = {}
        self._done: set[int] = set()

    def decided(self, sequences: Any, logits_RV: Any, decisions: Any) -> None:
        """Do nothing; no token is generated yet."""

    def applied(self, sequence: TextSequence, own: int, outcome: Any) -> None:
        """Count the tokens of a text that has grown, and the text if it is done."""
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


def _print(
    console: Console,
    answers: Sequence[Answer],
    palette: dict[str, str],
    show: bool,
    engine: Engine,
    seconds: float,
    *,
    shown: bool,
) -> None:
    """Print the answers in colours, unless they were shown as they came, and a receipt."""
    from rich.text import Text

    from lacy.cascade import bill, colours, legend, receipt, render_answer
    from lacy.cli.streaming import cut_off, evidence, long_receipt
    from lacy.sources import price_of

    for name, colour in colours(answers).items():
        palette.setdefault(name, colour)
    for answer in answers:
        if not shown:
            console.print(render_answer(answer, palette, not console.no_color), soft_wrap=True)
        if console.is_terminal and (cut := cut_off(answer)):
            console.print(Text(f"({cut}: --max-new-tokens sets the limit)", style="dim"))
        if show and console.is_terminal:
            console.print()
        for line in evidence(answer, palette, console) if show else ():
            console.print(line, soft_wrap=not console.is_terminal)
        console.print()
    silent = any(s.asked and s.speaker == "slm" for answer in answers for s in answer.spans)
    console.print(legend(palette, not console.no_color, silent=silent))
    if not show:
        console.print(Text(receipt(answers)))
        return
    found = bill(answers, seconds=seconds, price=price_of(engine.source))
    console.print(long_receipt(found, palette, console), soft_wrap=True)
