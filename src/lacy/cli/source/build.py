"""``lacy source build``: turn texts into a source that answers calls."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.terminal import facts, print_report, say
from lacy.config import Positional
from lacy.errors import LacyError, one_line

if TYPE_CHECKING:
    from lacy.sources.texts import MissingDocuments
    from lacy.types import Document

SHOWN = 5
"""Skipped documents that are listed."""


@dataclass
class BuildSource:
    """Indexes texts, so that the values in them can answer calls.

    The values are those marked in the texts, or else those that spaCy's rules find. Building again
    into the same folder adds new texts, replaces changed ones, and removes those that no longer
    exist.
    """

    texts: Positional[str]
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder),
    hf:owner/name, or a folder of `lacy data world`."""
    out: Path
    """The folder of the index."""
    pipeline: str = "bundled"
    """spaCy pipeline for texts without marks: bundled, auto, a package or a folder."""
    text_field: str = "text"
    """Name of the text field in JSON, CSV and Parquet."""
    id_field: str = "id"
    """Name of the id field."""
    encoding: str | None = None
    """Encoding of texts that are not UTF-8 and declare none: windows-1252, shift_jis ... By default
    lacy reads Western European texts as windows-1252 and leaves out the rest."""
    follow_links: bool = False
    """Follow symbolic links to folders, and to files outside the folder."""
    split: str = "train"
    """The split of a Hub data set."""
    limit: int | None = None
    """Read only this many documents."""
    engine: Literal["fts5", "tantivy"] | None = None
    """Search engine of a new index: SQLite (fts5, the default), or tantivy for many texts."""
    vectors: str | None = None
    """Also find passages by meaning: folder or Hub name of a model2vec model."""
    gone: Literal["auto", "keep", "remove"] = "auto"
    """What to do with indexed texts that are no longer in TEXTS: auto removes them unless nearly
    all are missing (a disk may not be mounted)."""


FLAGS = BuildSource
EXAMPLES = """
lacy source build texts/ --out kb
lacy source ask kb "Ada Lovelace was born in"
"""


def run(config: BuildSource) -> int:
    """Build or update the index."""
    from lacy.corpus import ReadReport, read
    from lacy.sources.texts import (
        BuildReport,
        Documents,
        Origin,
        count_documents,
        default_annotator,
    )

    texts = Path(config.texts)
    if (texts / "world.json").is_file():
        texts = texts / "train.jsonl"
    source = config.texts if config.texts.startswith("hf:") else texts
    seen, done = ReadReport(), BuildReport()
    complete = config.limit is None
    origin = Origin.of(str(source), config.gone, seen.incomplete, complete=complete)

    def documents() -> Iterator[Document]:
        try:
            yield from read(
                source,
                text_field=config.text_field,
                id_field=config.id_field,
                split=config.split,
                limit=config.limit,
                report=seen,
                encoding=config.encoding,
                follow_links=config.follow_links,
            )
        except LacyError as error:  # no such file, no text in it, or no readable file in a folder
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


def _print_missing(missing: MissingDocuments, config: BuildSource) -> None:
    """Reports what happened to documents that no longer exist."""
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
