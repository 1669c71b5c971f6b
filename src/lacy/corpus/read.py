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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ..errors import LacyError
from ..types import Document, Mark, Reason
from . import _files
from ._files import Complain, Row
from .read_formats import FORMATS
from .read_pages import Pages

Stream = Callable[[str, Complain], Iterator[Row]]
"""A source opened: takes the name of the text field and a listener, gives rows."""

KINDS = {
    ".txt": _files.text_rows,
    ".jsonl": _files.json_rows,
    ".ndjson": _files.json_rows,
    ".parquet": _files.parquet_rows,
}
"""What is read here, by the end of the name; ``.gz`` may follow all but ``.parquet``."""

_TABLES = {".jsonl", ".ndjson", ".parquet"}

PLACES_KEPT = 20
"""Places kept per reason in a report; all are counted."""

IDS_KEPT = 1_000_000
"""Ids remembered to notice repeated ones; bounds the memory at about 100 MB."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_REASONS = frozenset(get_args(Reason))


@dataclass
class ReadReport:
    """What was read and what was left out, filled while ``read`` runs."""

    documents: int = 0
    characters: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> how many lines, rows or files were left out."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the first places, as ``file:line: detail``."""
    renamed: int = 0
    """Documents whose id had been seen before; they were given a new one (``id#2``)."""
    fields: list[str] = field(default_factory=list)
    """Names of the fields in the first row."""

    def skip(self, reason: str, place: str, detail: str = "") -> None:
        """Counts something that was left out."""
        self.skipped[reason] += 1
        kept = self.places.setdefault(reason, [])
        if len(kept) < PLACES_KEPT:
            kept.append(f"{place}: {detail}" if detail else place)

    def summary(self) -> str:
        """One line: how much was read, what was skipped and where first."""
        parts = [f"{self.documents:,} documents, {self.characters:,} characters"]
        for reason, count in self.skipped.most_common():
            parts.append(f"{count:,} skipped: {reason} (first: {self.places[reason][0]})")
        if self.renamed:
            parts.append(f"{self.renamed:,} ids had been seen before and were changed")
        return "; ".join(parts)


def read(
    source: str | Path,
    *,
    text_field: str = "text",
    id_field: str = "id",
    split: str = "train",
    limit: int | None = None,
    report: ReadReport | None = None,
) -> Iterator[Document]:
    """Reads documents as a stream.

    Args:
        source: a ``.txt``, ``.md``, ``.html`` or ``.pdf`` file (one document; the title, and where
            the pages of a PDF begin, in ``Document.meta``), ``.jsonl``/``.jsonl.gz``/``.ndjson``
            (one object per line), ``.parquet``, a folder of such files (read in sorted order, with
            its subfolders; a ``README.md`` beside tables describes them and is left out), a folder
            written by ``datasets.save_to_disk``, or ``hf:owner/name`` or ``hf:owner/name:config``
            (streamed from the Hub).
        text_field: where the text stands. All other plain fields become ``Document.meta``,
            except ``marks``: a list of ``[start, end, reason, relation]`` becomes the marks.
        id_field: where the id stands; without one the id is file name and line.
        split: which part of a ``datasets`` source; files have no parts.
        limit: stop after so many documents.
        report: filled on the way; without one, a summary of what was skipped is logged.

    Returns:
        An iterator. Ids are unique: a repeated one is changed to ``id#2``, ``id#3`` ...

    Raises:
        LacyError: E13 no such file, E27 an unknown kind (both at once); while reading E21
            nothing usable, E22 no row has the text field, E23 the Hub cannot be read, E11 all
            that there is needs a package that is not installed.
    """
    name, pages = str(source), Pages()
    local = not name.startswith("hf:")
    streams = _local(Path(source), split, pages) if local else [_hub(name, split)]
    return _documents(name, streams, text_field, id_field, limit, report, pages)


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


def _local(path: Path, split: str, pages: Pages) -> list[Stream]:
    if not path.exists() or path == Path():  # Path("") would be the current folder
        raise LacyError("E13", path=path, do="check the path; Hub names are written hf:owner/name")
    if path.is_file():
        return [_file(path, pages)]
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return [_saved(path, split)]
    found, shut = _walk(path)
    tables = {file.parent for file in found if _kind(file) in _TABLES}
    # In a data set README.md is its card, no text of it.
    found = [f for f in found if not (f.name.lower() == "readme.md" and f.parent in tables)]
    if not found and not shut:
        raise LacyError("E27", path=f"{path}: no file in it")
    return [*(_file(file, pages) for file in found), *map(_shut, shut)]


def _walk(path: Path) -> tuple[list[Path], list[OSError]]:
    """Files of a folder that are read, in sorted order, and folders that could not be opened.

    What begins with a dot is left out; linked folders are not gone into, as they may be a circle.
    """
    found: list[Path] = []
    shut: list[OSError] = []
    for folder, inner, names in os.walk(path, onerror=shut.append):
        inner[:] = [name for name in inner if not name.startswith(".")]
        files = [Path(folder, name) for name in names if not name.startswith(".")]
        found += [file for file in files if _kind(file) and _is_file(file)]
    return sorted(found), shut


def _is_file(path: Path) -> bool:
    """Whether it is to be read; where nobody may look, reading it says why not."""
    try:
        return path.is_file()
    except OSError:
        return True


def _shut(error: OSError) -> Stream:
    def rows(text_field: str, complain: Complain) -> Iterator[Row]:
        del text_field
        complain("unreadable folder", str(error.filename), error.strerror or str(error))
        yield from ()

    return rows


