"""``lacy compare``: hold two scorecards, or two conditions of one, against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lacy import report, scorecard
from lacy.cli.terminal import say, table
from lacy.config import Positional, Rare
from lacy.errors import LacyError


@dataclass
class CompareConfig:
    """Compare two models by their scorecards, unit by unit, with tests.

    Every metric is compared on the texts and questions that both models were measured on: its
    difference, a p-value adjusted for the number of tests, and the smallest difference that would
    have been found. The texts that differ most are shown.
    """

    scorecards: Positional[list[Path]] = field(default_factory=list)
    """Folders of one or two scorecards, A and B, from lacy evaluate MODEL --all; of a single one,
    the conditions are compared."""

    # [Comparison]
    conditions: tuple[str, ...] = ()
    """Compare the first condition, of A, with the second one, of B; by default each condition with
    the same one, and of a single scorecard alone with cascade."""
    texts: int = 6
    """Number of texts to print that differ most."""
    seed: Rare[int] = 0
    """Random seed of the bootstrap and the tests."""

    # [Output]
    out: Path | None = None
    """Also write the comparison as a page (.html) or as Markdown (.md)."""


FLAGS = CompareConfig
EXAMPLES = """
lacy compare scorecard/base scorecard/tuned
lacy compare scorecard/tuned --conditions alone cascade --out comparison.html
"""


def run(config: CompareConfig) -> int:
    """Compare and print."""
    if len(config.conditions) not in (0, 2):
        why = "it takes two names"
        raise LacyError("E12", key="conditions", value=" ".join(config.conditions), why=why,
                        do="--conditions alone cascade")  # fmt: skip
    if len(config.scorecards) not in (1, 2):
        raise LacyError("E252", why=f"{len(config.scorecards)} scorecards were given")
    cards = [scorecard.read_scorecard(path) for path in config.scorecards]
    a, b = cards[0], cards[-1]
    conditions = (config.conditions[0], config.conditions[1]) if config.conditions else None
    if len(config.scorecards) == 1 and conditions is None:
        conditions = ("alone", "cascade")
    found = scorecard.compare(a, b, conditions=conditions, seed=config.seed)
    say(f"A: {found.name_a}")
    say(f"B: {found.name_b}")
    for section, rows in report.comparison_rows(found).items():
        table(section, rows, ("", "A", "B", "difference", "p, adjusted", "B is"))
    for sentence in found.notes:
        say(sentence)
    for pair in found.texts[: config.texts]:
        say("")
        say(f"{pair.unit} ({pair.metric} {pair.value_a:g} -> {pair.value_b:g})")
        say(f"  A: {' '.join(pair.a.split())}")
        say(f"  B: {' '.join(pair.b.split())}")
    if config.out is not None:
        _write(config.out, found)
    return 0


def _write(path: Path, found: scorecard.Comparison) -> None:
    """Write the comparison as a page or as Markdown."""
    from lacy.run import write_atomic

    if path.suffix == ".html":
        report.write_comparison_page(path, found)
    elif path.suffix == ".md":
        write_atomic(path, report.comparison_markdown(found))
    else:
        do = "give a file that ends in .html or .md"
        raise LacyError("E12", key="out", value=path, why="the ending names no format", do=do)
    say(f"Written: {path}")
