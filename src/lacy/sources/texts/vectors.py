"""Search passages by meaning: exact search over static embeddings (``model2vec``).

A static embedding is the mean of the vectors of a text's tokens. No network runs, so a sentence
takes microseconds. The model is copied into the index, so nothing is downloaded later.

Row ``n`` of the file belongs to passage ``n``: a scale and the int8 components of a unit vector.
Rows of removed passages are zero. A query reads all rows: 50 MB for 200,000 vectors of 256
dimensions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy._require import require_package
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.texts.schema import PassageText

if TYPE_CHECKING:
    from lacy.sources.texts.search import Hit

VECTORS_FILE, MODEL_FOLDER = "vectors.int8", "vectors.model"
FUSION_K = 60
"""``k`` of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

_ROWS = 8_192
"""Number of rows compared at a time."""


class VectorSearch:
    """Embeddings of the passages of an index.

    Raises:
        LacyError: E11, model2vec is not installed; E101, the model cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / VECTORS_FILE
        self._model = load_embeddings(str(folder / MODEL_FOLDER))
        size = int(self._model.dim)
        self._row = np.dtype([("scale", "<f4"), ("vector", "i1", (size,))])
        self.refresh()

    def refresh(self) -> None:
        """Load the changes of other processes."""
        rows = self._file.stat().st_size // self._row.itemsize if self._file.exists() else 0
        self._rows: Any = (
            np.memmap(self._file, self._row, "r", shape=(rows,)) if rows else np.zeros(0, self._row)
        )

    def close(self) -> None:
        """Close the file."""
        self._rows = np.zeros(0, self._row)

    def near(self, text: str, limit: int, among: Sequence[int] | None = None) -> list[Hit]:
        """Return the passages with the highest cosine similarity to a text, best first.

        Args:
            text: the query.
            limit: maximum number of passages to return.
            among: search only these passages; None searches all.
        """
        [query] = self._encode([text])
        if not query.any():
            return []
        if among is None:
            scores = self._score_all(query)
            numbers = np.arange(1, len(scores) + 1)
            if len(scores) > limit:
                best = np.argpartition(scores, -limit)[-limit:]
                numbers, scores = numbers[best], scores[best]
        else:
            numbers = np.array([n for n in among if n <= len(self._rows)], dtype=np.int64)
            scores = self._scores(self._rows[numbers - 1], query)
        order = np.lexsort((numbers, -scores))[:limit]
        return [(int(numbers[i]), float(scores[i])) for i in order if scores[i] > 0]

    def _score_all(self, query: Any) -> Any:
        out = np.empty(len(self._rows), np.float32)
        for at in range(0, len(out), _ROWS):
            out[at : at + _ROWS] = self._scores(self._rows[at : at + _ROWS], query)
        return out

    def _scores(self, rows: Any, query: Any) -> Any:
        return rows["scale"] * (rows["vector"].astype(np.float32) @ query)

    def _encode(self, texts: Sequence[str]) -> Any:
        """Return unit vectors; a text without known words gets zeros."""
        found = np.asarray(
            self._model.encode(list(texts), show_progress_bar=False, use_multiprocessing=False),
            dtype=np.float32,
        )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.divide(found, length, out=np.zeros_like(found), where=length > 0)

    def write(self, removed: Iterable[int], added: Iterable[PassageText]) -> None:
        """Clear the rows of removed passages, then write added ones; see ``DerivedIndex``."""
        mode = "r+b" if self._file.exists() else "w+b"
        empty = np.zeros(1, self._row)
        with open(self._file, mode) as file:
            for number in removed:
                self._put(file, number, empty)
            rest = iter(added)
            while batch := list(islice(rest, 1024)):
                found = self._encode([f"{subject}. {text}" for _, subject, text in batch])
                rows = np.zeros(len(batch), self._row)
                scale = np.abs(found).max(axis=1) / 127
                safe = np.where(scale > 0, scale, 1)[:, None]
                rows["scale"], rows["vector"] = scale, np.round(found / safe)
                for (number, _, _), row in zip(batch, rows, strict=True):
                    self._put(file, number, row)
            file.flush()
            os.fsync(file.fileno())
        self.refresh()

    def _put(self, file: Any, number: int, row: Any) -> None:
        file.seek((number - 1) * self._row.itemsize)
        file.write(row.tobytes())


def fuse_rankings(*rankings: Sequence[Hit]) -> list[Hit]:
    """Fuse rankings: each ranking adds ``1 / (FUSION_K + rank)`` to the scores of its hits."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (number, _) in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (FUSION_K + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))


def load_embeddings(name: str) -> Any:
    """Load an embedding model from a folder or the Hub.

    Raises:
        LacyError: E11, model2vec is not installed; E101, there is no such model.
    """
    model2vec = require_package("model2vec", "vectors", "an index with vectors")
    try:
        return model2vec.StaticModel.from_pretrained(name, force_download=False)
    except Exception as error:  # every library raises its own classes
        why = f"{type(error).__name__}: {first_line(error)}"
        raise LacyError("E101", name=name, why=why) from error


def copy_model(folder: Path, name: str) -> None:
    """Copy an embedding model from a folder or the Hub into an index without one."""
    target = folder / MODEL_FOLDER
    if target.exists():
        return
    model = load_embeddings(name)
    part = folder / f".{MODEL_FOLDER}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        os.replace(part, target)
    except OSError:
        if not target.exists():  # otherwise a concurrent build was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
