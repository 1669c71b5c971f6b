"""Read documents: text, Markdown, HTML, PDF, JSON, CSV, Parquet, folders, datasets from the Hub.

Real text is dirty. Broken lines, wrong encodings and empty texts are skipped, counted and reported
with their place (``file:line``) in a ``ReadReport``; only a source without any usable text is an
error. Everything is read as a stream in bounded memory.
"""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lacy._text import SURROGATE, first_line
from lacy.corpus import files, metadata, read_csv, read_json, read_parquet
from lacy.corpus.compression import FORMATS
from lacy.corpus.encoding import codec_of
from lacy.corpus.files import PlacedRow, ReadOptions, RowConverter, Skip
from lacy.corpus.folder import list_folder
from lacy.corpus.reader_process import SUFFIXES, ReaderProcess
from lacy.corpus.report import ReadReport as ReadReport
from lacy.errors import LacyError, one_line
from lacy.types import Document

RowReader = Callable[[ReadOptions, Skip], Iterator[PlacedRow]]


@dataclass(frozen=True, slots=True)
class RowSource:
    """An opened source; ``rows`` takes options and a callback for problems, and yields rows."""

    rows: RowReader
    file: str = ""
    """The file that contains the rows."""


KINDS = {
    ".txt": files.plain_text_rows,
    ".text": files.plain_text_rows,
    ".log": files.plain_text_rows,
    ".rst": files.rst_rows,
    ".jsonl": read_json.json_lines,
    ".ndjson": read_json.json_lines,
    ".json": read_json.json_file,
    ".csv": read_csv.csv_rows,
    ".tsv": read_csv.csv_rows,
    ".tab": read_csv.csv_rows,
    ".parquet": read_parquet.parquet_rows,
}
"""File formats by suffix; all except Parquet may be compressed."""

_TABLES = {".jsonl", ".ndjson", ".parquet"}

MAX_IDS = 1_000_000
"""Number of ids that are remembered to detect repetitions; this takes at most about 100 MB."""

MAX_ID_LENGTH = 1_000
"""Maximum characters of an id; longer ids are replaced."""


def read(
    source: str | Path,
    *,
    text_field: str = "text",
    id_field: str = "id",
    split: str = "train",
    only: str | None = None,
    limit: int | None = None,
    report: ReadReport | None = None,
    encoding: str | None = None,
    follow_links: bool = False,
    converter: RowConverter | None = None,
) -> Iterator[Document]:
    """Read documents as a stream.

    Args:
        source: a text, Markdown, HTML or PDF file (one document; the title and the page starts of
            a PDF are in ``Document.meta``), ``.jsonl``/``.ndjson`` (one object per line), ``.json``
            (an array, lines, or one object), ``.csv``/``.tsv`` (with a header line), any of these
            compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``), ``.parquet``, a folder of such files
            (in sorted order, with subfolders; a ``README.md`` beside tables is skipped because it
            describes the data set), a folder written by ``datasets.save_to_disk``, or
            ``hf:owner/name`` or ``hf:owner/name:config`` (streamed from the Hub).
        text_field: name of the text field; in CSV, ``text`` also matches other common names. All
            other plain fields become ``Document.meta``, except ``marks``: a list of
            ``[start, end, reason, relation]`` becomes the marks.
        id_field: name of the id field; without it, the id is file name and line.
        split: the split of a ``datasets`` source; files have no splits.
        only: read only documents for which this field is true, for example ``is_biography``.
        limit: stop after this many documents.
        report: filled while reading; without one, a summary of what was skipped is logged.
        encoding: the encoding of texts that are not UTF-8 and do not declare one; any name that
            browsers or Python know. None guesses it (``lacy.corpus.encoding``).
        follow_links: follow links to folders, and to files outside the folder.
        converter: rewrites the fields of each row first; what it raises ends the reading.

    Returns:
        An iterator of documents. Ids are unique: a repeated one becomes ``id#2``, ``id#3``, ...

    Raises:
        LacyError: on the call: E12, no such encoding; E13, no such file; E27, unsupported format;
            E120, ``source`` is a pipe or device. While reading: E21, no usable text; E22, no row
            has the text field; E12, ``only`` is true for no document; E23, the Hub cannot be read;
            E11, all files need a missing package.
    """
    name, reader, filled = str(source), ReaderProcess(), ReadReport() if report is None else report
    codec = codec_of(encoding) if encoding is not None else None
    options = ReadOptions(text_field, codec, filled.notes.add, converter)
    if name.startswith("hf:"):
        streams = [RowSource(_hub(name, split))]
    else:
        streams = _local_sources(Path(source), split, reader, filled, follow_links)
    most = limit if only is None else None
    found = _read_documents(name, streams, options, id_field, most, filled, reader)
    if only is not None:
        found = itertools.islice(_having(found, only), limit)
    return found if report is not None else _logged(name, found, filled)


