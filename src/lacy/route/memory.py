"""Cache inputs that are expensive to compute, such as the vectors of an encoder.

A benchmark fits many routers on parts of the same texts. With a memory, each text is read once,
and a benchmark that was stopped does not read it again. No text is stored, only a hash of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lacy.disk import write_atomic
from lacy.route.features import Features, Matrix

DEAR = ("encoder", "hidden", "prompted")
"""Inputs that depend on the text alone and are computed by a neural network."""

PIECE = 512
"""Texts that are read between two writes of the file."""


class InputMemory:
    """Inputs of texts by the features that made them.

    Args:
        file: a safetensors file that keeps them; it need not exist. None keeps them in memory only.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = None if file is None else Path(file)
        self.known: dict[str, dict[str, NDArray[Any]]] = {}
        if self.file is not None and self.file.exists():
            stored = load(self.file.read_bytes())
            for name in {one.rpartition(".")[0] for one in stored}:
                keys = [bytes(row).hex() for row in stored[f"{name}.keys"]]
                self.known[name] = dict(zip(keys, stored[f"{name}.inputs"], strict=True))

    def wrap(self, features: Features) -> Features:
        """Return features that remember, or the same ones if they are cheap or learn from texts."""
        return RememberedFeatures(features, self) if features.name in DEAR else features

    def read(self, features: Features, texts: Sequence[str]) -> Matrix:
        """Fit features on training texts and return their inputs, remembered ones if possible."""
        return self.wrap(features).fit(texts)

    def inputs(self, features: Features, texts: Sequence[str]) -> NDArray[Any]:
        """Return the inputs of texts, computing and keeping those that are not known."""
        name = _digest(f"{features.name} {json.dumps(features.data(), sort_keys=True)}")
        known = self.known.setdefault(name, {})
        keys = [_digest(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        # Short texts first, so that a piece has texts of similar length.
        order = sorted(missing, key=lambda key: len(missing[key]))
        for start in range(0, len(order), PIECE):
            piece = order[start : start + PIECE]
            rows = np.asarray(features.matrix([missing[key] for key in piece]), np.float32)
            known.update(zip(piece, rows, strict=True))
            if len(order) > PIECE:
                self.save()
        if order:
            self.save()
        return np.stack([known[key] for key in keys]).astype(np.float64)

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.file is None:
            return
        arrays: dict[str, NDArray[Any]] = {}
        for name, known in self.known.items():
            if known:
                keys = [list(bytes.fromhex(key)) for key in known]
                arrays[f"{name}.keys"] = np.array(keys, np.uint8)
                arrays[f"{name}.inputs"] = np.stack(list(known.values()))
        write_atomic(self.file, save(arrays))


class RememberedFeatures:
    """Features whose inputs a memory keeps."""

    def __init__(self, features: Features, memory: InputMemory) -> None:
        self.features, self.memory, self.name = features, memory, features.name

    def fit(self, texts: Sequence[str]) -> Matrix:
        """Return the inputs of the training texts; there is nothing to prepare."""
        return self.matrix(texts)

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """Return the inputs of each text ``[N, F]``."""
        return self.memory.inputs(self.features, texts)

    def data(self) -> dict[str, Any]:
        """Return the settings of the features."""
        return self.features.data()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the features."""
        return self.features.arrays()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
