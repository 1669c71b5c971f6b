"""``lacy source build``: turn texts into a source that answers calls."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.data.texts import TextOptions, text_source
from lacy.cli.terminal import facts, print_report, say
from lacy.config import Positional
from lacy.errors import LacyError, one_line

if TYPE_CHECKING:
    from lacy.sources.texts import MissingDocuments
    from lacy.types import Document

SHOWN = 5
"""Maximum number of skipped documents that are listed."""


@dataclass
class BuildConfig(TextOptions):
    """Index texts, so that the values in them can answer calls.

    The values are those marked in the texts, or else those that spaCy's rules find. Building again
    into the same folder adds new texts, replaces changed ones, and removes those that no longer
    exist.
    """

    texts: Positional[str] = field(kw_only=True)
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder),
    hf:owner/name, or a folder of `lacy data world`."""
    # [Index]
    out: Path = field(kw_only=True)
    """Folder of the index."""
    pipeline: str = "bundled"
    """spaCy pipeline for texts without marks: bundled, auto, a package or a folder."""
    engine: Literal["fts5", "tantivy"] | None = None
    """Search engine of a new index: SQLite (fts5, the default), or tantivy for many texts."""
    vectors: str | None = None
    """Also find passages by meaning, with a model2vec model (folder or Hub name)."""
    gone: Literal["auto", "keep", "remove"] = "auto"
    """What to do with indexed texts that are no longer in TEXTS; auto removes them unless nearly
    all are missing, as a disk may not be mounted."""


FLAGS = BuildConfig
EXAMPLES = """
lacy source build texts/ --out kb
lacy source ask kb "Ada Lovelace was born in"
"""


def run(config: BuildConfig) -> int:
    """Build or update the index."""
    from lacy.corpus import ReadReport
    from lacy.sources.texts import (
        BuildReport,
        Documents,
        Origin,
        count_documents,
        default_annotator,
    )

    source = text_source(config.texts)
    seen, done = ReadReport(), BuildReport()
    complete = config.limit is None
    origin = Origin(str(source), config.gone, seen.incomplete, complete=complete)

    def documents() -> Iterator[Document]:
        try:
            yield from config.read(config.texts, seen, limit=config.limit)
        except LacyError as error:  # no such file, or nothing readable in it
            count = (
                count_documents(config.out, origin) if error.code in ("E13", "E21", "E27") else 0
            )
            if not count:
                raise
            if config.gone != "remove":
                values = {"root": config.texts, "path": config.out, "count": f"{count:,}"}
                raise LacyError("E121", **values) from error

    annotator = None if config.pipeline == "bundled" else default_annotator(config.pipeline)
    with Documents.build(
        documents(),
        config.out,
        annotator=annotator,
        report=done,
        engine=config.engine,
        vectors=config.vectors,
        origin=origin,
    ) as built:
        counts = {
            "documents": len(built),
            "added": done.added,
            "replaced": done.replaced,
            "as they were": done.unchanged,
            "removed": done.missing.removed,
            "skipped": sum(seen.skipped.values()) + len(done.skipped),
            "kinds of value": ", ".join(sorted(built.alternatives)) or "none",
        }
    facts(f"Index of texts in {config.out}", counts)
    print_report(seen)
    for name, why in done.skipped[:SHOWN]:
        say(f"skipped: {why}: {name}", file=sys.stderr)
    if more := len(done.skipped) - len(done.skipped[:SHOWN]):
        print(f"skipped: {more:,} more", file=sys.stderr)
    _print_missing(done.missing, config)
    out = shlex.quote(str(config.out))
    say(f'Next: lacy source ask {out} "..."')
    say(f"      lacy generate MODEL --source {out}")
    return 0


def _print_missing(missing: MissingDocuments, config: BuildConfig) -> None:
    """Print what happened to indexed documents that are no longer in the texts."""
    names = ", ".join(map(repr, map(one_line, missing.names[:SHOWN])))
    texts, out = shlex.quote(config.texts), shlex.quote(str(config.out))
    lines = []
    if missing.removed:
        lines.append(f"removed: {missing.removed:,} that are no longer in {config.texts}: {names}")
    if missing.kept:
        lines.append(f"kept: {missing.kept:,} that are no longer in {config.texts}: {names}")
        if config.gone != "keep":
            lines.append("  These are nearly all its documents in the index: is a disk missing?")
            lines.append(f"  To remove them: lacy source build {texts} --out {out} --gone remove")
    if missing.unread:
        lines.append(f"kept: {missing.unread:,} from files that could not be read this time")
    if missing.elsewhere:
        lines.append(f"kept: {missing.elsewhere:,} from other places than {config.texts}")
    for line in lines:
        say(line, file=sys.stderr)