def _having(documents: Iterator[Document], field: str) -> Iterator[Document]:
    """Yield the documents for which a field is true.

    Raises:
        LacyError: E12, there is none.
    """
    chosen = (document for document in documents if document.meta.get(field))
    first = next(chosen, None)
    if first is None:
        why, do = "it is true for no document", "lacy data check FILE shows what is there"
        raise LacyError("E12", key="only", value=field, why=why, do=do)
    yield first
    yield from chosen


def _logged(name: str, documents: Iterator[Document], report: ReadReport) -> Iterator[Document]:
    yield from documents
    if report.skipped or report.renamed or report.ignored or report.notes:
        logging.getLogger(__name__).warning("%s: %s", one_line(name), report.summary())


def write_documents(documents: Iterable[Document], path: str | Path) -> int:
    """Write documents with their marks as JSONL that ``read`` can read; return the number written.

    The fields of ``meta`` are written beside ``id``, ``text`` and ``marks``, so ``meta`` must not
    contain these names.
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


def _local_sources(
    path: Path, split: str, reader: ReaderProcess, report: ReadReport, follow_links: bool
) -> list[RowSource]:
    if not path.exists() or path == Path():  # Path("") would be the current folder
        raise LacyError("E13", path=path, do="check the path; Hub names are written hf:owner/name")
    if path.is_file():
        return [_file(path, reader)]
    if not path.is_dir():
        raise LacyError("E120", path=path, kind=files.kind_of(path.stat().st_mode))
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return [RowSource(_saved_dataset(path, split))]
    found = list_folder(path, lambda file: bool(_kind(file)), follow=follow_links)
    tables = {file.parent for file in found.files if _kind(file) in _TABLES}
    # A README.md beside tables is the data set's card, not one of its texts.
    cards = [f for f in found.files if f.name.lower() == "readme.md" and f.parent in tables]
    for kind, file in [*found.ignored, *(("README.md beside tables", card) for card in cards)]:
        report.ignore(kind, file)
    readable = sorted(set(found.files) - set(cards))
    if not readable and not found.unreadable:
        left = ", ".join(f"{n:,} x {kind}" for kind, n in report.ignored.counts.most_common(5))
        why = f"it contains no supported files{left and f' (only {left})'}"
        raise LacyError("E27", path=path, why=why)
    return [
        *(_file(file, reader) for file in readable),
        *(RowSource(_unreadable_folder(error)) for error in found.unreadable),
    ]


def _unreadable_folder(error: OSError) -> RowReader:
    def rows(options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
        del options
        skip("unreadable folder", str(error.filename), error.strerror or str(error))
        yield from ()

    return rows


def _kind(path: Path) -> str:
    """Return the suffix that determines the format (without ``.gz``), or "" if unsupported."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    packed = suffixes[-1:] != [] and suffixes[-1] in FORMATS
    kind = "".join(suffixes[:-1] if packed else suffixes[-1:])
    known = (kind in KINDS or kind in SUFFIXES) and not (packed and kind == ".parquet")
    return kind if known else ""


def _file(path: Path, reader: ReaderProcess) -> RowSource:
    kind = _kind(path)
    if not kind:
        raise LacyError("E27", path=path, why="its file type is not supported")
    where = os.path.realpath(path)
    if kind in SUFFIXES:
        return RowSource(lambda options, skip: reader.rows(path, kind, options, skip), where)
    return RowSource(lambda options, skip: KINDS[kind](path, options, skip), where)