def _kind(path: Path) -> str:
    """The end of a name by which a file is read, without ``.gz``; "" if it is not read."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[:-1] if zipped else suffixes[-1:])
    known = (kind in KINDS or kind in FORMATS) and not (zipped and kind == ".parquet")
    return kind if known else ""


def _file(path: Path, pages: Pages) -> Stream:
    kind = _kind(path)
    if not kind:
        raise LacyError("E27", path=path)
    if kind in FORMATS:
        return lambda text_field, complain: pages.rows(path, kind, text_field, complain)
    return lambda text_field, complain: KINDS[kind](path, text_field, complain)


def _saved(path: Path, split: str) -> Stream:
    """A folder of ``datasets.save_to_disk``, read through memory mapping."""

    def rows(text_field: str, complain: Complain) -> Iterator[Row]:
        import datasets

        try:
            found = datasets.load_from_disk(str(path))
            if isinstance(found, datasets.DatasetDict):
                found = found[split]
            kept = _files.columns(found.features.arrow_schema, text_field)
            batches = found.select_columns(kept).with_format("arrow").iter(1024)
            yield from _files.arrow_rows(batches, str(path), text_field, complain)
        except KeyError:
            raise LacyError("E23", name=path, why=f"it has no split {split!r}") from None
        except Exception as error:  # the library raises whatever its parts raise
            raise LacyError("E23", name=path, why=_first_line(error)) from error

    return rows


def _hub(name: str, split: str) -> Stream:
    repository, _, config = name.removeprefix("hf:").partition(":")
    if not repository:
        raise LacyError("E23", name=name, why="no name after hf:")

    def rows(text_field: str, complain: Complain) -> Iterator[Row]:
        del text_field, complain
        import datasets

        try:
            found = datasets.load_dataset(repository, config or None, split=split, streaming=True)
            for number, row in enumerate(found, 1):
                yield f"{name}[{split}]:{number}", dict(row)
        except Exception as error:  # network, names, formats: each library its own class
            raise LacyError("E23", name=name, why=_first_line(error)) from error

    return rows


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


# ---------------------------------------------------------------------------------- documents


def _documents(
    source: str,
    streams: Iterable[Stream],
    text_field: str,
    id_field: str,
    limit: int | None,
    report: ReadReport | None,
    pages: Pages,
) -> Iterator[Document]:
    path = Path(source)
    base = f"{path if path.is_dir() else path.parent}{os.sep}"
    told = report if report is not None else ReadReport()
    seen: set[str] = set()
    found = itertools.chain.from_iterable(
        _usable(stream, text_field, id_field, base, told) for stream in streams
    )
    with pages:
        for document in itertools.islice(found, limit):
            if document.id in seen:
                document = _renamed(document, seen)
                told.renamed += 1
            if len(seen) < IDS_KEPT:
                seen.add(document.id)
            told.documents += 1
            told.characters += len(document.text)
            yield document
    if not told.documents and limit != 0:
        raise _nothing(source, text_field, told, pages)
    if report is None and (told.skipped or told.renamed):
        logging.getLogger(__name__).warning("%s: %s", source, told.summary())


def _usable(
    stream: Stream, text_field: str, id_field: str, base: str, report: ReadReport
) -> Iterator[Document]:
    for place, row in stream(text_field, report.skip):
        report.fields = report.fields or [str(key) for key in row]
        text = row.get(text_field)
        if text_field not in row:
            report.skip("no text field", place, f"has {', '.join(map(str, row)) or 'nothing'}")
        elif text is None:
            report.skip("null text", place)
        elif not isinstance(text, str):
            report.skip("text is no string", place, type(text).__name__)
        elif not text.strip():
            report.skip("empty text", place)
        elif found := _SURROGATE.search(text):
            report.skip("wrong encoding", place, f"half a surrogate pair at {found.start()}")
        else:
            try:
                marks = _marks(row.get("marks"), len(text))
            except (ValueError, TypeError, KeyError) as error:
                report.skip("unusable marks", place, str(error))
                continue
            name = _id(row.get(id_field)) or place.removeprefix(base).replace("\\", "/")
            yield Document(name, text, _meta(row, text_field, id_field), marks)


def _id(value: Any) -> str:
    """A stored id as text; empty where there is none that names anything."""
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if usable else ""


def _meta(row: dict[str, Any], text_field: str, id_field: str) -> dict[str, Any]:
    left_out = {text_field, id_field, "marks"}
    return {str(key): value for key, value in row.items() if key not in left_out}


def _marks(stored: Any, length: int) -> tuple[Mark, ...]:
    """Marks from lists ``[start, end, reason, relation]`` or objects with these names."""
    if not isinstance(stored, list):
        return ()
    marks = []
    for item in stored:
        mark = Mark(**item) if isinstance(item, dict) else Mark(*item)
        if not (type(mark.start) is type(mark.end) is int and 0 <= mark.start < mark.end <= length):
            raise ValueError(f"[{mark.start}, {mark.end}) in a text of {length} characters")
        if mark.reason not in _REASONS:
            raise ValueError(f"unknown reason {mark.reason!r}")
        marks.append(mark)
    return tuple(sorted(marks, key=lambda mark: (mark.start, mark.end)))


def _renamed(document: Document, seen: set[str]) -> Document:
    fresh = next(
        name for number in itertools.count(2) if (name := f"{document.id}#{number}") not in seen
    )
    return Document(fresh, document.text, document.meta, document.marks)


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
    advice = "convert it to UTF-8" if "wrong encoding" in report.skipped else "look at that place"
    return LacyError("E21", path=source, why=why, do=advice)
