"""``lacy tune``: teach a pretrained model to call, in minutes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.annotate import AnnotateConfig
from lacy.cli.data.texts import TextOptions, text_source
from lacy.cli.terminal import print_report, say, table
from lacy.config import Inline, Positional, Rare
from lacy.corpus import ReadReport
from lacy.tune import TuneSettings

if TYPE_CHECKING:
    from lacy.tune import TuneResult


@dataclass
class TuneConfig(TextOptions):
    """Teach a pretrained model where to call a source, in minutes on a CPU.

    The model stays as it is: only the row of <CALL> is fitted, as a gate that gives the probability
    that a value (a name, date or number) begins at the next token. The articles should be like the
    texts that the model will write; 100 to 200 are enough. Texts are marked by spaCy and the rules
    of `lacy data mark`; marks that the data already have are used as they are.

    The report compares the gate with three controls on articles that it was not fitted on: the same
    regression on the last word or the last two words alone, and the entropy of the model.
    """

    model: Positional[str] = field(kw_only=True)
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name."""

    # [Texts]
    data: str = field(kw_only=True)
    """Articles: text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file or a folder), packed data
    of `lacy data mark`, or hf:owner/name."""

    replay: str | None = None
    """Articles of an earlier tuning to add to those of --data, such as after lacy data loop; at
    most --articles of them."""

    only: Rare[str | None] = None
    """Read only articles for which this field is true, for example is_biography."""

    # [Output]
    out: Path | None = None
    """Folder of the tuned model; by default runs/MODEL-tuned."""

    settings: Inline[TuneSettings] = field(default_factory=TuneSettings)
    """What is fitted, on how much text."""

    # [Annotation]
    spacy: Rare[Inline[AnnotateConfig]] = field(default_factory=AnnotateConfig)
    """The spaCy pipeline and its rules."""


FLAGS = TuneConfig
EXAMPLES = """
lacy tune smollm2 --data my_articles/
lacy tune smollm2 --data wiki.jsonl.gz --articles 100 --out runs/wiki-gate
"""


def run(config: TuneConfig) -> int:
    """Tune the model and print its figures."""
    from lacy.tune import tune

    settings = config.settings
    out = config.out or Path("runs") / f"{Path(config.model).name}-tuned"
    report = ReadReport()
    chosen = {f.name: getattr(settings, f.name) for f in fields(settings)}
    reading = {
        name: getattr(config, name)
        for name in ("text_field", "id_field", "split", "only", "limit", "encoding", "follow_links")
    }
    result = tune(
        config.model, text_source(config.data), out=out, annotate=config.spacy, report=report,
        replay=None if config.replay is None else text_source(config.replay), notify=_say,
        **chosen, **reading,
    )  # fmt: skip
    print_report(report)
    _print_figures(result)
    folder = shlex.quote(str(out))
    say(f'Next: lacy generate {folder} "..." --source FACTS.sqlite')
    say(f"      lacy serve {folder} --source FACTS.sqlite")
    return 0


def _print_figures(result: TuneResult) -> None:
    """Print the tables of the report."""
    from lacy.tune import TARGETS, figure_columns, figure_rows, interval, kind_rows

    figures = result.figures
    heading, words = TARGETS[result.meta["target"]]
    count = f"{figures.due:,} of {figures.tokens:,} {words}"
    title = f"{heading} ({count}; {figures.articles} articles, each scored by a fit on others)"
    table(title, list(figure_rows(figures.target)), figure_columns())
    if figures.missed:
        title = f"Misses: first mentions that the model gets wrong ({figures.misses:,} tokens)"
        table(title, list(figure_rows(figures.missed)), figure_columns())
    if figures.kinds:
        table("AUROC by kind of value", list(kind_rows(figures)), ["kind", *figures.target])
    say(f"Calibration error of the gate: {interval(figures.calibration.error)}")


def _say(sentence: str) -> None:
    """Print a step or note on standard error."""
    say(sentence, file=sys.stderr)
