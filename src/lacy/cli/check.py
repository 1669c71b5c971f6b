"""``lacy check``: a look at marks, data or a model before spending time on them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lacy.cli.reading import tell
from lacy.cli.verb import choose, facts, room, settings
from lacy.errors import LacyError

WHAT = {
    "marks": "shares of marked tokens, what does not fit, coloured samples",
    "data": "whether a source of texts can be read, and what is skipped",
    "model": "whether a model is whole, has <CALL>, and what it takes",
}


@dataclass
class CheckMarks:
    """Shows where marks stand: shares, misalignments and coloured samples."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A packed folder of `lacy annotate`, or JSON lines with marks."""
    tokenizer: str | None = None
    """For JSON lines: the tokenizer whose tokens are counted (a folder or a Hub name)."""
    samples: int = 3
    """How many marked texts to show."""
    limit: int | None = None
    """Of JSON lines, read so many."""


@dataclass
class CheckData:
    """Reads a source of texts to its end and reports what is skipped, with places."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder), or
    hf:owner/name."""
    text_field: str = "text"
    """Name of the text field in JSON, CSV and Parquet."""
    encoding: str | None = None
    """Encoding of texts that are not UTF-8 and declare none: windows-1252, shift_jis ... By default
    lacy reads Western European texts as windows-1252 and leaves out the rest."""
    follow_links: bool = False
    """Follow symbolic links to folders, and to files outside the folder."""
    limit: int | None = None
    """Read only this many documents."""


@dataclass
class CheckModel:
    """Opens a model and says what it is; damage and a missing <CALL> are errors."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run."""


def main(argv: Sequence[str]) -> int:
    """Checks what the second word names."""
    what, rest = choose("check", WHAT, argv)
    return {"marks": _marks, "data": _data, "model": _model}[what](rest)


def _marks(argv: Sequence[str]) -> int:
    example = "lacy check marks data/wiki --samples 5"
    config = settings(CheckMarks, argv, "check marks", example)
    from rich.console import Console

    from lacy.annotate import check_marks
    from lacy.corpus import PackedData, load_tokenizer, read

    if config.data.is_dir() and (config.data / "lacy_data.json").exists():
        found = check_marks(PackedData.load(config.data), samples=config.samples)
    elif config.tokenizer is None:
        do = f"lacy check marks {config.data} --tokenizer FOLDER"
        why = "texts are counted in tokens of a tokenizer"
        raise LacyError("E12", key="tokenizer", value=None, why=why, do=do)
    else:
        documents = read(config.data, limit=config.limit)
        tokenizer = load_tokenizer(config.tokenizer)
        found = check_marks(documents, tokenizer, samples=config.samples)
    Console().print(found)
    return 0 if found.sound else 3


def _data(argv: Sequence[str]) -> int:
    config = settings(CheckData, argv, "check data", "lacy check data wiki.jsonl.gz")
    from lacy.corpus import ReadReport, read

    report = ReadReport()
    marked = marks = 0
    source = read(
        config.source,
        text_field=config.text_field,
        limit=config.limit,
        report=report,
        encoding=config.encoding,
        follow_links=config.follow_links,
    )
    for document in source:
        marked += bool(document.marks)
        marks += len(document.marks)
    counts = {
        "documents": report.documents,
        "characters": report.characters,
        "characters per document": round(report.characters / max(1, report.documents)),
        "documents with marks": marked,
        "marks": marks,
        "repeated ids": report.renamed,
    }
    facts(f"Texts of {config.source}", counts)
    tell(report, sys.stdout)
    return 0


def _model(argv: Sequence[str]) -> int:
    config = settings(CheckModel, argv, "check model", "lacy check model runs/mine")
    loaded = room("model").load_model(config.model)
    model, meta = loaded.model, loaded.meta
    parameters = sum(parameter.numel() for parameter in model.parameters())
    about = {
        "folder": loaded.path,
        "kind": type(model).__name__,
        "parameters": parameters,
        "context": loaded.context,
        "tokens": len(loaded.tokenizer),
        "<CALL>": f"id {loaded.call_id}, the last",
        "memory to speak": f"{4 * parameters / 2**20:,.0f} MiB",
    }
    for name in ("preset", "method", "steps", "call_rate"):
        if name in meta:
            about[name] = meta[name]
    facts("The model is whole", about)
    return 0
