"""Which parts a head has, and how they are stored and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from lacy.route.features import (
    Features,
    GramFeatures,
    LengthFeatures,
    ShapeFeatures,
    buckets_for,
)
from lacy.route.heads import RouteHead, RouterPart
from lacy.route.linear import linear_from
from lacy.route.settings import RouterSettings

Arrays = Mapping[str, NDArray[Any]]


def features_for(settings: RouterSettings, routes: Sequence[str]) -> list[Features]:
    """Return the inputs of each part of a head, before ``fit``.

    Raises:
        LacyError: E345, there is no text encoder.
    """
    grams = buckets_for(len(routes))
    if settings.head == "length":
        return [LengthFeatures()]
    if settings.head == "tfidf":
        return [GramFeatures(grams)]
    return [GramFeatures(grams), ShapeFeatures()]


def features_from(name: str, data: Mapping[str, Any], arrays: Arrays) -> Features:
    """Return stored inputs."""
    if name == LengthFeatures.name:
        return LengthFeatures()
    if name == ShapeFeatures.name:
        return ShapeFeatures()
    if name == GramFeatures.name:
        return GramFeatures(int(data["buckets"]), arrays["idf"])
    raise ValueError(f"it has inputs of an unknown kind: {name!r}")


def head_from(name: str, arrays: Arrays) -> RouteHead:
    """Return a stored head."""
    if name == "linear":
        return linear_from(dict(arrays))
    raise ValueError(f"it has a head of an unknown kind: {name!r}")


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
