"""The parts of a router: inputs of a text and a head that scores routes by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from lacy.route.cases import Floats
from lacy.route.features import Features, Matrix


class RouteHead(Protocol):
    """Scores routes by the inputs of texts, before calibration."""

    name: str

    def scores(self, matrix: Matrix) -> Floats:
        """Return the scores ``[N, R]``."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        ...


@dataclass(frozen=True)
class RouterPart:
    """Inputs and the head that reads them."""

    features: Features
    head: RouteHead

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the scores ``[N, R]`` before calibration."""
        return self.head.scores(self.features.matrix(texts))
