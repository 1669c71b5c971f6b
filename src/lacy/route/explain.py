"""Explain a score: which words, counts, signals or near cases moved it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lacy.route.cases import Floats
from lacy.route.grams import GramFeatures
from lacy.route.heads import RouterPart
from lacy.route.linear import LinearHead
from lacy.route.other_heads import NeighbourHead
from lacy.route.router import Router, has_words

MAX_PIECES = 16
"""Pieces of a text that are left out one at a time."""

_WORD = re.compile(r"\w+")

PART_NAMES = {
    "grams": "n-grams", "encoder": "sentence encoder", "hidden": "hidden states",
    "prompted": "likelihood of the names", "shape": "shape", "length": "length", "draft": "draft",
}  # fmt: skip


@dataclass(frozen=True)
class ScoreReason:
    """Something that moved the score of a route against that of another.

    Attributes:
        part: the part of the router that it belongs to.
        what: a word, a count, a signal, a piece of the text, or the whole part.
        effect: how far it moved the logit of the first route against that of the second.
    """

    part: str
    what: str
    effect: float


def explain_score(
    router: Router, text: str, first: str, second: str, most: int = 8
) -> list[ScoreReason]:
    """Return what moved the score of one route against that of another, the strongest first.

    A linear head is taken apart exactly: n-grams are added up by the words that they are in, and
    counts by their names. Of other heads, pieces of the text are left out one at a time.

    Args:
        router: the router.
        text: the text.
        first: a route, usually the chosen one.
        second: another one, usually the runner-up.
        most: reasons returned at most.
    """
    read = router.filter(text)
    if not has_words(read):
        return [ScoreReason("text", "no words: the mean targets of training", 0.0)]
    pair = router.routes.index(first), router.routes.index(second)
    found: list[ScoreReason] = []
    for number, part in enumerate(router.parts):
        weight_R = router.mix.weight_PR[number]
        name = PART_NAMES[part.features.name]
        found += [ScoreReason(name, what, effect)
                  for what, effect in _of_part(part, weight_R, read, pair)]  # fmt: skip
    return sorted(found, key=lambda one: -abs(one.effect))[:most]


def _of_part(
    part: RouterPart, weight_R: Floats, text: str, pair: tuple[int, int]
) -> list[tuple[str, float]]:
    """Return reasons and effects of one part."""
    first, second = pair
    features, head = part.features, part.head
    if isinstance(head, LinearHead):
        difference_F = (head.weight_FR[:, first] * weight_R[first]
                        - head.weight_FR[:, second] * weight_R[second])  # fmt: skip
        if isinstance(features, GramFeatures):
            return _of_words(features, text, difference_F)
        names = getattr(features, "names", None)
        if names is not None:
            row_F = (features.matrix([text])[0] - head.mean_F) / head.scale_F
            totals: dict[str, float] = {}
            for what, effect in zip(names(), row_F * difference_F, strict=True):
                totals[what] = totals.get(what, 0.0) + float(effect)
            return list(totals.items())
    if isinstance(head, NeighbourHead):
        near_NK, cosine_NK = head.nearest(features.matrix([text]))
        targets_KR = head.targets_MR[near_NK[0]]
        gap = float(np.nanmean(targets_KR[:, first]) - np.nanmean(targets_KR[:, second]))
        what = f"{near_NK.shape[1]} nearest cases (cosine {cosine_NK[0].max():.2f} and less)"
        return [(what, gap * float(weight_R[first]))]
    return _of_pieces(part, weight_R, text, pair)


def _of_words(features: GramFeatures, text: str, difference_F: Floats) -> list[tuple[str, float]]:
    """Add up the effects of n-grams by the words that they are in."""
    plain, places = features.places(text)
    row = features.matrix([text])
    words = [(one.start(), one.end(), one[0]) for one in _WORD.finditer(plain)]
    effects: dict[str, float] = {}
    for bucket, value in zip(row.indices.tolist(), row.data.tolist(), strict=True):
        effect = value * float(difference_F[bucket])
        where = places.get(bucket, [])
        inside = [word for start, end in where for begin, stop, word in words
                  if begin < end and start < stop]  # fmt: skip
        for word in inside:
            effects[word] = effects.get(word, 0.0) + effect / len(inside)
    return [(f"{word!r}", effect) for word, effect in effects.items()]


def _of_pieces(
    part: RouterPart, weight_R: Floats, text: str, pair: tuple[int, int]
) -> list[tuple[str, float]]:
    """Leave out pieces of a text, one at a time."""
    words = text.split()
    size = -(-len(words) // MAX_PIECES)
    starts = list(range(0, len(words), size))
    if len(starts) < 2:
        scores_R = part.scores([text])[0] * weight_R
        return [("the whole text", float(scores_R[pair[0]] - scores_R[pair[1]]))]
    without = [" ".join(words[:start] + words[start + size :]) for start in starts]
    scores_NR = part.scores([text, *without]) * weight_R
    gap_N = scores_NR[:, pair[0]] - scores_NR[:, pair[1]]
    pieces = [" ".join(words[start : start + size]) for start in starts]
    return [(f"{piece[:60]!r}", float(gap_N[0] - gap))
            for piece, gap in zip(pieces, gap_N[1:], strict=True)]  # fmt: skip
