"""Documents from text, Markdown, HTML, PDF, JSONL, Parquet, folders of these, the Hub's datasets.

Real text is dirty. A broken line, a wrong encoding or an empty text is counted, reported with
its place (``file:line``) in a ``ReadReport`` and skipped; a source with nothing usable at all is
an error. Everything is read as a stream, in bounded memory.
"""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lacy._text import first_line
from lacy.corpus import _arrow, _cells, _csv, _files, _folder, _json
from lacy.corpus._files import Complain, Row, Wanted
from lacy.corpus._unpack import PACKED
from lacy.corpus.encoding import codec_of
from lacy.corpus.read_formats import FORMATS
from lacy.corpus.read_pages import Pages
from lacy.corpus.report import ReadReport as ReadReport
from lacy.errors import LacyError, one_line
from lacy.types import Document

Rows = Callable[[Wanted, Complain], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Stream:
    """An opened source: ``rows`` takes the options and a callback for damage, and yields rows."""

    rows: Rows
    file: str = ""
    """The file that the rows come from."""


KINDS = {
    ".txt": _files.text_rows,
    ".text": _files.text_rows,
    ".log": _files.text_rows,
    ".rst": _files.rst_rows,
    ".jsonl": _json.json_lines,
    ".ndjson": _json.json_lines,
    ".json": _json.json_file,
    ".csv": _csv.csv_rows,
    ".tsv": _csv.csv_rows,
    ".tab": _csv.csv_rows,
    ".parquet": _arrow.parquet_rows,
}
"""File formats by suffix; all except Parquet may be compressed."""

_TABLES = {".jsonl", ".ndjson", ".parquet"}

IDS_KEPT = 1_000_000
"""Ids remembered to notice repeated ones; bounds the memory at about 100 MB."""

LONGEST_ID = 1_000
"""Most characters of an id; longer ones are replaced."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def read(
    source: str | Path,
    *,
    text_field: str = "text",
    id_field: str = "id",
    split: str = "train",
    limit: int | None = None,
    report: ReadReport | None = None,
    encoding: str | None = None,
    follow_links: bool = False,
) -> Iterator[Document]:
    """Reads documents as a stream.

    Args:
        source: a text, Markdown, HTML or PDF file (one document; the title, and where the pages
            of a PDF begin, in ``Document.meta``), ``.jsonl``/``.ndjson`` (one object per line),
            ``.json`` (an array, lines, or one object), ``.csv``/``.tsv`` (with a header line),
            any of these compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``), ``.parquet``, a folder
            of such files (read in sorted order, with its subfolders; a ``README.md`` beside tables
            describes them and is left out), a folder written by ``datasets.save_to_disk``, or
            ``hf:owner/name`` or ``hf:owner/name:config`` (streamed from the Hub).
        text_field: name of the text field; in CSV, ``text`` also matches other common names. All
            other plain fields become ``Document.meta``, except ``marks``: a list of
            ``[start, end, reason, relation]`` becomes the marks.
        id_field: name of the id field; without one, the id is file name and line.
        split: the split of a ``datasets`` source; files have none.
        limit: stop after this many documents.
        report: filled while reading; without one, a summary of what was skipped is logged.
        encoding: the encoding of texts that are not UTF-8 and declare none, by any name that
            browsers or Python know; without it, it is guessed (``lacy.corpus.encoding``).
        follow_links: whether to follow links to folders, and to files outside the folder.

    Returns:
        An iterator. Ids are unique: a repeated one is changed to ``id#2``, ``id#3`` ...

    Raises:
        LacyError: at the call: E12, no such encoding; E13, no such file; E27, unknown format; E120,
            a pipe or device. While reading: E21, nothing usable; E22, no row has the text field;
            E23, the Hub cannot be read; E11, all files need a package that is not installed.
    """
    name, pages, told = str(source), Pages(), ReadReport() if report is None else report
    wanted = Wanted(
        text_field, codec_of(encoding) if encoding is not None else None, told.notes.add
    )
    if name.startswith("hf:"):
        streams = [Stream(_hub(name, split))]
    else:
        streams = _local(Path(source), split, pages, told, follow_links)
    found = _documents(name, streams, wanted, id_field, limit, told, pages)
    return found if report is not None else _logged(name, found, told)


def _logged(name: str, documents: Iterator[Document], told: ReadReport) -> Iterator[Document]:
    yield from documents
    if told.skipped or told.renamed or told.left or told.notes:
        logging.getLogger(__name__).warning("%s: %s", one_line(name), told.summary())


def write_documents(documents: Iterable[Document], path: str | Path) -> int:
    """Writes documents with their marks as JSONL that ``read`` takes back; returns their number.

    ``meta`` stands beside ``id``, ``text`` and ``marks``, so it must not use these names.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with gzip.open(part, "wb") if path.suffix == ".gz" else open(part, "wb") as file:
            for document in documents:
                file.write(json.dumps(_row(document), ensure_ascii=False).encode() + b"\n")
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _row(document: Document) -> dict[str, Any]:
    marks = [[mark.start, mark.end, mark.reason, mark.relation] for mark in document.marks]
    return {**document.meta, "id": document.id, "text": document.text, "marks": marks}


