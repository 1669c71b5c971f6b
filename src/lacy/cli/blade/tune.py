"""``lacy blade tune``: teach a small model to write the knowledge for questions."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lacy.blade import WriterSettings
from lacy.cli.terminal import facts, note, say
from lacy.config import Inline, Positional


@dataclass
class BladeTuneConfig:
    """Teach a small model to write the knowledge that a question needs (BLADE's second stage).

    Only the knowledge has a loss. OUT is an ordinary model. A model that calls keeps its <CALL> row
    and, nearly, its margins (--hold-call).
    """

    model: Positional[str] = field(kw_only=True)
    """The small model: a folder, a run, a .gguf file, smollm2, or a Hub name."""
    triples: Path = field(kw_only=True)
    """Triples of lacy blade triples, or any file with the fields question, knowledge and answer."""
    settings: Inline[WriterSettings] = field(default_factory=WriterSettings)
    """How it is trained."""
    # [Output]
    out: Path | None = None
    """Folder of the model; by default runs/MODEL-writer."""
    quiet: bool = False
    """Print nothing but errors."""


FLAGS = BladeTuneConfig
EXAMPLES = """
lacy blade tune runs/elements --triples triples.jsonl --out runs/writer
"""


def run(config: BladeTuneConfig) -> int:
    """Train, save, and print the losses."""
    from lacy.blade import read_triples, tune_writer

    out = config.out or Path("runs") / f"{Path(config.model.rstrip('/')).stem}-writer"
    triples = read_triples(config.triples, knowledge=True)
    silent = config.quiet

    def shown(step: int, steps: int, loss: float) -> None:
        if not silent and (step == steps or step % max(1, steps // 10) == 0):
            note(f"step {step:,} of {steps:,}: loss {loss:.3f}")

    done = tune_writer(
        config.model, triples, out, config.settings, on_step=shown,
        notify=(lambda sentence: None) if silent else note,
    )  # fmt: skip
    if silent:
        return 0
    facts(str(out), {
        "triples": done.triples, "steps": done.steps,
        "loss": f"{done.first_loss:.3f} in the first tenth of the steps, {done.last_loss:.3f} in "
        "the last",
    })  # fmt: skip
    say(f"Next: lacy blade optimise {shlex.quote(str(out))} --questions DEV.jsonl "
        "--black-box http://host:port/v1#model", sys.stderr)  # fmt: skip
    return 0
