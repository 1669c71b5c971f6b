"""``lacy generate``: a model speaks, a source answers its calls, colours say who said what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lacy.cli import calibration
from lacy.cli.flags import REPEATS, Repeated
from lacy.cli.terminal import as_text, input_lines, note
from lacy.errors import LacyError

if TYPE_CHECKING:
    from rich.console import Console

    from lacy.cascade import Engine, TextSequence
    from lacy.types import Answer


@dataclass
class GenerateConfig:
    """Lets a model continue texts; where it calls, a source speaks."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run; a policy may follow a colon: runs/mine:budget=0.22. Or
    http://host:port/v1#name for a model served by another engine (see --tokenizer)."""
    prompt: list[str] = field(default_factory=list)
    """Texts to continue. Without any, lines are read from the standard input."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """What answers calls: a .sqlite file, a folder of `lacy data world` or `lacy source build`, a
    model's folder or name, http://host:port/v1#name for a model on a server, llm:name for a model
    of the llm package. If one source has no answer, the next one is asked."""
    cache: Path | None = None
    """File that caches answers of language models, so that each question is asked only once."""
    price: Repeated = field(default_factory=list, metadata=REPEATS)
    """Price of a million input and output tokens, for receipts: 0.15,0.60, or NAME=0.15,0.60 for
    one of several sources. For models on servers and of the llm package."""
    policy: str | None = None
    """When to call: never, always, budget=0.22, threshold=0.5, entropy=2, top2=0.7,
    random=0.22. By default budget=0.22, the paper's; threshold=0 (where <CALL> is the likeliest
    token) for a database and a model that was taught where not to call."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns."""
    calibrate: int = calibration.TEXTS
    """If the source is a folder of `lacy data world` or `lacy source build`: number of its texts
    used to calibrate the ranking of the values that it offers. 0 turns calibration off."""
    max_new_tokens: int = 128
    """Maximum number of tokens per answer, from the model and its sources together."""
    temperature: float = 0.0
    """Sampling temperature; 0 always takes the likeliest token."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens with this probability."""
    seed: int = 0
    """Random seed for sampling."""
    tokenizer: Path | None = None
    """For a model on another server: a local folder with its tokenizer; weights are not read."""
    show: bool = False
    """Show the reason and origin of each word from a source, and a receipt."""
    out: Path | None = None
    """Also write the answers with their provenance, as JSON lines."""


FLAGS = GenerateConfig
EXAMPLES = """
lacy generate runs/mine --prompt "Emil Quilodell" --source world --policy budget=0.22 --show
"""


def run(config: GenerateConfig) -> int:
    """Generate and print."""
    prompts = [as_text(word) for word in config.prompt] or _from_input()
    from lacy.cascade import Never, question_hint
    from lacy.cli.hosting import at_a_server, open_model
    from lacy.cli.policies import split_policy, told_policy
    from lacy.sources import open_sources

    name, travelling = split_policy(config.model)
    loaded, engine_of = open_model(name, config.tokenizer)
    source = open_sources(config.source, cache=config.cache, prices=config.price)
    policy = told_policy(config.policy or travelling, source, loaded.meta)
    calls = source is not None and not isinstance(policy, Never) and not at_a_server(name)
    engine = engine_of(
        loaded,
        source,
        policy,
        unit=config.unit,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        calibration=calibration.from_source(
            loaded, config.source if calls else None, config.calibrate
        ),
    )
    templated = bool(getattr(loaded.tokenizer, "chat_template", None))
    for told in dict.fromkeys(question_hint(prompt, templated=templated) for prompt in prompts):
        if told:
            note(told)
    answers = _generate(engine, prompts, config.show)
    if config.out is not None:
        from lacy.cascade import write_answers

        write_answers(config.out, answers)
    return 0


def _generate(engine: Engine, prompts: Sequence[str], show: bool) -> list[Answer]:
    """Answers, shown: a single one in a terminal while it is written, others at the end."""
    import time

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
    """One answer, its words shown as they come."""
    from lacy.cli.live import Pen, speak
    from lacy.remote import LoopThread
    from lacy.types import Span

    pen = Pen(console, palette)
    with LoopThread() as loop_thread:
        pen.write(Span(prompt, "prompt"))
        try:
            sequence = engine.sequence(0, prompt, None, engine.max_new_tokens)
            return speak(engine, loop_thread, sequence, pen.write)
        finally:
            pen.end()


@contextmanager
def _progress(engine: Engine, prompts: int) -> Iterator[Engine]:
    """The engine, with a bar on the standard error where that is a terminal."""
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
        counted.observer = Counted(
            lambda done, tokens: bar.update(task, completed=done, tokens=tokens)
        )
        yield counted


class Counted:
    """An observer that counts what is done: texts and tokens.

    Args:
        told: is given both after each token.
    """

    def __init__(self, told: Callable[[int, int], object]) -> None:
        self._told = told
        self._tokens: dict[int, int] = {}
        self._done: set[int] = set()

    def decided(self, sequences: Any, logits_RV: Any, decisions: Any) -> None:
        """Nothing is done yet."""

    def applied(self, sequence: TextSequence, own: int, outcome: Any) -> None:
        """A text has grown, and may be at its end."""
        self._tokens[sequence.number] = sequence.generated
        if sequence.complete:
            self._done.add(sequence.number)
        self._told(len(self._done), sum(self._tokens.values()))


def _from_input() -> list[str]:
    """Prompts from the standard input, one per line."""
    if not sys.stdin.isatty() and (prompts := list(input_lines())):
        return prompts
    do = 'give one: --prompt "Ada Lovelace", or lines on the standard input'
    raise LacyError("E12", key="prompt", value=None, why="there is no text to continue", do=do)


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
    """Answers in colours (unless they were shown as they came), then what the calls took."""
    from rich.text import Text

    from lacy.cascade import bill, colours, receipt, render
    from lacy.cli.live import cut_off, evidence, shown_legend, told_receipt
    from lacy.sources import price_of

    for name, colour in colours(answers).items():
        palette.setdefault(name, colour)
    for answer in answers:
        if not shown:
            console.print(render(answer, palette, not console.no_color), soft_wrap=True)
        if console.is_terminal and (cut := cut_off(answer)):
            console.print(Text(f"({cut}: --max-new-tokens sets the limit)", style="dim"))
        if show and console.is_terminal:
            console.print()
        for line in evidence(answer, palette, console) if show else ():
            console.print(line, soft_wrap=not console.is_terminal)
        console.print()
    silent = any(s.asked and s.speaker == "slm" for answer in answers for s in answer.spans)
    console.print(shown_legend(palette, console, silent=silent))
    if not show:
        console.print(Text(receipt(answers)))
        return
    found = bill(answers, seconds=seconds, price=price_of(engine.source))
    console.print(told_receipt(found, palette, console), soft_wrap=True)
