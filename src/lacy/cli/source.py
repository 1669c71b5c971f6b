"""``lacy source``: texts become a source, a database gets a mapping; any source is asked."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lacy.cli.reading import tell
from lacy.cli.verb import choose, facts, say, settings
from lacy.errors import LacyError, one_line
from lacy.sources.db.stores import without_secret
from lacy.sources.names import NameIndex

if TYPE_CHECKING:
    from lacy.sources.texts import Lost
    from lacy.types import Document, Reply

WHAT = {
    "build": "make texts a source that needs no large model",
    "map": "write a first mapping of a database's tables, to be corrected",
    "ask": "see what a source offers for the beginning of a text",
}

SHOWN = 5
"""Skipped documents that are listed."""


@dataclass
class BuildSource:
    """Indexes texts, so that the values in them can answer calls.

    The values are those marked in the texts, or else those that spaCy's rules find. Building again
    into the same folder adds new texts, replaces changed ones, and removes those that no longer
    exist.
    """

    texts: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXTS")]
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder),
    hf:owner/name, or a folder of `lacy world`."""
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


@dataclass
class MapSource:
    """Writes a first mapping for a database whose tables were made for something else.

    It says whom or what facts are about, which columns are relations, and how tables join; comments
    say what to change. Nothing is written to the database.
    """

    database: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATABASE")]
    """A SQLite or DuckDB file, or postgresql://user@host/name."""
    out: Path
    """The mapping file; one that is there is left as it is."""


