"""``lacy generate``: a model speaks, a source answers its calls, colours say who said what."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ..errors import LacyError
from . import calibration
from .verb import REPEATS, Repeated, settings

if TYPE_CHECKING:
    from ..types import Answer


@dataclass
class GenerateConfig:
    """Lets a model continue texts; where it calls, a source speaks."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run; a policy may follow a colon: runs/mine:budget=0.22."""
    prompt: list[str] = field(default_factory=list)
    """Texts to continue. Without any, lines are read from the standard input."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """Who answers calls: a .sqlite file, a folder of `lacy world` or `lacy source build`, a model's
    folder or name, http://host:port/v1#name for a model behind a server, llm:name for one of the
    llm package. The next one is asked for what those before it did not answer."""
    cache: Path | None = None
    """File in which answers of language models are kept, so that each is asked for once."""
    price: Repeated = field(default_factory=list, metadata=REPEATS)
    """Of a million tokens read and spoken, for receipts: 0.15,0.60, or NAME=0.15,0.60 of one source
    of several. For models behind servers and of the llm package."""
    policy: str | None = None
    """When to call: never, always, budget=0.22, threshold=0.5, entropy=2, top2=0.7,
    random=0.22. By default budget=0.22, the paper's; threshold=0 (where <CALL> is the likeliest
    token) for a database and a model that was taught where not to call."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns."""
    calibrate: int = calibration.TEXTS
    """Where the source is a folder of `lacy world` or `lacy source build`: read the model along so
    many of its texts first, so that it ranks what the source offers as it was measured to. 0 for
    none."""
    max_new_tokens: int = 128
    """Most tokens per answer, whoever speaks them."""
    temperature: float = 0.0
    """0 always takes the likeliest token."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens with this probability."""
    seed: int = 0
    """Of sampling."""
    show: bool = False
    """Show why and from where each borrowed word came."""
    out: Path | None = None
    """Also write the answers with their provenance, as JSON lines."""


SETTINGS = GenerateConfig
EXAMPLE = """
lacy generate runs/mine --prompt "Emil Quilodell" --source world --policy budget=0.22 --show
"""


def main(argv: Sequence[str]) -> int:
    """Generates and prints."""
    config = settings(GenerateConfig, argv, "generate", EXAMPLE)
    prompts = config.prompt or _from_input()
    from ..cascade import Engine, Never
    from ..model import load
    from ..sources.opening import open_sources
    from .policies import split_policy, told_policy

    name, travelling = split_policy(config.model)
    loaded = load(name)
    source = open_sources(config.source, cache=config.cache, prices=config.price)
    policy = told_policy(config.policy or travelling, source, loaded.meta)
    calls = source is not None and not isinstance(policy, Never)
    engine = Engine(
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
    answers = engine.generate(prompts)
    _print(answers, config.show)
    if config.out is not None:
        from ..cascade.trace import write_answers

        write_answers(config.out, answers)
    return 0


def _from_input() -> list[str]:
    """Prompts from the standard input, one per line."""
    if not sys.stdin.isatty():
        lines = [line.rstrip("\n") for line in sys.stdin]
        if prompts := [line for line in lines if line.strip()]:
            return prompts
    do = 'give one: --prompt "Ada Lovelace", or lines on the standard input'
    raise LacyError("E12", key="prompt", value=None, why="there is no text to continue", do=do)


def _print(answers: Sequence[Answer], show: bool) -> None:
    """Answers in colours, then what the calls took."""
    from rich.console import Console
    from rich.text import Text

    from ..cascade.trace import colours, receipt, render

    console = Console()
    palette = colours(answers)
    for answer in answers:
        console.print(render(answer, palette), soft_wrap=True)
        asked = [span for span in answer.spans if span.asked] if show else []
        for span in asked:
            why = "; ".join(part for part in (span.reason, span.evidence) if part)
            line = Text(f"  {span.speaker}: {span.text.strip()!r}  {why}", style="dim")
            console.print(line, soft_wrap=True)
        console.print()
    who = Text("own words")
    for name, colour in palette.items():
        who.append("  ").append(name, style=colour)
    console.print(who)
    console.print(Text(receipt(answers)))