# ------------------------------------------------------------------------------------ sources


def _local(
    path: Path, split: str, pages: Pages, told: ReadReport, follow_links: bool
) -> list[Stream]:
    if not path.exists() or path == Path():  # Path("") would be the current folder
        raise LacyError("E13", path=path, do="check the path; Hub names are written hf:owner/name")
    if path.is_file():
        return [_file(path, pages)]
    if not path.is_dir():
        raise LacyError("E120", path=path, kind=_files.kind_of(path.stat().st_mode))
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return [Stream(_saved(path, split))]
    found = _folder.look(path, lambda file: bool(_kind(file)), follow=follow_links)
    tables = {file.parent for file in found.files if _kind(file) in _TABLES}
    # In a data set README.md is its card, no text of it.
    cards = [f for f in found.files if f.name.lower() == "readme.md" and f.parent in tables]
    for kind, file in [*found.left, *(("README.md beside tables", card) for card in cards)]:
        told.leave(kind, file)
    files = sorted(set(found.files) - set(cards))
    if not files and not found.shut:
        left = ", ".join(f"{n:,} x {kind}" for kind, n in told.left.counts.most_common(5))
        why = f"it contains no supported files{left and f' (only {left})'}"
        raise LacyError("E27", path=path, why=why)
    return [
        *(_file(file, pages) for file in files),
        *(Stream(_shut(error)) for error in found.shut),
    ]


def _shut(error: OSError) -> Rows:
    def rows(wanted: Wanted, complain: Complain) -> Iterator[Row]:
        del wanted
        complain("unreadable folder", str(error.filename), error.strerror or str(error))
        yield from ()

    return rows