@dataclass
class AskSource:
    """Shows what a source offers to continue a text, with its evidence.

    A source that looks up offers all that fits: a model chooses among it. Who fails leaves with 4.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of `lacy source build` or `lacy world`, a .sqlite or .duckdb file, a database's
    address or mapping, a model's folder or name, http://HOST:PORT/v1#MODEL, llm:MODEL."""
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The beginning of a text, up to where a value is due."""
    subject: str | None = None
    """Whom or what it is about; by default whom it names first."""


BUILD_EXAMPLE = """
lacy source build texts/ --out kb
lacy source ask kb "Ada Lovelace was born in"
"""
MAP_EXAMPLE = """
lacy source map people.duckdb --out mapping.yaml
lacy source ask mapping.yaml "Ada Lovelace was born in"
"""
ASK_EXAMPLE = """
lacy source ask kb "Ada Lovelace was born in"
lacy source ask facts.sqlite "She was born in" --subject "Ada Lovelace"
"""


def main(argv: Sequence[str]) -> int:
    """Does what the second word names."""
    what, rest = choose("source", WHAT, argv)
    return {"build": _build, "map": _map, "ask": _ask}[what](rest)


def _build(argv: Sequence[str]) -> int:
    config = settings(BuildSource, argv, "source build", BUILD_EXAMPLE)
    from lacy.corpus import ReadReport, read
    from lacy.sources.texts import BuildReport, Documents, Root, count_of, finder

    texts = Path(config.texts)
    if (texts / "world.json").is_file():
        texts = texts / "train.jsonl"
    source = config.texts if config.texts.startswith("hf:") else texts
    seen, done = ReadReport(), BuildReport()
    root = Root.of(str(source), config.gone, seen.unread, whole=config.limit is None)

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
            count = count_of(config.out, root) if error.code in ("E13", "E21", "E27") else 0
            if not count:
                raise
            if config.gone != "remove":
                values = {"root": config.texts, "path": config.out, "count": f"{count:,}"}
                raise LacyError("E121", **values) from error

    extract = None if config.pipeline == "bundled" else finder(config.pipeline)
    with Documents.build(
        documents(),
        config.out,
        extract=extract,
        report=done,
        engine=config.engine,
        vectors=config.vectors,
        root=root,
    ) as built:
        counts = {
            "documents": len(built),
            "added": done.added,
            "replaced": done.replaced,
            "as they were": done.unchanged,
            "removed": done.lost.removed,
            "skipped": sum(seen.skipped.values()) + len(done.skipped),
            "kinds of value": ", ".join(sorted(built.alternatives)) or "none",
        }
    facts(f"Index of texts in {config.out}", counts)
    tell(seen)
    for name, why in done.skipped[:SHOWN]:
        say(f"skipped: {why}: {name}", file=sys.stderr)
    if more := len(done.skipped) - len(done.skipped[:SHOWN]):
        print(f"skipped: {more:,} more", file=sys.stderr)
    _tell_lost(done.lost, config)
    out = shlex.quote(str(config.out))
    say(f'Next: lacy source ask {out} "..."')
    say(f"      lacy generate MODEL --source {out}")
    return 0


def _tell_lost(lost: Lost, config: BuildSource) -> None:
    """Reports what happened to documents that no longer exist."""
    names = ", ".join(map(repr, map(one_line, lost.names[:SHOWN])))
    texts, out = shlex.quote(config.texts), shlex.quote(str(config.out))
    lines = []
    if lost.removed:
        lines.append(f"removed: {lost.removed:,} that are no longer in {config.texts}: {names}")
    if lost.kept:
        lines.append(f"kept: {lost.kept:,} that are no longer in {config.texts}: {names}")
        if config.gone != "keep":
            lines.append("  These are nearly all its documents in the index: is a disk missing?")
            lines.append(f"  To remove them: lacy source build {texts} --out {out} --gone remove")
    if lost.unread:
        lines.append(f"kept: {lost.unread:,} from files that could not be read this time")
    if lost.elsewhere:
        lines.append(f"kept: {lost.elsewhere:,} from other places than {config.texts}")
    for line in lines:
        say(line, file=sys.stderr)


def _map(argv: Sequence[str]) -> int:
    config = settings(MapSource, argv, "source map", MAP_EXAMPLE, file=False)
    from lacy.run import write_atomic
    from lacy.sources.db import draft

    text = draft(config.database, config.out)
    if config.out.exists():
        why = "it is there already, perhaps with your corrections"
        raise LacyError("E12", key="out", value=str(config.out), why=why, do="name another file")
    write_atomic(config.out, text)
    print(text)
    for line in text.splitlines():
        if line.startswith("# left out: "):
            say(line[2:], sys.stderr)
    out = shlex.quote(str(config.out))
    say(f'Next: correct {out}, then lacy source ask {out} "..."')
    return 0


def _ask(argv: Sequence[str]) -> int:
    config = settings(AskSource, argv, "source ask", ASK_EXAMPLE, file=False)
    from lacy.sources import guarded, open_source
    from lacy.types import Request

    source = open_source(config.source)
    assert source is not None  # only None is nobody
    request = Request(config.text, subject=config.subject)
    try:
        [reply] = asyncio.run(guarded(source, [request], timeout=None))
        _print(reply)
        names = getattr(source, "names", None)
    finally:
        getattr(source, "close", lambda: None)()
    if reply.candidates:
        named = shlex.quote(without_secret(config.source))
        say(f'Next: lacy generate MODEL --prompt "..." --source {named}')
    elif isinstance(names, NameIndex) and not reply.fault:
        print(_known(names))
    return 4 if reply.fault else 0


def _known(names: NameIndex) -> str:
    """Whom a source can be asked about."""
    some = ", ".join(repr(one_line(name)) for name in islice(names, 3))
    if not some:
        return "It knows no names: nothing is in it that could answer."
    known = f"the name {some}" if len(names) == 1 else f"{len(names):,} names, such as {some}"
    return f"It knows {known}. Name whom the text is about, or give --subject NAME."


def _print(reply: Reply) -> None:
    """Candidates, each with its kind and its evidence below."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not reply.candidates:
        said = one_line(f"No answer. {reply.error or ''}")
        console.print(Text(said), soft_wrap=True)
    for candidate in reply.candidates:
        line = Text(one_line(candidate.text), style="bold")
        console.print(
            line.append(f"  {one_line(candidate.kind)}", style="not bold"), soft_wrap=True
        )
        if candidate.evidence:
            console.print(Text(f"  {one_line(candidate.evidence)}", style="dim"), soft_wrap=True)
