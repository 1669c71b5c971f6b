"""Packed data on disk: rows of tokens and marks, their tokenizer, and what they hold.

A folder that ``datasets.load_from_disk`` opens and that can be shared on the Hub, with the
tokenizer's files and ``lacy_data.json`` beside the Arrow file. It is written whole or not at
all, and ``load`` refuses one that would shift marks against tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy import __version__
from lacy._parse import parse_json
from lacy.corpus.borders import begin_end, save_tokenizer
from lacy.corpus.pack import Encoded, Piece, Rows, checked, pack, split
from lacy.corpus.tokenize import load_tokenizer, tokenizer_fingerprint
from lacy.errors import LacyError
from lacy.run import replace_folder
from lacy.types import CALL_TOKEN, MarkFlag

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

FORMAT = 1
"""Raised when the meaning of the files changes; ``load`` refuses other numbers."""

ARROW_FILE = "data-00000-of-00001.arrow"
INFO_FILE = "lacy_data.json"
COLUMNS = {"input_ids": "int32", "marks": "uint8", "segments": "int32"}

BATCH_TOKENS = 1 << 23
"""Tokens per Arrow record batch: large, so that rows are fetched from few pieces of memory."""


@dataclass
class DataInfo:
    """What a packed folder holds (``lacy_data.json``)."""

    context: int
    """Tokens per row."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    vocab_size: int
    """Entries of the tokenizer, ``<CALL>`` included."""
    rows: int = 0
    documents: int = 0
    pieces: int = 0
    """Segments; more than documents where long ones were cut."""
    skipped: int = 0
    """Documents of fewer than two tokens: nothing to predict."""
    tokens: int = 0
    """Tokens without padding, begin and end tokens included."""
    flags: dict[str, int] = field(default_factory=dict)
    """Tokens with each mark flag."""
    format: int = FORMAT
    lacy: str = __version__
    files: dict[str, int] = field(default_factory=dict)
    """Size in bytes of each Arrow file."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each Arrow file; empty for folders of older versions."""

    @property
    def padding(self) -> float:
        """Share of all positions that are padding."""
        return 1 - self.tokens / max(1, self.rows * self.context)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the tokens (without padding) that carry each flag."""
        return {name: count / max(1, self.tokens) for name, count in self.flags.items()}

    def summary(self) -> str:
        """One line for people."""
        marks = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items() if share)
        return (
            f"{self.documents:,} documents, {self.tokens:,} tokens in {self.rows:,} rows of "
            f"{self.context} ({self.padding:.1%} padding); marks: {marks or 'none'}"
        )


class PackedData:
    """Packed rows, memory-mapped. Made by ``write`` or ``load``, not directly."""

    def __init__(self, path: Path, info: DataInfo, batches: list[Rows]) -> None:
        self.path = path
        self.info = info
        self._batches = batches
        self._starts = np.cumsum([0, *(len(rows.marks_RT) for rows in batches)])

    @classmethod
    def write(
        cls,
        encoded: Iterable[Encoded],
        tokenizer: PreTrainedTokenizerFast,
        context: int,
        path: str | Path,
    ) -> PackedData:
        """Packs documents into rows and writes the folder, replacing an older one as a whole.

        Args:
            encoded: documents as tokens and marks, read once, as a stream.
            tokenizer: the one that made them; its files are stored beside the data.
            context: tokens per row, at least 8. Longer documents are cut.
            path: the folder.

        Raises:
            LacyError: E12 a context below 8, E16 the folder holds something else, E20 marks that
                do not fit tokens, E29 foreign ids, or nothing to pack.
        """
        if context < 8:
            why, do = "a row must hold a few tokens", "give 8 or more"
            raise LacyError("E12", key="context", value=context, why=why, do=do)
        info = DataInfo(context, tokenizer_fingerprint(tokenizer), len(tokenizer))
        pieces = _pieces(encoded, tokenizer, info)
        with replace_folder(path) as folder:
            _write_arrow(pack(pieces, context, begin_end(tokenizer)[1]), info, folder)
            if not info.rows:
                do = "give documents with text in them"
                raise LacyError("E29", where=str(path), why="there are no documents", do=do)
            save_tokenizer(tokenizer, folder)
            info.files = {ARROW_FILE: (folder / ARROW_FILE).stat().st_size}
            info.digests = {ARROW_FILE: _digest(folder / ARROW_FILE)}
            (folder / INFO_FILE).write_text(json.dumps(asdict(info), indent=2) + "\n")
        return cls.load(path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        tokenizer: PreTrainedTokenizerFast | None = None,
    ) -> PackedData:
        """Opens a packed folder; reads nothing but the headers.

        Args:
            path: the folder.
            tokenizer: the one in use, if it must be the one that made the data.

        Raises:
            LacyError: E13 no such folder, E25 it is no packed data or damaged, E26 another
                tokenizer (the given one, or a changed one in the folder), E20 columns of
                different length.
        """
        path = Path(path)
        if not path.exists():
            raise LacyError("E13", path=path, do="make packed data with: lacy data mark")
        info = _read_info(path)
        stored = tokenizer_fingerprint(load_tokenizer(path))
        for used in [stored, *([tokenizer_fingerprint(tokenizer)] if tokenizer else [])]:
            if used != info.tokenizer:
                raise LacyError("E26", path=path, made=info.tokenizer, used=used)
        batches = [rows for name in info.files for rows in _read_arrow(path, name, info)]
        found = sum(len(rows.marks_RT) for rows in batches)
        if found != info.rows:
            raise _damaged(path, f"{found} rows, but {INFO_FILE} says {info.rows}")
        return cls(path, info, batches)

    def verify(self) -> None:
        """Reads all files once and compares their checksums (about 0.3 s for 100 MB).

        ``load`` reads only the headers, so it cannot notice a changed file of the same size.

        Raises:
            LacyError: E25, a file has changed since it was packed.
        """
        for name, packed in self.info.digests.items():
            if _digest(self.path / name) != packed:
                raise _damaged(self.path, f"{name} was changed after it was packed")

    def __len__(self) -> int:
        """Number of rows."""
        return self.info.rows

    def __repr__(self) -> str:
        return f"PackedData({str(self.path)!r}: {self.info.summary()})"

    @property
    def context(self) -> int:
        """Tokens per row, T."""
        return self.info.context

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer that made the data."""
        return load_tokenizer(self.path)

    def batch(self, rows: ArrayLike) -> dict[str, NDArray[Any]]:
        """Rows as arrays of their own: ``input_ids`` int32, ``marks`` uint8, ``segments`` int32.

        Args:
            rows: B row numbers in any order, repeated ones too.

        Returns:
            Three contiguous arrays of shape [B, T].
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"row outside 0 to {len(self) - 1}")
        if len(self._batches) == 1:
            return {name: part[wanted] for name, part in _named(self._batches[0])}
        out = {
            name: np.empty((len(wanted), self.context), np.dtype(kind))
            for name, kind in COLUMNS.items()
        }
        which = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(which):
            here = which == number
            inside = wanted[here] - self._starts[number]
            for name, part in _named(self._batches[number]):
                out[name][here] = part[inside]
        return out

    def blocks(self) -> Iterator[dict[str, NDArray[Any]]]:
        """All rows in stored order as a few large read-only views, without copying."""
        for rows in self._batches:
            yield dict(_named(rows))

    def dataset(self) -> datasets.Dataset:
        """The same rows as a ``datasets.Dataset``."""
        import datasets

        return datasets.load_from_disk(str(self.path))


# ------------------------------------------------------------------------------------ writing


def _pieces(
    encoded: Iterable[Encoded], tokenizer: PreTrainedTokenizerFast, info: DataInfo
) -> Iterator[Piece]:
    call_id = int(tokenizer.convert_tokens_to_ids(CALL_TOKEN))
    for document in encoded:
        whole = checked(document, info.vocab_size, call_id)
        if len(whole.ids) < 2:
            info.skipped += 1
            continue
        info.documents += 1
        for piece in split(whole, info.context):
            info.pieces += 1
            yield piece


def _write_arrow(filled: Iterable[Rows], info: DataInfo, folder: Path) -> None:
    """Writes the Arrow file and the two small files that ``datasets.load_from_disk`` wants."""
    import datasets
    import pyarrow as pa

    features = datasets.Features(
        {
            name: datasets.List(datasets.Value(kind), length=info.context)
            for name, kind in COLUMNS.items()
        }
    )
    schema = features.arrow_schema
    with pa.OSFile(str(folder / ARROW_FILE), "wb") as file, pa.ipc.new_stream(file, schema) as out:
        for rows in _regrouped(filled, max(1, BATCH_TOKENS // info.context)):
            _count(rows, info)
            columns = [
                pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), info.context)
                for _, part in _named(rows)
            ]
            out.write_batch(pa.record_batch(columns, schema=schema))
    datasets.DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": ARROW_FILE}],
        "_fingerprint": info.tokenizer,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")


def _regrouped(filled: Iterable[Rows], size: int) -> Iterator[Rows]:
    """The same rows in groups of exactly ``size`` (the last may be smaller)."""
    held: list[Rows] = []
    count = 0
    for rows in filled:
        held.append(rows)
        count += len(rows.marks_RT)
        while count >= size:
            whole = _joined(held)
            yield _cut(whole, 0, size)
            held = [_cut(whole, size, count)]
            count -= size
    if count:
        yield _joined(held)


def _joined(held: list[Rows]) -> Rows:
    ids, marks, segments = zip(*held, strict=True)
    return Rows(np.concatenate(ids), np.concatenate(marks), np.concatenate(segments))


def _cut(rows: Rows, start: int, end: int) -> Rows:
    ids, marks, segments = rows
    return Rows(ids[start:end], marks[start:end], segments[start:end])


def _count(rows: Rows, info: DataInfo) -> None:
    info.rows += len(rows.marks_RT)
    info.tokens += int(np.count_nonzero(rows.segments_RT))
    for flag in MarkFlag:
        if flag:
            count = int(np.count_nonzero(rows.marks_RT & np.uint8(flag)))
            info.flags[str(flag.name)] = info.flags.get(str(flag.name), 0) + count


def _named(rows: Rows) -> Iterator[tuple[str, NDArray[Any]]]:
    return zip(COLUMNS, rows, strict=True)


# ------------------------------------------------------------------------------------ loading


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(path: Path, why: str) -> LacyError:
    return LacyError("E25", path=path, why=why)


def _read_info(path: Path) -> DataInfo:
    file = path / INFO_FILE
    if not file.is_file():
        raise _damaged(path, f"it holds no {INFO_FILE}")
    try:
        stored = parse_json(file.read_text(encoding="utf-8"))
        number = stored.get("format")
        if number != FORMAT:
            raise _damaged(path, f"it has format {number}, this lacy {__version__} reads {FORMAT}")
        info = DataInfo(**stored)
        sizes = {name: int(size) for name, size in info.files.items()}
        info.digests = {str(name): str(digest) for name, digest in info.digests.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{INFO_FILE} cannot be read ({error})") from error
    for name, size in sizes.items():
        found = (path / name).stat().st_size if (path / name).is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise _damaged(path, f"{name} {what}")
    return info


def _read_arrow(path: Path, name: str, info: DataInfo) -> Iterator[Rows]:
    """Record batches as array views on the mapped file."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.memory_map(str(path / name))) as stream:
            missing = [column for column in COLUMNS if column not in stream.schema.names]
            if missing:
                raise _damaged(path, f"{name} has no column {', '.join(missing)}")
            for batch in stream:
                yield _views(batch, path, info)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, f"{name}: {str(error).splitlines()[0]}") from error


def _views(batch: Any, path: Path, info: DataInfo) -> Rows:
    import pyarrow as pa

    flat = {name: batch.column(name).flatten() for name in COLUMNS}
    if len(flat["marks"]) != len(flat["input_ids"]):
        raise LacyError(
            "E20",
            tokens=len(flat["input_ids"]),
            marks=len(flat["marks"]),
            where=str(path),
            do=f"lacy data mark --out {path}",
        )
    parts = []
    for name, kind in COLUMNS.items():
        expected = pa.list_(pa.field("item", pa.type_for_alias(kind)), info.context)
        found = batch.schema.field(name).type
        if not found.equals(expected) or flat[name].null_count:
            raise _damaged(path, f"column {name} is {found}, not {expected} without gaps")
        parts.append(flat[name].to_numpy().reshape(batch.num_rows, info.context))
    return Rows(*parts)
