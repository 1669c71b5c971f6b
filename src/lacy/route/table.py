"""Inputs and targets of cases, kept beside a router so that further cases can be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from scipy import sparse

from lacy.errors import LacyError
from lacy.route.cases import CaseKind, Floats
from lacy.route.features import Matrix


@dataclass(frozen=True)
class CaseTable:
    """Cases as numbers; their texts are not kept.

    Attributes:
        kind: classes or outcomes.
        routes: names of the routes.
        matrices: inputs of each part of a router, rounded to float16.
        targets_NR: targets; NaN where a model is missing.
        sources: source of each case.
        keys: hash of each case's text.
    """

    kind: CaseKind
    routes: tuple[str, ...]
    matrices: list[Matrix]
    targets_NR: Floats
    sources: tuple[str, ...]
    keys: tuple[str, ...]

    def joined(self, newer: CaseTable) -> CaseTable:
        """Return the cases with further ones; for equal texts, the newer target counts.

        Of outcomes, the scores of models that the newer case lacks are kept.
        """
        routes = tuple(sorted({*self.routes, *newer.routes}))
        older_NR, newer_NR = (_spread(one, routes) for one in (self, newer))
        place = {key: row for row, key in enumerate(newer.keys)}
        kept = np.array([row for row, key in enumerate(self.keys) if key not in place], int)
        if self.kind == "outcomes":
            for row, key in enumerate(self.keys):
                if key in place:
                    new_R = newer_NR[place[key]]
                    newer_NR[place[key]] = np.where(np.isnan(new_R), older_NR[row], new_R)
        matrices = [_stack(old[kept], new)
                    for old, new in zip(self.matrices, newer.matrices, strict=True)]  # fmt: skip
        return CaseTable(
            self.kind, routes, matrices, np.concatenate([older_NR[kept], newer_NR]),
            (*(self.sources[row] for row in kept), *newer.sources),
            (*(self.keys[row] for row in kept), *newer.keys),
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays."""
        names = sorted(set(self.sources))
        place = {name: number for number, name in enumerate(names)}
        found: dict[str, NDArray[Any]] = {
            "targets": np.nan_to_num(self.targets_NR, nan=-1.0).astype(np.float32),
            "sources": np.array([place[name] for name in self.sources], np.int32),
            "source_names": _as_bytes(names), "keys": _as_bytes(self.keys),
            "routes": _as_bytes(self.routes),
            "outcomes": np.array([self.kind == "outcomes"]),
        }  # fmt: skip
        for number, matrix in enumerate(self.matrices):
            if sparse.issparse(matrix):
                found |= {f"{number}.data": matrix.data.astype(np.float16),
                          f"{number}.indices": matrix.indices.astype(np.int32),
                          f"{number}.ends": matrix.indptr.astype(np.int64),
                          f"{number}.width": np.array([matrix.shape[1]])}  # fmt: skip
            else:
                found[f"{number}.dense"] = np.asarray(matrix).astype(np.float16)
        return found


def read_case_table(path: Path) -> CaseTable:
    """Read the table beside a router.

    Raises:
        LacyError: E376, there is none.
    """
    try:
        arrays = load(path.read_bytes())
        names = _as_texts(arrays["source_names"])
        targets_NR = arrays["targets"].astype(np.float64)
        targets_NR[targets_NR < 0] = np.nan
        matrices: list[Matrix] = []
        while (number := len(matrices)) >= 0:
            if f"{number}.dense" in arrays:
                matrices.append(arrays[f"{number}.dense"].astype(np.float64))
            elif f"{number}.data" in arrays:
                parts = [arrays[f"{number}.{name}"] for name in ("data", "indices", "ends")]
                shape = (len(targets_NR), int(arrays[f"{number}.width"][0]))
                matrices.append(sparse.csr_matrix((parts[0].astype(np.float64), *parts[1:]), shape))
            else:
                break
        return CaseTable(
            "outcomes" if arrays["outcomes"][0] else "classes",
            tuple(_as_texts(arrays["routes"])), matrices, targets_NR,
            tuple(names[number] for number in arrays["sources"]),
            tuple(_as_texts(arrays["keys"])),
        )  # fmt: skip
    except (OSError, KeyError, ValueError, IndexError) as error:
        why = "it keeps no inputs of its cases" if isinstance(error, OSError) else str(error)
        raise LacyError("E376", path=path.parent, why=why) from error


def rounded_matrix(matrix: Matrix) -> Matrix:
    """Return inputs as a table holds them."""
    if sparse.issparse(matrix):
        found = matrix.copy()
        found.data = found.data.astype(np.float16).astype(np.float64)
        return found
    return np.asarray(matrix).astype(np.float16).astype(np.float64)


def _spread(table: CaseTable, routes: Sequence[str]) -> Floats:
    """Return targets with the columns of more routes."""
    empty = 0.0 if table.kind == "classes" else np.nan
    found_NR = np.full((len(table.targets_NR), len(routes)), empty)
    for column, name in enumerate(table.routes):
        found_NR[:, routes.index(name)] = table.targets_NR[:, column]
    return found_NR


def _stack(older: Matrix, newer: Matrix) -> Matrix:
    if sparse.issparse(older):
        return sparse.csr_matrix(sparse.vstack([older, newer]))
    return np.concatenate([older, newer])


def _as_bytes(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(texts).encode("utf-8", "replace"), np.uint8)


def _as_texts(stored: NDArray[np.uint8]) -> list[str]:
    return stored.tobytes().decode("utf-8").split("\0")
