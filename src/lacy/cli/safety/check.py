"""``lacy safety check``: measure a classifier on labelled texts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.safety.labelled import LabelledOptions
from lacy.cli.terminal import say, table
from lacy.config import Positional
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.results import Score


@dataclass
class CheckSafetyConfig(LabelledOptions):
    """Measure on labelled texts how well a classifier tells harmful from safe ones.

    One row per role and source. AUROC is the probability that a harmful text scores above a safe
    one; a source with one class only is ranked against the other class of all sources. Caught and
    flagged safe are the shares of harmful and of safe texts from the classifier's own threshold on;
    caught at rate uses the threshold at which --rate of these safe texts are flagged. ECE is the
    expected calibration error. Intervals are 95%. No text is printed or written, only counts.
    """

    model: Positional[str] = field(kw_only=True)
    """Folder of lacy safety train."""
    files: Positional[list[Path]] = field(kw_only=True)
    """Labelled texts, of sources that the classifier was not trained on."""
    # [Measure]
    rate: float = 0.05
    """Share of safe texts that may be flagged."""
    # [Output]
    out: Path | None = None
    """Also write the figures as JSON."""


FILE = False
FLAGS = CheckSafetyConfig
EXAMPLES = """
lacy safety check classifier other-texts.jsonl
lacy safety check classifier prompts.jsonl answers.jsonl --rate 0.01 --out figures.json
"""


def run(config: CheckSafetyConfig) -> int:
    """Print and write the figures."""
    from lacy._require import require_share
    from lacy.safety import check_classifier, load_classifier

    require_share("rate", config.rate)
    classifier = load_classifier(config.model)
    texts = config.labelled(config.files)
    if not any(one.harmful is not None for one in texts):
        raise LacyError("E348", role="text", label="unknown")
    figures = check_classifier(classifier, texts, rate=config.rate)
    rows = [
        (f"{one.role}s", one.source, one.harmful, one.safe, shown(one.auroc), shown(one.caught),
         shown(one.flagged_safe), shown(one.caught_at_rate), f"{one.ece:.3f}")
        for one in figures
    ]  # fmt: skip
    columns = ("role", "source", "harmful", "safe", "AUROC", "caught", "flagged safe",
               f"caught at {config.rate:g}", "ECE")  # fmt: skip
    table(f"{config.model} on {len(texts):,} texts", rows, columns)
    seen = sorted({one.source for one in texts} & _trained_on(classifier.made))
    if seen:
        say(f"Trained on texts of these sources, too: {', '.join(seen)}")
    if config.out is not None:
        from lacy.disk import write_atomic
        from lacy.results import as_data
        from lacy.run import environment

        data = {"model": config.model, "rate": config.rate, "made": classifier.made,
                "figures": [as_data(one) for one in figures],
                "environment": environment()}  # fmt: skip
        write_atomic(config.out, json.dumps(data, indent=1) + "\n")
        say(f"Written: {config.out}")
    return 0


def _trained_on(made: dict[str, object]) -> set[str]:
    """Return the sources of the training texts."""
    sources = made.get("sources")
    names = sources if isinstance(sources, dict) else {}
    return {name.partition("s of ")[2] for name in names}


def shown(score: Score) -> str:
    """Format a score with its interval in one cell; a dash if it is undefined."""
    if math.isnan(score.value):
        return "-"
    if math.isnan(score.low):
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
