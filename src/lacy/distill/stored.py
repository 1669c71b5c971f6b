"""Compute a teacher's predictions once, and keep the likeliest tokens of each on disk.

A folder belongs to one teacher, temperature and number k of tokens (``teacher.json``). One file per
block of rows holds, for each position, the k likeliest tokens, their log-probabilities, and the log
of the remaining mass. The file is named after the teacher's fingerprint and the block's tokens, so
an interrupted run continues where it was stopped, and predictions are never used for other texts.

Log-probabilities are stored in float16 (relative error of a probability at most 0.4% above
``exp(-16)``) and renormalised when they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lacy._parse import parse_json
from lacy.corpus import PackedData, tokenizer_fingerprint
from lacy.disk import lock, write_atomic
from lacy.distill.divergence import Predictions, RowPredictions
from lacy.distill.teachers import LiveTeacher
from lacy.errors import LacyError
from lacy.model import Loaded, model_fingerprint, require_context
from lacy.train import MicroBatch

FORMAT = 1
"""Version of the files; it increases when their content changes."""
INDEX = "teacher.json"
BLOCK = 32
"""Rows per file."""
ROWS = 4
"""Rows per forward pass."""
TOP = 64
"""Default number of tokens per position."""


@dataclass(frozen=True, slots=True)
class StoredKind:
    """What the files of a folder contain."""

    fingerprint: str
    """Of the teacher's weights."""
    tokenizer: str
    """Fingerprint of its tokenizer."""
    top: int
    """Number of tokens per position, k."""
    temperature: float
    precision: str
    """Precision in which they were computed, ``fp32`` or ``bf16``."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class TopPredictions:
    """Stored predictions of the rows of a micro-batch."""

    logq_NM: Tensor
    ids_NK: Tensor

    def chunk(self, rows_n: Tensor) -> RowPredictions:
        """Return the predictions for some positions."""
        return RowPredictions(self.logq_NM[rows_n], self.ids_NK[rows_n])


class StoredTeacher:
    """Predictions of the rows of packed data, read from a folder.

    Args:
        folder: a folder that ``store_teacher`` wrote.
        data: the packed data.

    Raises:
        LacyError: E301, the folder contains no predictions; E302, some of the rows have none; E26,
            they are of a teacher with another tokenizer.
    """

    def __init__(self, folder: str | Path, data: PackedData) -> None:
        self.folder = Path(folder)
        self.kind = read_kind(self.folder)
        if self.kind.tokenizer != data.info.tokenizer:
            raise LacyError(
                "E26", path=data.path, made=data.info.tokenizer, used=self.kind.tokenizer
            )
        self.files = block_files(self.folder, self.kind, data)
        missing = sum(not file.is_file() for file in self.files)
        if missing:
            raise LacyError(
                "E302", folder=self.folder, missing=missing, blocks=len(self.files), rows=BLOCK
            )

    @property
    def temperature(self) -> float:
        """Temperature of the predictions."""
        return self.kind.temperature

    def predict(self, micro: MicroBatch, dtype: torch.dtype) -> Predictions:
        """Return the stored predictions of a micro-batch.

        Raises:
            LacyError: E303, it is not known which rows of the data these are.
        """
        if micro.rows_B is None:
            raise LacyError("E303", folder=self.folder)
        rows = [self._row(row) for row in micro.rows_B]
        device = micro.ids_BT.device
        logq_NM = torch.cat([logq_TM for logq_TM, _ in rows]).to(device).float()
        ids_NK = torch.cat([ids_TK for _, ids_TK in rows]).to(device).long()
        return TopPredictions(logq_NM - logq_NM.logsumexp(1, keepdim=True), ids_NK)

    def _row(self, row: int) -> tuple[Tensor, Tensor]:
        from safetensors import safe_open

        with safe_open(self.files[row // BLOCK], framework="pt") as opened:
            number = row % BLOCK
            return opened.get_slice("logq")[number], opened.get_slice("ids")[number]


def read_kind(folder: Path) -> StoredKind:
    """Read what the files of a folder contain.

    Raises:
        LacyError: E301, it contains no predictions, or those of another version.
    """
    try:
        found = StoredKind(**parse_json((folder / INDEX).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LacyError("E301", folder=folder, why=f"no readable {INDEX}") from error
    if found.format != FORMAT:
        why = f"they have format {found.format}, this version reads {FORMAT}"
        raise LacyError("E301", folder=folder, why=why)
    return found


def block_files(folder: Path, kind: StoredKind, data: PackedData) -> list[Path]:
    """Return the file of each block of rows, in order, whether it exists or not."""
    begin = json.dumps(asdict(kind)).encode()
    files = []
    for first in range(0, len(data), BLOCK):
        columns = data.batch(np.arange(first, min(first + BLOCK, len(data))))
        found = hashlib.blake2b(begin, digest_size=16)
        for name in ("input_ids", "segments"):
            found.update(columns[name].astype("<i4").tobytes())
        files.append(folder / f"{found.hexdigest()}.safetensors")
    return files


def store_teacher(
    teacher: Loaded,
    data: PackedData,
    folder: str | Path,
    *,
    top: int = TOP,
    temperature: float = 1.0,
    bf16: bool = False,
    advance: Callable[[int], object] = lambda rows: None,
) -> StoredTeacher:
    """Compute the predictions that are not in a folder yet, and open it.

    Args:
        teacher: the model, on the device to use.
        data: packed data with its tokenizer.
        folder: where the predictions are stored; several data sets can share it.
        top: number of tokens per position, k; at most all but two.
        temperature: temperature of the predictions.
        bf16: compute in bfloat16.
        advance: called with a number of rows when they are done.

    Raises:
        LacyError: E304, the folder contains predictions of another teacher or kind; E26, the data
            have another tokenizer; E59, the rows are longer than the teacher's context; E150,
            another process writes to the folder.
    """
    folder = Path(folder)
    own = tokenizer_fingerprint(teacher.tokenizer)
    if own != data.info.tokenizer:
        raise LacyError("E26", path=data.path, made=data.info.tokenizer, used=own)
    require_context(teacher.model, data.context, teacher.name or "the teacher")
    kind = StoredKind(
        fingerprint=model_fingerprint(teacher.model),
        tokenizer=own,
        top=max(1, min(top, len(teacher.tokenizer) - 3)),
        temperature=float(temperature),
        precision="bf16" if bf16 else "fp32",
    )
    with lock(folder):
        _require_kind(folder, kind)
        live = LiveTeacher(teacher.model, temperature)
        for number, file in enumerate(block_files(folder, kind, data)):
            first = number * BLOCK
            rows = list(range(first, min(first + BLOCK, len(data))))
            if not file.is_file():
                _store_block(file, live, data, rows, kind.top, bf16)
            advance(len(rows))
    return StoredTeacher(folder, data)


def _require_kind(folder: Path, kind: StoredKind) -> None:
    """Write the kind of a new folder; raise E304 if an old one has another kind."""
    if not (folder / INDEX).is_file():
        write_atomic(folder / INDEX, json.dumps(asdict(kind), indent=2) + "\n")
        return
    old = read_kind(folder)
    changed = [
        f"{name}: {getattr(old, name)} -> {value}"
        for name, value in asdict(kind).items()
        if getattr(old, name) != value
    ]
    if changed:
        raise LacyError("E304", folder=folder, changed="; ".join(changed))


@torch.no_grad()
def _store_block(
    file: Path, live: LiveTeacher, data: PackedData, rows: Sequence[int], top: int, bf16: bool
) -> None:
    from safetensors.torch import save

    device = live.model.device
    dtype = torch.bfloat16 if bf16 else torch.float32
    logq, ids = [], []
    for first in range(0, len(rows), ROWS):
        micro = MicroBatch.of(data.batch(rows[first : first + ROWS]), device)
        predictions = live.predict(micro, dtype)
        for row_T in torch.arange(micro.ids_BT.numel(), device=device).split(data.context):
            logq_TV = predictions.chunk(row_T).logq_nM
            top_TK, ids_TK = logq_TV.topk(top)
            rest_T = logq_TV.scatter(1, ids_TK, -torch.inf).logsumexp(1)
            logq.append(torch.cat((top_TK, rest_T[:, None]), 1).half().cpu())
            ids.append(ids_TK.int().cpu())
    write_atomic(file, save({"logq": torch.stack(logq), "ids": torch.stack(ids)}))
