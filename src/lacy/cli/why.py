"""``lacy why``: explain each step of a text: its speaker, signals, calls and candidates."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy import cascade
from lacy.cli import step_table
from lacy.cli.options import EngineOptions, note_questions
from lacy.cli.terminal import as_text
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep, Engine

WIDTH = 120
"""Line length of a table in a file, in characters."""


@dataclass
class WhyConfig(EngineOptions):
    """Explain each step of a continuation or, with --teacher, each token of a given text.

    Shown are the <CALL> margin, its threshold at that step, p(CALL), whether an annotator marks the
    word as a fact, the next best words, and for each call the candidates with their scores, the one
    taken, and why the others were not.
    """

    text: Positional[str] = field(kw_only=True)
    """The text to continue or, with --teacher, to read."""

    # [Generation]
    max_new_tokens: int = 24
    """Maximum number of tokens of the continuation."""
    teacher: bool = False
    """Explain the tokens of TEXT itself; calls are answered, but the text stays as it is."""
    subject: str | None = None
    """Who or what the text is about; by default the source finds it in the text."""

    # [Output]
    marks: bool = True
    """Show which words the bundled annotator marks as facts (needs lacy[spacy])."""
    words: Rare[int] = 5
    """Number of next best words per step; the table shows as many of them as fit."""
    json: bool = False
    """Print JSON instead of a table."""
    out: Path | None = None
    """Write the table or JSON to this file instead."""
    plot: Path | None = None
    """Draw margin and threshold along the text into a .png or .svg (needs lacy[study])."""


FLAGS = WhyConfig
EXAMPLES = """
lacy why runs/mine "Emil Quilodell was born on" --source world
lacy why runs/mine "Emil Quilodell was born in Kelfield." --source world --teacher --plot why.png
"""


def run(config: WhyConfig) -> int:
    """Explain the steps and print them."""
    config.text = as_text(config.text)
    step_table.check_plot_name(config.plot)
    if cascade.is_address(config.model):
        why, do = "its server does not return enough to explain a step", "give the model's folder"
        raise LacyError("E12", key="MODEL", value=config.model, why=why, do=do)
    engine = config.open(fixed_policy=True)
    if not config.teacher:
        note_questions([config.text], engine, config.model)
    options: dict[str, Any] = {"subject": config.subject, "words": config.words}
    if config.teacher:
        text, steps = cascade.read_along(engine, config.text, **options)
    else:
        answer, steps = cascade.explain(engine, config.text, **options)
        text = answer.text
    notes = []
    if config.marks:
        steps, missing = step_table.with_marks(steps, text)
        notes += [missing] * bool(missing)
    if config.json:
        shown = _as_json(engine, config, text, steps, notes)
    else:
        shown = _as_table(config, text, steps, notes)
    if config.out is not None:
        from lacy.run import write_atomic

        write_atomic(config.out, shown)
    if config.plot is not None:
        step_table.draw(config.plot, steps, text)
    return 0


def _as_json(
    engine: Engine, config: WhyConfig, text: str, steps: Sequence[DecodeStep], notes: Sequence[str]
) -> str:
    """Return the steps as JSON; print them if there is no output file."""
    values = {
        "model": config.model,
        "source": config.source,
        "policy": str(engine.policy),
        "unit": engine.unit,
        "teacher": config.teacher,
        "text": text,
        "notes": list(notes),
        "steps": cascade.steps_to_json(steps),
    }
    shown = json.dumps(values, ensure_ascii=False, indent=None if config.out is None else 1)
    if config.out is None:
        print(shown)
    return shown + "\n"


def _as_table(
    config: WhyConfig, text: str, steps: Sequence[DecodeStep], notes: Sequence[str]
) -> str:
    """Return the steps as a table; print it if there is no output file."""
    from rich.console import Console
    from rich.text import Text

    page = io.StringIO()
    console = Console() if config.out is None else Console(file=page, width=WIDTH)
    palette: dict[str, str] = {}
    whole = step_table.coloured_text(text, steps, palette, console)
    console.print(whole, soft_wrap=not console.is_terminal)
    console.print(Text())
    step_table.show(console, steps, palette, notes=notes, words=config.words)
    return page.getvalue()
