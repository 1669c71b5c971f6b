"""Rows of embedding and head that stay in the model's file.

A safetensors file has each matrix as it is, row by row, so a row can be read where it is: the file
is mapped into memory, and the operating system loads the pages that are touched and drops them when
memory is short. Nothing is copied to another file.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model import Loaded
from lacy.vocabulary.rows import BLOCK

SAMPLE = 64
"""Number of rows that are compared with those in memory."""

CACHE = 4096
"""Number of rows of the embedding that are kept for tokens that come again."""

_TYPES: dict[str, tuple[Any, torch.dtype]] = {
    "F32": (np.float32, torch.float32),
    "F16": (np.float16, torch.float16),
    "BF16": (np.uint16, torch.bfloat16),
}
"""Types of numbers in safetensors: how numpy reads their bytes, and what they are."""


class StoredRows:
    """Rows of a matrix in a file.

    Args:
        file: a safetensors file.
        name: the matrix's name in it.
        dtype: type of the numbers that are returned.
        more: further rows after those of the file, such as ``<CALL>`` of a raw model.
        count: number of rows of the file that are used; None for all.

    Raises:
        LacyError: E276, the numbers have a type that cannot be read row by row.
    """

    def __init__(
        self, file: Path, name: str, dtype: torch.dtype, more: Tensor, count: int | None = None
    ) -> None:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            entry = json.loads(opened.read(length))[name]
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if entry["dtype"] not in _TYPES:
            raise LacyError("E276", why=f"its rows are {entry['dtype']}, not floating point")
        kind, self._stored = _TYPES[entry["dtype"]]
        rows, width = entry["shape"]
        start = 8 + length + entry["data_offsets"][0]
        flat = np.frombuffer(self._map, kind, rows * width, start)
        self._rows_VD = flat.reshape(rows, width)[:count]
        self._more, self.dtype = more.detach().clone(), dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and their length."""
        return len(self._rows_VD) + len(self._more), self._rows_VD.shape[1]

    def rows(self, ids: Sequence[int]) -> Tensor:
        """Return a copy of some rows, ``[K, D]``."""
        index = np.asarray(ids, dtype=np.int64)
        inside = index < len(self._rows_VD)
        found = torch.empty(len(index), self.shape[1], dtype=self.dtype)
        found[torch.from_numpy(inside)] = self._read(self._rows_VD[index[inside]])
        if not inside.all():
            after = torch.from_numpy(index[~inside] - len(self._rows_VD))
            found[torch.from_numpy(~inside)] = self._more[after].to(self.dtype)
        return found

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield all rows in blocks, each with the number of its first row.

        The pages of the file are given back at the end, so that they do not fill the memory.
        """
        for start in range(0, len(self._rows_VD), BLOCK):
            yield start, self._read(np.array(self._rows_VD[start : start + BLOCK]))
        if len(self._more):
            yield len(self._rows_VD), self._more.to(self.dtype)
        self.release()

    def release(self) -> None:
        """Give back the pages that were read; they are read again when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).view(self._stored).to(self.dtype)


class LatestRows:
    """Rows of a table, of which the latest ones are kept.

    Args:
        table: all rows.
        most: maximum number of rows that are kept.
    """

    def __init__(self, table: StoredRows, most: int = CACHE) -> None:
        self._table, self._most = table, most
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self.read = 0
        """Number of rows that were read from the file."""

    def rows(self, ids: Sequence[int]) -> Tensor:
        """Return some rows, ``[K, D]``."""
        missing = [n for n in dict.fromkeys(ids) if n not in self._kept]
        if missing:
            self.read += len(missing)
            self._kept.update(zip(missing, self._table.rows(missing), strict=True))
        found = torch.stack([self._kept[n] for n in ids])
        for number in dict.fromkeys(ids):
            self._kept.move_to_end(number)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found


class StoredEmbedding(torch.nn.Module):
    """Stands in a model for its embedding, and looks tokens up in a file.

    Args:
        table: all rows.
        scale: factor of the rows (Gemma).
        device: where the model computes.
    """

    def __init__(self, table: StoredRows, scale: float, device: torch.device) -> None:
        super().__init__()
        self.table, self.latest = table, LatestRows(table)
        self._scale, self._device = scale, device

    @property
    def weight(self) -> Tensor:
        """All rows, read from the file."""
        return torch.cat([rows_KD for _, rows_KD in self.table.blocks()])

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows of token ids: ``[...]`` to ``[..., D]``."""
        rows_ND = self.latest.rows(input.flatten().tolist()).to(self._device)
        rows_ND = rows_ND if self._scale == 1.0 else rows_ND * self._scale
        return rows_ND.view(*input.shape, -1)


def drop_file_pages(tensor: Tensor) -> int:
    """Drop the pages of a tensor that its process has mapped from a file; return their bytes.

    Loading a model maps its file, and the mapping lasts as long as any of its tensors: what was
    read of a matrix stays resident after the matrix itself is gone. Dropped pages are read again
    if something still uses them. Memory that belongs to no file is left alone (Linux only).
    """
    if sys.platform != "linux" or tensor.device.type != "cpu" or not tensor.numel():
        return 0
    start, dropped = tensor.data_ptr(), 0
    end = (start + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, _, _, _, inode, *_ = line.split()
        low, high = (int(address, 16) for address in span.split("-"))
        low, high = max(low, start), min(high, end)
        if low < high and inode != "0":
            madvise = ctypes.CDLL(None).madvise
            size = ctypes.c_size_t(high - low)
            dropped += (high - low) * (madvise(ctypes.c_void_p(low), size, mmap.MADV_DONTNEED) == 0)
    return dropped


def stored_rows_of(loaded: Loaded, weight_VD: Tensor) -> StoredRows:
    """Return the rows of a matrix of a model in the model's file.

    Args:
        loaded: a model that was loaded from a folder.
        weight_VD: its embedding or the weight of its head; the file must have the same numbers.

    Raises:
        LacyError: E276, they are not in a file, or the file has other numbers.
    """
    names = [name for name, weight in loaded.model.named_parameters() if weight is weight_VD]
    place = loaded.path
    if place is None or not names:
        raise LacyError("E276", why="it is in memory only, not in a folder")
    ending = names[0].rpartition(".")[0].rpartition(".")[2] + ".weight"
    for file in sorted(Path(place).glob("*.safetensors")):
        for name, shape in _matrices(file):
            fits = shape[1:] == list(weight_VD.shape[1:])
            if (name == names[0] or name.endswith(ending)) and fits:
                # <CALL>, the last row, may be fitted in memory, or the file's last row padding.
                count = min(shape[0], len(weight_VD) - 1)
                more = weight_VD[count:].cpu()
                table = StoredRows(file, name, weight_VD.dtype, more, count)
                _require_equal(table, weight_VD)
                return table
    raise LacyError("E276", why=f"{place} has no matrix {names[0]}")


def _matrices(file: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield name and shape of each matrix in a safetensors file."""
    with open(file, "rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    for name, entry in header.items():
        if name != "__metadata__" and len(entry["shape"]) == 2:
            yield name, entry["shape"]


def _require_equal(table: StoredRows, weight_VD: Tensor) -> None:
    """Raise E276 unless a sample of rows is the same in file and memory."""
    ids = sorted({n * (len(weight_VD) - 1) // (SAMPLE - 1) for n in range(SAMPLE)})
    if not torch.equal(table.rows(ids), weight_VD.detach()[ids].cpu()):
        raise LacyError("E276", why="it has changed since it was loaded")
