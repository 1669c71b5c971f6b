"""``lacy blade optimise``: search the soft prompt with which a black box answers best."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.blade import OptimiseSettings
from lacy.cli.blade.box import BoxOptions, spent_line
from lacy.cli.terminal import facts, note, say
from lacy.config import Inline, Positional

if TYPE_CHECKING:
    from lacy.blade import Trial


@dataclass
class BladeOptimiseConfig(BoxOptions):
    """Search the soft prompt with which the black box answers best (BLADE's third stage).

    Each evaluation writes knowledge for all questions with one soft prompt and counts the right
    answers of the black box. OUT receives blade.json, the soft prompt, every evaluation
    (trials.jsonl) and every reply (answers.jsonl). The same command resumes a search that
    stopped, by a signal, a cap or a server that failed, and pays nothing twice.
    """

    model: Positional[str] = field(kw_only=True)
    """The small model, as lacy blade tune made it."""
    # [Questions]
    questions: Path = field(kw_only=True)
    """Questions with answers to optimise on; measure on others (lacy blade check)."""
    settings: Inline[OptimiseSettings] = field(default_factory=OptimiseSettings)
    """How it is searched."""
    # [Output]
    out: Path | None = None
    """Folder; by default runs/MODEL-blade."""
    quiet: bool = False
    """Print nothing but errors."""


FLAGS = BladeOptimiseConfig
EXAMPLES = """
lacy blade optimise runs/writer --questions dev.jsonl --black-box http://localhost:8000/v1#large
"""


def run(config: BladeOptimiseConfig) -> int:
    """Search, save, and print the best evaluation beside the one without a soft prompt."""
    from lacy.blade import optimise, read_triples

    config.settings.check()
    out = config.out or Path("runs") / f"{Path(config.model.rstrip('/')).stem}-blade"
    questions = read_triples(config.questions)
    silent = config.quiet

    def shown(trial: Trial) -> None:
        if not silent:
            what = f"evaluation {trial.number}" if trial.number else "without a soft prompt"
            note(f"{what}: {trial.right} of {trial.answered} right")

    done = optimise(
        config.model, questions, config.open, out, config.settings,
        examples=config.read_examples(), on_trial=shown,
        notify=(lambda sentence: None) if silent else note,
    )  # fmt: skip
    if silent:
        return 0
    none, best = done.trials[0], done.best
    facts(str(out), {
        "without a soft prompt": f"{none.right} of {none.answered} right",
        "best": f"{best.right} of {best.answered} right (evaluation {best.number})"
        if best.number else "none was better than no soft prompt",
        "evaluations": len(done.trials) - 1,
        "black box": spent_line(done.spent),
    })  # fmt: skip
    say(f"Next: lacy blade check {shlex.quote(str(out))} TEST.jsonl --black-box "
        f"{shlex.quote(config.black_box)}", sys.stderr)  # fmt: skip
    return 0
