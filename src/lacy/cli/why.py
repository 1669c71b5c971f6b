"""``lacy why``: for each word of a text who said it, what the model saw, and what was offered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lacy.cli import calibration
from lacy.cli.flags import REPEATS, Repeated
from lacy.cli.terminal import as_text

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep, Engine

PAGE = 120
"""Letters per line of a table in a file."""


@dataclass
class WhyConfig:
    """Explains each step of a continuation, or (--teacher) each token of a given text.

    Shown are the <CALL> margin, the threshold that held at that step, p(CALL), whether an annotator
    marks the word as a fact, the next best words, and for each call what was offered, how well it
    fitted, what was taken, and why the rest was not.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run; a policy may follow a colon: runs/mine:budget=0.22."""
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The text to continue, or with --teacher to read along."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """Who answers calls, as in `lacy generate`; the next one is asked for what those before it did
    not answer."""
    cache: Path | None = None
    """File in which answers of language models are kept, so that each is asked for once."""
    policy: str | None = None
    """When to call; by default as in `lacy generate`."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns."""
    calibrate: int = calibration.TEXTS
    """Read the model along so many texts of its source first, as in `lacy generate`."""
    teacher: bool = False
    """Explain the tokens of TEXT itself; where the model would call, the source is asked, but the
    text goes on as it stands."""
    max_new_tokens: int = 24
    """Most tokens of the continuation."""
    subject: str | None = None
    """Whom or what the text is about; by default whom the source finds in it."""
    marks: bool = True
    """Let the bundled annotator mark facts (needs lacy[spacy])."""
    words: int = 5
    """Next best words to keep of each step; as many are shown as fit."""
    json: bool = False
    """Print JSON instead of a table."""
    out: Path | None = None
    """Write what is shown (a table, or JSON with --json) into this file instead."""
    plot: Path | None = None
    """Draw margin and threshold along the text into a .png or .svg (needs lacy[study])."""


FLAGS = WhyConfig
EXAMPLES = """
lacy why runs/mine "Emil Quilodell was born on" --source world
lacy why runs/mine "Emil Quilodell was born in Kelfield." --source world --teacher --plot why.png
"""


def run(config: WhyConfig) -> int:
    """Explain and print."""
    config.text = as_text(config.text)
    from lacy.cli.why_output import check_picture, draw

    check_picture(config.plot)
    from lacy.cascade import explain, read_along

    engine = _engine(config)
    if config.teacher:
        text, steps = read_along(engine, config.text, subject=config.subject, words=config.words)
    else:
        answer, steps = explain(engine, config.text, subject=config.subject, words=config.words)
        text = answer.text
    notes = []
    if config.marks:
        from lacy.cli.why_output import with_marks

        steps, note = with_marks(steps, text)
        notes += [note] * bool(note)
    if config.json:
        _write_json(config, _data(engine, config, text, steps, notes))
    else:
        _write_table(config, text, steps, notes)
    if config.plot is not None:
        draw(config.plot, steps, text)
    return 0


def _engine(config: WhyConfig) -> Engine:
    """The model with its source, as ``lacy generate`` makes it."""
    from lacy.cascade import Engine, Never
    from lacy.cli.policies import split_policy, told_policy
    from lacy.model import load_model
    from lacy.sources import open_sources

    name, travelling = split_policy(config.model)
    loaded = load_model(name)
    source = open_sources(config.source, cache=config.cache)
    policy = told_policy(config.policy or travelling, source, loaded.meta)
    calls = source is not None and not isinstance(policy, Never)
    made = calibration.from_source(loaded, config.source if calls else None, config.calibrate)
    return Engine(
        loaded,
        source,
        policy,
        unit=config.unit,
        max_new_tokens=config.max_new_tokens,
        calibration=made,
    )


def _data(
    engine: Engine, config: WhyConfig, text: str, steps: Sequence[DecodeStep], notes: Sequence[str]
) -> dict[str, Any]:
    from lacy.cascade import plain

    return {
        "model": config.model,
        "source": config.source,
        "policy": str(engine.policy),
        "unit": engine.unit,
        "teacher": config.teacher,
        "text": text,
        "notes": list(notes),
        "steps": plain(steps),
    }


def _write_json(config: WhyConfig, data: dict[str, Any]) -> None:
    from lacy.run import write_atomic

    shown = json.dumps(data, ensure_ascii=False, indent=None if config.out is None else 1)
    if config.out is None:
        print(shown)
    else:
        write_atomic(config.out, shown + "\n")


def _write_table(
    config: WhyConfig, text: str, steps: Sequence[DecodeStep], notes: Sequence[str]
) -> None:
    import io

    from rich.console import Console
    from rich.text import Text

    from lacy.cli.why_output import opening, show
    from lacy.run import write_atomic

    page = io.StringIO()
    console = Console() if config.out is None else Console(file=page, width=PAGE)
    palette: dict[str, str] = {}
    console.print(opening(text, steps, palette, console), soft_wrap=not console.is_terminal)
    console.print(Text())
    show(console, steps, palette, notes=notes, words=config.words)
    if config.out is not None:
        write_atomic(config.out, page.getvalue())