def _saved_dataset(path: Path, split: str) -> RowReader:
    """Return a reader for a folder written by ``datasets.save_to_disk``; it is memory-mapped."""

    def rows(options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
        import datasets

        try:
            found = datasets.load_from_disk(str(path))
            if isinstance(found, datasets.DatasetDict):
                found = found[split]
            kept = read_parquet.columns(found.features.arrow_schema, options.columns)
            batches = found.select_columns(kept).with_format("arrow").iter(1024)
            for _, place, row in read_parquet.arrow_rows(batches, str(path), options, skip):
                if row is not None:
                    yield place, row
        except KeyError:
            raise LacyError("E23", name=path, why=f"it has no split {split!r}") from None
        except Exception as error:  # each library raises its own classes
            raise LacyError(
                "E23", name=path, why=f"{type(error).__name__}: {first_line(error)}"
            ) from error

    return rows


def _hub(name: str, split: str) -> RowReader:
    repository, _, config = name.removeprefix("hf:").partition(":")
    if not repository:
        raise LacyError("E23", name=name, why="no name after hf:")

    def rows(options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
        del options, skip
        import datasets

        try:
            found = datasets.load_dataset(repository, config or None, split=split, streaming=True)
            if found.features is not None:
                found = found.decode(False)  # do not decode images and audio
            for number, row in enumerate(found, 1):
                yield f"{name}[{split}]:{number}", dict(row)
        except Exception as error:  # each library raises its own classes
            raise LacyError(
                "E23", name=name, why=f"{type(error).__name__}: {first_line(error)}"
            ) from error

    return rows


def _read_documents(
    source: str,
    streams: Iterable[RowSource],
    options: ReadOptions,
    id_field: str,
    limit: int | None,
    report: ReadReport,
    reader: ReaderProcess,
) -> Iterator[Document]:
    path = Path(source)
    base = f"{path if path.is_dir() else path.parent}{os.sep}"
    seen: dict[str, int] = {}
    found = itertools.chain.from_iterable(
        _usable(stream, options, id_field, base, report) for stream in streams
    )
    with reader:
        for document in itertools.islice(found, limit):
            if document.id in seen:
                document = _with_unique_id(document, seen)
                report.renamed += 1
            if len(seen) < MAX_IDS:
                seen[document.id] = 2
            report.documents += 1
            report.characters += len(document.text)
            yield document
    if not report.documents and limit != 0:
        raise _no_documents_error(source, options.text_field, report, reader)


def _usable(
    stream: RowSource, options: ReadOptions, id_field: str, base: str, report: ReadReport
) -> Iterator[Document]:
    text_field = options.text_field
    for place, row in stream.rows(options, report.skip):
        report.fields = report.fields or [str(key)[:80] for key in itertools.islice(row, 50)]
        if options.converter is not None:
            row = options.converter.convert(row, _shown(place, base))
        text = row.get(text_field)
        if text_field not in row:
            report.skip("no text field", place, f"has {_names(row) or 'nothing'}")
        elif text is None:
            report.skip("null text", place)
        elif not isinstance(text, str):
            report.skip("text is no string", place, type(text).__name__)
        elif not text.strip():
            report.skip("empty text", place)
        elif not text.isascii() and (match := SURROGATE.search(text)):
            report.skip("wrong encoding", place, f"half a surrogate pair at {match.start()}")
        else:
            try:
                marks = metadata.marks_of(row.get("marks"), len(text))
            except (ValueError, TypeError, KeyError) as error:
                report.skip("unusable marks", place, str(error)[:200])
                continue
            name = _id(row.get(id_field)) or _shown(place, base)
            meta = _meta(row, {text_field, id_field, "marks"}, place, report)
            yield Document(name, text, meta, marks, stream.file)


def _meta(
    row: dict[str, Any], left_out: set[str], place: str, report: ReadReport
) -> dict[str, Any]:
    def damaged(name: str, why: str) -> None:
        report.notes.add("unusable cell, left out", f"{place}, {name}", why)

    return metadata.plain_cells(row, left_out, damaged)


def _names(row: dict[str, Any]) -> str:
    """Return the names of a row's fields, abbreviated if there are many."""
    names = ", ".join(str(key) for key in itertools.islice(row, 20))
    return names if len(names) <= 200 else f"{names[:200]}…"


def _id(value: Any) -> str:
    """Return a stored id as text, or "" if the value cannot be an id."""
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    if not usable or (isinstance(value, int) and value.bit_length() > 4096):
        return ""
    name = str(value)
    unfit = len(name) > MAX_ID_LENGTH or not name.strip() or SURROGATE.search(name)
    return "" if unfit else name


def _shown(place: str, base: str) -> str:
    """Return a place relative to the folder that is read."""
    return _as_utf8_text(place.removeprefix(base)).replace("\\", "/")


def _as_utf8_text(name: str) -> str:
    """Return a file name as text; bytes that are not UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _with_unique_id(document: Document, seen: dict[str, int]) -> Document:
    """Return the document with a unique id."""
    for number in itertools.count(seen[document.id]):
        fresh = f"{document.id}#{number}"
        if fresh not in seen:
            break
    seen[document.id] = number + 1
    return replace(document, id=fresh)


def _no_documents_error(
    source: str, text_field: str, report: ReadReport, reader: ReaderProcess
) -> LacyError:
    """Return the most specific error for a source without a usable document."""
    if reader.missing and set(report.skipped) == {"no reader"}:
        what, package = f"reading {source}", reader.missing[0]
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
