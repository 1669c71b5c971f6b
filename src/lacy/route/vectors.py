"""Inputs from a sentence encoder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lacy.encoder import PieceReader, body_of, encoder_folder, shape_of_bert, text_vectors
from lacy.route.cases import Floats

if TYPE_CHECKING:
    from lacy.encoder import EncoderBody

TOKENS = 128
"""Tokens of a text that the encoder reads, from its beginning."""


class EncoderFeatures:
    """The vector of a sentence encoder.

    The encoder is opened at the first text.

    Args:
        encoder: its folder or package.
    """

    name = "encoder"

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs of the training texts; there is nothing to prepare."""
        return self.matrix(texts)

    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, D]``.

        Raises:
            LacyError: E345, there is no such encoder.
        """
        body, reader = opened_encoder(self.encoder)
        return stored_precision(text_vectors(body, reader, texts))

    def data(self) -> dict[str, Any]:
        """Return the encoder's name."""
        return {"encoder": self.encoder}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


@functools.lru_cache(maxsize=2)
def opened_encoder(name: str) -> tuple[EncoderBody, PieceReader]:
    """Open an encoder once for all routers of a process."""
    folder = encoder_folder(name)
    limit = min(TOKENS, shape_of_bert(folder).positions)
    return body_of(folder), PieceReader.open(folder, limit)


def stored_precision(vectors: NDArray[Any]) -> Floats:
    """Round numbers to those of a stored case, so that a refit from stored cases is the same."""
    return np.asarray(vectors).astype(np.float16).astype(np.float64)
