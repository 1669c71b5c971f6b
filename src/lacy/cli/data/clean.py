"""``lacy data clean``: leave out near-duplicates and texts of low quality."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import facts, print_report, say
from lacy.config import Positional
from lacy.corpus import ReadReport

if TYPE_CHECKING:
    from lacy.types import Document


@dataclass
class CleanConfig(TextOptions):
    """Leave out near-duplicates and texts of low quality before training.

    Near-duplicates share most of their word n-grams; the first one stays. With --like, a
    small classifier learns to tell texts like yours of good quality from the others, and the share
    --keep of the texts that are most like them stays. It writes:

      OUT/texts.jsonl    the texts that are kept, for lacy data mark OUT
      OUT/removed.csv    the others: why, like which text, with what score
      OUT/clean.json     settings and counts
    """

    source: Positional[str] = field(kw_only=True)
    """Texts: a file, a folder, or hf:owner/name."""
    # [Output]
    out: Path = field(kw_only=True)
    """Folder to write; an older one of this command is replaced."""

    # [Near-duplicates]
    near: float = 0.8
    """Jaccard similarity of word n-grams from which a text is a near-duplicate of an earlier one; 0
    to compare nothing."""
    words: int = 5
    """Words per n-gram; fewer words find looser copies."""

    # [Quality]
    like: str | None = None
    """Texts of good quality, such as textbooks or edited articles (some hundreds or more); without
    them, only near-duplicates are left out."""
    keep: float | None = None
    """Share of the texts to keep, without near-duplicates; with --like, by default 0.5."""
    seed: int = 0
    """Chooses the texts from which the classifier learns (at most 5,000 of each side)."""


FLAGS = CleanConfig
EXAMPLES = """
lacy data clean crawl.jsonl.gz --out data/clean
lacy data clean crawl.jsonl.gz --out data/clean --like textbooks.jsonl --keep 0.3
"""


def run(config: CleanConfig) -> int:
    """Clean the texts and print the counts."""
    from lacy.clean import CleanSettings, clean_texts

    reports = [ReadReport()]
    counts = clean_texts(
        _documents(config, config.source, reports),
        config.out,
        CleanSettings(config.near or None, config.words, config.keep, config.seed),
        like=None if config.like is None else _documents(config, config.like, reports),
        notify=lambda sentence: say(sentence, file=sys.stderr),
    )
    before, after = counts.characters
    shown: dict[str, object] = {
        "texts read": counts.read,
        "near-duplicates": f"{counts.near:,} ({counts.near / counts.read:.1%})",
    }
    if counts.auroc is not None:
        shown["low scores"] = f"{counts.low:,} (below {counts.threshold:.3f})"
        shown["AUROC of the classifier on held-out texts"] = f"{counts.auroc:.3f}"
    shown["kept"] = f"{counts.kept:,} texts, {after / before:.1%} of the characters"
    facts(f"Texts in {config.out}", shown)
    print_report(reports[-1])
    out = shlex.quote(str(config.out))
    say(f"Next: look at {out}/removed.csv, then: lacy data mark {out} --out {out}-packed")
    return 0


def _documents(
    config: CleanConfig, source: str, reports: list[ReadReport]
) -> Callable[[], Iterator[Document]]:
    """Return a function that reads documents; each pass has a report of its own."""

    def documents() -> Iterator[Document]:
        reports.append(ReadReport())
        return config.read(source, reports[-1], limit=config.limit)

    return documents
