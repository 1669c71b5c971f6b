"""How many of a text's words the training texts have, without keeping the words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import Floats

BITS = 2**20
"""Size of the table of hashed words; 128 KB."""

_WORD = re.compile(r"\w+")


class FamiliarWords:
    """A table of hashed words: a bit is set if some word of the training texts has this hash.

    Args:
        seen: the table.
    """

    def __init__(self, seen: NDArray[np.bool_]) -> None:
        self.seen = seen

    @classmethod
    def of(cls, texts: Sequence[str]) -> FamiliarWords:
        """Make the table of texts."""
        seen = np.zeros(BITS, bool)
        for text in texts:
            seen[_places(text)] = True
        return cls(seen)

    def shares(self, texts: Sequence[str]) -> Floats:
        """Return the share of each text's words that are familiar; 1 without words."""
        places = [_places(text) for text in texts]
        return np.array([self.seen[one].mean() if one else 1.0 for one in places])

    def packed(self) -> NDArray[np.uint8]:
        """Return the table as bytes."""
        return np.packbits(self.seen)

    @classmethod
    def unpacked(cls, packed: NDArray[np.uint8]) -> FamiliarWords:
        """Undo ``packed``."""
        return cls(np.unpackbits(packed).astype(bool))


def _places(text: str) -> list[int]:
    return [zlib.crc32(word.encode("utf-8", "replace")) % BITS
            for word in _WORD.findall(text.casefold())]  # fmt: skip
