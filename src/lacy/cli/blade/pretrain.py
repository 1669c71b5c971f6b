"""``lacy blade pretrain``: continue pretraining a small model on domain texts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import note, print_report, say
from lacy.config import Positional, Rare

if TYPE_CHECKING:
    from lacy.corpus import ReadReport


@dataclass
class BladePretrainConfig(TextOptions):
    """Continue pretraining a small model on domain texts (BLADE, stage 1).

    OUT receives model/, checkpoints/ and metrics.jsonl; the same command again resumes a stopped
    run. A model that calls goes on learning where to call, if the texts are marked (lacy data
    mark).
    """

    model: Positional[str] = field(kw_only=True)
    """The small model: a folder, a run, a .gguf file, smollm2, or a Hub name."""
    # [Texts]
    data: str = field(kw_only=True)
    """Texts of the domain, or packed data of lacy data mark."""
    context: int = 256
    """Tokens per row of texts that are not packed."""
    # [Training]
    epochs: float = 3.0
    """Passes over the texts."""
    depth: str = "lora"
    """How much of the model is trained: lora (adapters), last=N (layers), norms or full."""
    lr: float | None = None
    """Learning rate; by default one that suits the size and --depth."""
    batch_rows: Rare[int] = 8
    """Rows per step."""
    # [Output]
    out: Path | None = None
    """Folder of the run; by default runs/MODEL-domain."""
    # [Machine]
    device: Rare[Literal["auto", "cpu"]] = "auto"
    """Device; auto uses a GPU if there is one."""
    threads: Rare[int] = 0
    """CPU threads, 0 for torch's default."""
    seed: int = 0
    """Seed of adapters and order."""
    quiet: bool = False
    """Print nothing but errors."""


FLAGS = BladePretrainConfig
EXAMPLES = """
lacy blade pretrain smollm2 --data elements.jsonl --out runs/elements
"""


def run(config: BladePretrainConfig) -> int:
    """Train and say what is next."""
    from lacy.blade import pretrain_domain
    from lacy.corpus import ReadReport

    report = ReadReport()
    out = config.out or Path("runs") / f"{Path(config.model.rstrip('/')).stem}-domain"
    pretrain_domain(
        config.model, _data(config, report), out, epochs=config.epochs, depth=config.depth,
        lr=config.lr, context=config.context, batch_rows=config.batch_rows, seed=config.seed,
        device=config.device, threads=config.threads, quiet=config.quiet,
        notify=(lambda sentence: None) if config.quiet else note,
    )  # fmt: skip
    if not config.quiet:
        print_report(report)
        say(f"Next: lacy blade tune {shlex.quote(str(out))} --triples TRIPLES.jsonl", sys.stderr)
    return 0


def _data(config: BladePretrainConfig, report: ReadReport) -> Any:
    """Return packed data as a path, or an iterator over texts."""
    if (Path(config.data) / "lacy_data.json").is_file():
        return Path(config.data)
    return config.read(config.data, report)