def _kind(path: Path) -> str:
    """The end of a name by which a file is read, without ``.gz``; "" if it is not read."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    packed = suffixes[-1:] != [] and suffixes[-1] in PACKED
    kind = "".join(suffixes[:-1] if packed else suffixes[-1:])
    known = (kind in KINDS or kind in FORMATS) and not (packed and kind == ".parquet")
    return kind if known else ""


def _file(path: Path, pages: Pages) -> Stream:
    kind = _kind(path)
    if not kind:
        raise LacyError("E27", path=path, why="its file type is not supported")
    where = os.path.realpath(path)
    if kind in FORMATS:
        return Stream(lambda wanted, complain: pages.rows(path, kind, wanted, complain), where)
    return Stream(lambda wanted, complain: KINDS[kind](path, wanted, complain), where)


def _saved(path: Path, split: str) -> Rows:
    """A folder of ``datasets.save_to_disk``, read through memory mapping."""

    def rows(wanted: Wanted, complain: Complain) -> Iterator[Row]:
        import datasets

        try:
            found = datasets.load_from_disk(str(path))
            if isinstance(found, datasets.DatasetDict):
                found = found[split]
            kept = _arrow.columns(found.features.arrow_schema, wanted.text_field)
            batches = found.select_columns(kept).with_format("arrow").iter(1024)
            for _, place, row in _arrow.arrow_rows(batches, str(path), wanted, complain):
                if row is not None:
                    yield place, row
        except KeyError:
            raise LacyError("E23", name=path, why=f"it has no split {split!r}") from None
        except Exception as error:  # the library raises whatever its parts raise
            raise LacyError(
                "E23", name=path, why=f"{type(error).__name__}: {first_line(error)}"
            ) from error

    return rows


def _hub(name: str, split: str) -> Rows:
    repository, _, config = name.removeprefix("hf:").partition(":")
    if not repository:
        raise LacyError("E23", name=name, why="no name after hf:")

    def rows(wanted: Wanted, complain: Complain) -> Iterator[Row]:
        del wanted, complain
        import datasets

        try:
            found = datasets.load_dataset(repository, config or None, split=split, streaming=True)
            if found.features is not None:
                found = found.decode(False)  # do not decode images and audio
            for number, row in enumerate(found, 1):
                yield f"{name}[{split}]:{number}", dict(row)
        except Exception as error:  # network, names, formats: each library its own class
            raise LacyError(
                "E23", name=name, why=f"{type(error).__name__}: {first_line(error)}"
            ) from error

    return rows


# ---------------------------------------------------------------------------------- documents


def _documents(
    source: str,
    streams: Iterable[Stream],
    wanted: Wanted,
    id_field: str,
    limit: int | None,
    told: ReadReport,
    pages: Pages,
) -> Iterator[Document]:
    path = Path(source)
    base = f"{path if path.is_dir() else path.parent}{os.sep}"
    seen: dict[str, int] = {}
    found = itertools.chain.from_iterable(
        _usable(stream, wanted, id_field, base, told) for stream in streams
    )
    with pages:
        for document in itertools.islice(found, limit):
            if document.id in seen:
                document = _renamed(document, seen)
                told.renamed += 1
            if len(seen) < IDS_KEPT:
                seen[document.id] = 2
            told.documents += 1
            told.characters += len(document.text)
            yield document
    if not told.documents and limit != 0:
        raise _nothing(source, wanted.text_field, told, pages)


def _usable(
    stream: Stream, wanted: Wanted, id_field: str, base: str, report: ReadReport
) -> Iterator[Document]:
    text_field = wanted.text_field
    for place, row in stream.rows(wanted, report.skip):
        report.fields = report.fields or [str(key)[:80] for key in itertools.islice(row, 50)]
        text = row.get(text_field)
        if text_field not in row:
            report.skip("no text field", place, f"has {_names(row) or 'nothing'}")
        elif text is None:
            report.skip("null text", place)
        elif not isinstance(text, str):
            report.skip("text is no string", place, type(text).__name__)
        elif not text.strip():
            report.skip("empty text", place)
        elif not text.isascii() and (found := _SURROGATE.search(text)):
            report.skip("wrong encoding", place, f"half a surrogate pair at {found.start()}")
        else:
            try:
                marks = _cells.marks_of(row.get("marks"), len(text))
            except (ValueError, TypeError, KeyError) as error:
                report.skip("unusable marks", place, str(error)[:200])
                continue
            name = _id(row.get(id_field)) or _written(place.removeprefix(base)).replace("\\", "/")
            meta = _meta(row, {text_field, id_field, "marks"}, place, report)
            yield Document(name, text, meta, marks, stream.file)


def _meta(
    row: dict[str, Any], left_out: set[str], place: str, report: ReadReport
) -> dict[str, Any]:
    def damaged(name: str, why: str) -> None:
        report.notes.add("unusable cell, left out", f"{place}, {name}", why)

    return _cells.plain_cells(row, left_out, damaged)


def _names(row: dict[str, Any]) -> str:
    """The names of a row's fields, shortened if there are many."""
    names = ", ".join(str(key) for key in itertools.islice(row, 20))
    return names if len(names) <= 200 else f"{names[:200]}…"


def _id(value: Any) -> str:
    """A stored id as text; empty where there is none that names anything."""
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    if not usable or (isinstance(value, int) and value.bit_length() > 4096):
        return ""
    name = str(value)
    unfit = len(name) > LONGEST_ID or not name.strip() or _SURROGATE.search(name)
    return "" if unfit else name


def _written(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _renamed(document: Document, seen: dict[str, int]) -> Document:
    """The document with a unique id."""
    for number in itertools.count(seen[document.id]):
        fresh = f"{document.id}#{number}"
        if fresh not in seen:
            break
    seen[document.id] = number + 1
    return replace(document, id=fresh)


def _nothing(source: str, text_field: str, report: ReadReport, pages: Pages) -> LacyError:
    """The error for a source without one usable document, as exact as the report allows."""
    if pages.missing and set(report.skipped) == {"no reader"}:
        what, package = f"reading {source}", pages.missing[0]
        return LacyError("E11", extra_for=what, package=package, extra="documents")
    if set(report.skipped) == {"no text field"}:
        fields = ", ".join(report.fields) or "no field at all"
        return LacyError("E22", field=text_field, path=source, fields=fields, setting="text-field")
    if not report.skipped:
        return LacyError("E21", path=source, why="it is empty", do="give a file with text in it")
    why = "; ".join(
        f"{count} x {reason} (first: {report.places[reason][0]})"
        for reason, count in report.skipped.most_common()
    )
    advice = "look at that place"
    if "wrong encoding" in report.skipped:
        advice = "name the encoding (--encoding windows-1251), or convert it to UTF-8"
    return LacyError("E21", path=source, why=why, do=advice)
