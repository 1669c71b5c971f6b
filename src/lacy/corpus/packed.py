"""Write and read packed data: rows of tokens and marks, their tokenizer, and statistics.

``datasets.load_from_disk`` can open the folder, so it can be shared on the Hub; the tokenizer's
files and ``lacy_data.json`` are stored beside the Arrow file. The folder is written atomically, and
``load`` refuses a folder in which marks and tokens are misaligned.
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
from lacy._require import require_at_least
from lacy.corpus.pack import Encoded, PackedRows, Segment, pack, split, to_segment
from lacy.corpus.special_tokens import begin_end, save_tokenizer
from lacy.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint
from lacy.errors import LacyError
from lacy.run import replace_folder
from lacy.types import CALL_TOKEN, MarkFlag

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

FORMAT = 2
"""Version of the file format; ``load`` refuses other versions."""

ARROW_FILE = "data-00000-of-00001.arrow"
INFO_FILE = "lacy_data.json"
COLUMNS = {"input_ids": "int32", "marks": "uint8", "segments": "int32"}

BATCH_TOKENS = 1 << 23
"""Tokens per Arrow record batch; large, so that the rows of one step come from few batches."""


@dataclass
class DataInfo:
    """The content of a packed folder (``lacy_data.json``)."""

    context: int
    """Tokens per row."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    vocab_size: int
    """Size of the vocabulary, including ``<CALL>``."""
    rows: int = 0
    documents: int = 0
    segments: int = 0
    """Number of segments; more than documents if long ones were split."""
    skipped: int = 0
    """Number of documents with fewer than two tokens; they have nothing to predict."""
    tokens: int = 0
    """Number of tokens without padding, including begin and end tokens."""
    flags: dict[str, int] = field(default_factory=dict)
    """Number of tokens with each mark flag."""
    format: int = FORMAT
    lacy: str = __version__
    files: dict[str, int] = field(default_factory=dict)
    """Size in bytes of each Arrow file."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each Arrow file."""

    @property
    def padding(self) -> float:
        """Return the share of positions that are padding."""
        return 1 - self.tokens / max(1, self.rows * self.context)

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of tokens (without padding) with each flag."""
        return {name: count / max(1, self.tokens) for name, count in self.flags.items()}

    def summary(self) -> str:
        """Return a one-line summary."""
        marks = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items() if share)
        return (
            f"{self.documents:,} documents, {self.tokens:,} tokens in {self.rows:,} rows of "
            f"{self.context} ({self.padding:.1%} padding); marks: {marks or 'none'}"
        )


class PackedData:
    """Memory-mapped packed rows; create them with ``write`` or ``load``."""

    def __init__(self, path: Path, info: DataInfo, batches: list[PackedRows]) -> None:
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
        """Pack documents into rows and write the folder, replacing an older one as a whole.

        Args:
            encoded: documents as tokens and marks, read once as a stream.
            tokenizer: the tokenizer that encoded them; its files are stored beside the data.
            context: tokens per row, at least 8. Longer documents are split.
            path: the folder.

        Raises:
            LacyError: E12, ``context`` is below 8; E16, the folder has other content; E20, marks
                and tokens are misaligned; E29, the ids are from another tokenizer, or there are no
                documents.
        """
        require_at_least("context", context, 8)
        info = DataInfo(context, tokenizer_fingerprint(tokenizer), len(tokenizer))
        segments = _segments(encoded, tokenizer, info)
        with replace_folder(path) as folder:
            _write_arrow(pack(segments, context, begin_end(tokenizer)[1]), info, folder)
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
        """Open a packed folder; only the headers are read.

        Args:
            path: the folder.
            tokenizer: the expected tokenizer; None accepts any.

        Raises:
            LacyError: E13, no such folder; E25, it is not packed data, or it is damaged; E26,
                ``tokenizer`` or the one in the folder did not encode the data; E20, columns have
                different lengths.
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
        """Compare the checksums of all files (about 0.3 s for 100 MB).

        ``load`` reads only the headers, so it cannot detect a changed file of the same size.

        Raises:
            LacyError: E25, a file has changed since it was packed.
        """
        for name, packed in self.info.digests.items():
            if _digest(self.path / name) != packed:
                raise _damaged(self.path, f"{name} was changed after it was packed")

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.info.rows

    def __repr__(self) -> str:
        return f"PackedData({str(self.path)!r}: {self.info.summary()})"

    @property
    def context(self) -> int:
        """Number of tokens per row, T."""
        return self.info.context

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer that encoded the data."""
        return load_tokenizer(self.path)

    def batch(self, rows: ArrayLike) -> dict[str, NDArray[Any]]:
        """Copy rows into arrays: ``input_ids`` int32, ``marks`` uint8, ``segments`` int32.

        Args:
            rows: B row numbers in any order; repetitions are allowed.

        Returns:
            Three contiguous arrays of shape [B, T].
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"row outside 0 to {len(self) - 1}")
        if len(self._batches) == 1:
            return {name: part[wanted] for name, part in _columns(self._batches[0])}
        out = {
            name: np.empty((len(wanted), self.context), np.dtype(kind))
            for name, kind in COLUMNS.items()
        }
        which = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(which):
            here = which == number
            inside = wanted[here] - self._starts[number]
            for name, part in _columns(self._batches[number]):
                out[name][here] = part[inside]
        return out

    def blocks(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield all rows in stored order as a few large read-only views, without copying."""
        for rows in self._batches:
            yield dict(_columns(rows))

    def dataset(self) -> datasets.Dataset:
        """Return the same rows as a ``datasets.Dataset``."""
        import datasets

        return datasets.load_from_disk(str(self.path))


def _segments(
    encoded: Iterable[Encoded], tokenizer: PreTrainedTokenizerFast, info: DataInfo
) -> Iterator[Segment]:
    call_id = int(tokenizer.convert_tokens_to_ids(CALL_TOKEN))
    for document in encoded:
        whole = to_segment(document, info.vocab_size, call_id)
        if len(whole.ids) < 2:
            info.skipped += 1
            continue
        info.documents += 1
        for segment in split(whole, info.context):
            info.segments += 1
            yield segment


def _write_arrow(filled: Iterable[PackedRows], info: DataInfo, folder: Path) -> None:
    """Write the Arrow file and the two JSON files that ``datasets.load_from_disk`` needs."""
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
        for rows in _regroup(filled, max(1, BATCH_TOKENS // info.context)):
            _count(rows, info)
            columns = [
                pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), info.context)
                for _, part in _columns(rows)
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


def _regroup(filled: Iterable[PackedRows], size: int) -> Iterator[PackedRows]:
    """Regroup rows into groups of exactly ``size``; the last may be smaller."""
    pending: list[PackedRows] = []
    count = 0
    for rows in filled:
        pending.append(rows)
        count += len(rows.marks_RT)
        while count >= size:
            whole = _concatenate(pending)
            yield _slice_rows(whole, 0, size)
            pending = [_slice_rows(whole, size, count)]
            count -= size
    if count:
        yield _concatenate(pending)


def _concatenate(pending: list[PackedRows]) -> PackedRows:
    ids, marks, segments = zip(*pending, strict=True)
    return PackedRows(np.concatenate(ids), np.concatenate(marks), np.concatenate(segments))


def _slice_rows(rows: PackedRows, start: int, end: int) -> PackedRows:
    ids, marks, segments = rows
    return PackedRows(ids[start:end], marks[start:end], segments[start:end])


def _count(rows: PackedRows, info: DataInfo) -> None:
    info.rows += len(rows.marks_RT)
    info.tokens += int(np.count_nonzero(rows.segments_RT))
    for flag in MarkFlag:
        count = int(np.count_nonzero(rows.marks_RT & np.uint8(flag)))
        info.flags[str(flag.name)] = info.flags.get(str(flag.name), 0) + count


def _columns(rows: PackedRows) -> Iterator[tuple[str, NDArray[Any]]]:
    return zip(COLUMNS, rows, strict=True)


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


def _read_arrow(path: Path, name: str, info: DataInfo) -> Iterator[PackedRows]:
    """Yield record batches as views of the memory-mapped file."""
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


def _views(batch: Any, path: Path, info: DataInfo) -> PackedRows:
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
    return PackedRows(*parts)
