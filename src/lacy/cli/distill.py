"""``lacy distill``: train a model on the predictions of a larger one."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import print_report, say
from lacy.config import Inline, Positional, Rare
from lacy.distill import DistillSettings

if TYPE_CHECKING:
    from lacy.corpus import ReadReport
    from lacy.model import Loaded
    from lacy.objective import Objective


@dataclass
class DistillConfig(TextOptions):
    """Train a model on the predictions of a larger one, its teacher.

    Use it for a model that was made smaller (its teacher is the model before) or for a small one of
    the same family: both need the same tokenizer. Where the student may call a source, it does not
    imitate its teacher, because it need not know what the source will say; these places are the
    marks of `lacy data mark`.

    OUT receives model/, checkpoints/ and metrics.jsonl. The same command again resumes a stopped
    run.
    """

    student: Positional[str] = field(kw_only=True)
    """The model to train: a folder, a run, a .gguf file, smollm2, or a Hub name."""
    teacher: str | None = None
    """The larger model; not needed if all its predictions are in --store."""

    # [Texts]
    data: str = field(kw_only=True)
    """Packed data of `lacy data mark`; or texts, which have no marks unless they bring them."""
    context: int = 256
    """Tokens per row of texts that are not packed."""

    # [Output]
    out: Path | None = None
    """Folder of the run; by default runs/STUDENT-distilled."""
    store: Path | None = None
    """Compute the teacher's predictions once and keep them in this folder."""
    top: Rare[int] = 64
    """Number of tokens per position that --store keeps."""

    settings: Inline[DistillSettings] = field(default_factory=DistillSettings)
    """What the student takes over."""

    # [Training]
    tokens: int | None = None
    """Tokens to train on; by default one pass over the data."""
    depth: str = "full"
    """How much of the student is trained: full, last=N (layers), lora (adapters) or
    norms (their scales)."""
    lr: float | None = None
    """Learning rate; by default one that suits the size and --depth."""
    calls: bool = False
    """Learn <CALL> as well, with the student's own objective. Otherwise its row stays as it is;
    fit it again afterwards (lacy tune)."""
    hold_out: float = 0.05
    """Share of the rows on which the losses are measured before and after."""
    batch_rows: Rare[int] = 8
    """Rows per step."""
    grad_accum: Rare[int] = 1
    """Number of micro-batches that a batch is split into, to save memory."""

    # [Machine]
    device: Rare[Literal["auto", "cpu"]] = "auto"
    """Device; auto uses a GPU if there is one."""
    threads: Rare[int] = 0
    """CPU threads, 0 for torch's default."""
    seed: int = 0
    """Seed of the order of the rows."""
    quiet: bool = False
    """Print nothing but errors."""
    dry_run: bool = False
    """Report data, memory and time (a few measured steps), and write nothing."""


FLAGS = DistillConfig
EXAMPLES = """
lacy distill runs/pruned --teacher runs/tuned --data data/wiki --out runs/recovered
lacy distill runs/pruned --teacher runs/tuned --data data/wiki --dry-run
lacy distill runs/small --teacher runs/large --data data/wiki --store predictions --calls
"""


def run(config: DistillConfig) -> int:
    """Distil a model and print what to do next."""
    from lacy.corpus import ReadReport
    from lacy.distill import distill, estimate
    from lacy.model import load_model

    report = ReadReport()
    out = config.out or Path("runs") / f"{Path(config.student).name}-distilled"
    student = load_model(config.student, verify=False)
    objective = _objective(student) if config.calls else None
    shared: dict[str, Any] = {
        "settings": config.settings, "objective": objective, "stored": config.store,
        "tokens": config.tokens, "lr": config.lr, "depth": config.depth,
        "context": config.context, "batch_rows": config.batch_rows,
        "grad_accum": config.grad_accum, "hold_out": config.hold_out, "seed": config.seed,
        "device": config.device, "threads": config.threads,
        "notify": (lambda sentence: None) if config.quiet else _say,
    }  # fmt: skip
    data = _data(config, report)
    if config.dry_run:
        say(estimate(student, config.teacher, data, **shared))
        return 0
    made = distill(
        student, config.teacher, data, out=out, top=config.top, quiet=config.quiet, **shared
    )
    if config.quiet:
        return 0
    print_report(report)
    folder = shlex.quote(str(out))
    if made.loaded.calls and objective is None:
        say(f"Next: lacy tune {folder} --data ARTICLES --out {folder}-tuned")
    else:
        source = " --source FACTS.sqlite" if made.loaded.calls else ""
        say(f'Next: lacy generate {folder} "..."{source}')
    return 0


def _objective(student: Loaded) -> Objective:
    from lacy.distill import calls_objective

    objective, why = calls_objective(student)
    _say(why)
    return objective


def _data(config: DistillConfig, report: ReadReport) -> Any:
    """Return packed data as a path, or an iterator over texts."""
    if (Path(config.data) / "lacy_data.json").is_file():
        return Path(config.data)
    return config.read(config.data, report)


def _say(sentence: str) -> None:
    """Print a note on standard error."""
    say(sentence, file=sys.stderr)
