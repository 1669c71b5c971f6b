"""``lacy compress``: make a model smaller by a plan, and measure what every step costs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from lacy.cli.terminal import facts, note, say, table
from lacy.compress import (
    OUTPUTS,
    STEPS,
    Compression,
    CompressPlan,
    Stage,
    StageRow,
    planned,
    read_compress_plan,
    stage_row,
)
from lacy.config import Positional, Rare, dump_commented
from lacy.results import Score


@dataclass
class CompressFlags:
    """Make a model smaller step by step, write it for a runtime, and measure every stage.

    A plan lists steps (vocabulary, layers, width, sparsity, recover, refit) and outputs (gguf,
    int8, onnx, folder). The model itself is only read. After every step, the row of <CALL> is
    fitted again, so that the model keeps calling, and size, losses on and off fact tokens, AUROC of
    calls, facts right with calls, speed and memory are measured on texts that no step has read. OUT
    receives the models, the files, report.html and compression.json. The same command continues a
    stopped compression; finished stages are never repeated.
    """

    model: Positional[str]
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name."""
    # [Plan]
    plan: str = "phone"
    """A plan: phone (one GGUF file, any text), browser (the smallest file, for texts like those of
    --data), server (8-bit weights and GGUF), or a YAML file; `lacy help config compress` writes one
    with all settings."""
    data: str = ""
    """Texts like those that the model will read and write: at least 20; 200 are better."""
    held_out: str = ""
    """Other texts, on which the stages are measured; by default every fifth text of --data."""
    only: Rare[str | None] = None
    """Use only texts for which this field is true, for example is_biography."""
    # [Output]
    out: Path | None = None
    """Folder of the results; by default runs/MODEL-PLAN."""
    dry_run: bool = False
    """Check everything and print what would be done."""


FILE = False
FLAGS, SETTINGS = CompressFlags, CompressPlan
EXAMPLES = """
lacy compress runs/tuned --data my_articles/ --plan phone
lacy compress smollm2 --data my_articles/ --plan my-plan.yaml --out runs/small --dry-run
"""


def more_settings() -> str:
    """Return the settings of all steps and outputs as comments, for the end of a plan."""
    lines = ["", "# All steps and outputs, with all their settings and defaults:", "#"]
    for name, kinds in (("steps", STEPS), ("outputs", OUTPUTS)):
        lines.append(f"# {name}:")
        for kind, cls in kinds.items():
            about, _, body = dump_commented(cls).partition("\n\n")
            inner = [f"        {line}" for line in body.splitlines() if line]
            lines += [f"#   {line}" for line in about.splitlines()]
            lines += [f"#   - {kind}{':' * bool(inner)}", *(f"# {line}" for line in inner)]
    return "\n".join(lines) + "\n"


def run(flags: CompressFlags) -> int:
    """Carry out a plan."""
    from lacy import report
    from lacy.compress import compress

    if not flags.data:
        from lacy.errors import LacyError

        do = "give texts like those that the model will write: --data my_articles/"
        raise LacyError("E12", key="data", value="", why="it is missing", do=do)
    plan = read_compress_plan(flags.plan)
    name = Path(flags.model.rstrip("/")).stem
    out = flags.out or Path("runs") / f"{name}-{Path(flags.plan).stem}"
    if flags.dry_run:
        return _dry_run(flags, plan, out)
    done = compress(
        flags.model, flags.data, plan, out, held_out=flags.held_out or None, only=flags.only,
        notify=note, on_stage=_print_stage,
    )  # fmt: skip
    report.write_compression_page(out / "report.html", done)
    _print_table(done)
    say(f"Written: {out / 'report.html'} and {out / 'compression.json'}")
    for stage in done.stages:
        if stage.path.is_relative_to(out / "outputs"):
            say(f"  {stage.name}: {stage.path}")
    return 0


def _dry_run(flags: CompressFlags, plan: CompressPlan, out: Path) -> int:
    """Check the plan against the model, and print it."""
    from lacy.compress import check_before_work, texts_of_plan
    from lacy.model import load_model

    loaded = load_model(flags.model)
    check_before_work(loaded, plan, out, flags.model)
    fit, held_out = texts_of_plan(flags.data, flags.held_out or None, plan, only=flags.only)
    steps = {step.name: step.described() for step in planned(plan)}
    counts = f"{len(fit)} for the steps, {len(held_out)} to measure on"
    facts(f"{flags.model} into {out}", {"texts": counts} | steps)
    return 0


def _print_stage(original: Stage, stage: Stage) -> None:
    """Print one line about a stage that is done."""
    from lacy import report

    cells = report.stage_cells(stage_row(original, stage))
    shown = zip(report.STAGE_COLUMNS, cells, strict=True)
    line = ", ".join(f"{name} {cell}" for name, cell in shown if cell not in ("–", "0"))
    say(f"{stage.name}: {line}", file=sys.stderr)


def _print_table(done: Compression) -> None:
    from lacy.compress import stage_rows

    rows = [(row.name, *_short(row)) for row in stage_rows(done)]
    title = "Stages: rise of the loss off and on facts; AUROC of calls; facts right with calls"
    columns = ("", "size", "smaller", "off facts", "on facts", "AUROC", "right", "tokens/s")
    table(title, rows, columns)


def _short(row: StageRow) -> tuple[str, ...]:
    """Return the values of a stage without intervals, for a terminal."""
    from lacy.report import format_figure

    def shown(score: Score | None) -> str:
        return format_figure(score.value, score.unit) if score else "–"

    def risen(score: Score) -> str:
        return f"{100 * score.value:+.2f}%" if math.isfinite(score.value) else "–"

    return (
        f"{row.bytes / 1e6:.1f} MB", f"{row.ratio:.1f} x",
        risen(row.loss_off_facts), risen(row.loss_on_facts), shown(row.auroc), shown(row.right),
        shown(row.decode),
    )  # fmt: skip
