"""Passages by what they mean: a static embedding of each (``model2vec``), compared exactly.

A static embedding is the mean of vectors of a text's tokens: no network runs, a sentence takes
microseconds. The model is copied into the index, so that nothing is fetched when it is asked.

Row ``n`` of the file belongs to passage ``n``: a scale and int8 components of a unit vector. Rows
of passages that are gone are zero. All rows are read for a query: 50 MB at 200,000 of 256.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.sources.texts.words import Hit

FILE, MODEL = "vectors.int8", "vectors.model"
FUSION = 60
"""``k`` of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

_ROWS = 8_192
"""Rows compared at a time."""


def _package() -> Any:
    try:
        import model2vec
    except ImportError as error:
        what = "an index with vectors"
        raise LacyError("E11", extra_for=what, package="model2vec", extra="vectors") from error
    return model2vec


class Vectors:
    """The vectors of an index.

    Raises:
        LacyError: E11, model2vec is not installed; E101, the model cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._model = load(str(folder / MODEL))
        size = int(self._model.dim)
        self._row = np.dtype([("scale", "<f4"), ("vector", "i1", (size,))])
        self.refresh()

    def refresh(self) -> None:
        """Sees what others have written since."""
        rows = self._file.stat().st_size // self._row.itemsize if self._file.exists() else 0
        self._rows: Any = (
            np.memmap(self._file, self._row, "r", shape=(rows,)) if rows else np.zeros(0, self._row)
        )

    def close(self) -> None:
        """Lets go of the file."""
        self._rows = np.zeros(0, self._row)

    def near(self, text: str, limit: int, among: Sequence[int] | None = None) -> list[Hit]:
        """The passages whose vectors are nearest by cosine, best first.

        Args:
            text: what is looked for.
            limit: how many.
            among: only these passages; by default all.
        """
        [query] = self._encode([text])
        if not query.any():
            return []
        if among is None:
            scores = self._all(query)
            numbers = np.arange(1, len(scores) + 1)
            if len(scores) > limit:
                best = np.argpartition(scores, -limit)[-limit:]
                numbers, scores = numbers[best], scores[best]
        else:
            numbers = np.array([n for n in among if n <= len(self._rows)], dtype=np.int64)
            scores = self._scores(self._rows[numbers - 1], query)
        order = np.lexsort((numbers, -scores))[:limit]
        return [(int(numbers[i]), float(scores[i])) for i in order if scores[i] > 0]

    def _all(self, query: Any) -> Any:
        out = np.empty(len(self._rows), np.float32)
        for at in range(0, len(out), _ROWS):
            out[at : at + _ROWS] = self._scores(self._rows[at : at + _ROWS], query)
        return out

    def _scores(self, rows: Any, query: Any) -> Any:
        return rows["scale"] * (rows["vector"].astype(np.float32) @ query)

    def _encode(self, texts: Sequence[str]) -> Any:
        """Unit vectors; zeros where no word is known."""
        found = np.asarray(
            self._model.encode(list(texts), show_progress_bar=False, use_multiprocessing=False),
            dtype=np.float32,
        )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.divide(found, length, out=np.zeros_like(found), where=length > 0)

    def write(self, gone: Iterable[int], there: Iterable[tuple[int, str, str]]) -> None:
        """Empties the rows of passages, then fills those of others; see ``Follower``."""
        mode = "r+b" if self._file.exists() else "w+b"
        empty = np.zeros(1, self._row)
        with open(self._file, mode) as file:
            for number in gone:
                self._put(file, number, empty)
            rest = iter(there)
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


def fused(*rankings: Sequence[Hit]) -> list[Hit]:
    """One ranking of several: each adds ``1 / (FUSION + rank)`` to what it holds."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (number, _) in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (FUSION + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))


def load(name: str) -> Any:
    """A model from a folder or the Hub.

    Raises:
        LacyError: E11, model2vec is not installed; E101, there is no such model.
    """
    model2vec = _package()
    try:
        return model2vec.StaticModel.from_pretrained(name, force_download=False)
    except Exception as error:  # files, formats, network: each library its own class
        lines = str(error).splitlines() or [""]
        why = f"{type(error).__name__}: {lines[0]}"
        raise LacyError("E101", name=name, why=why) from error


def keep_model(folder: Path, name: str) -> None:
    """Puts a model, from a folder or the Hub, into an index that has none."""
    target = folder / MODEL
    if target.exists():
        return
    model = load(name)
    part = folder / f".{MODEL}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        os.replace(part, target)
    except OSError:
        if not target.exists():  # another build was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
