"""Where a model comes from: entries of ``lacy.json`` that later steps keep, and their GGUF field.

What a model does by default depends on them. One that also learned where *not* to call is used with
a threshold of 0; one that lacy trained from new weights ranks values without reading sentences; one
that has ``<CALL>`` but never learned it does not call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lacy.model.forward import set_taught, taught_to_call

ORIGIN = ("preset", "training")
"""Entries of ``lacy.json`` about a model's origin; others depend on its weights. ``preset`` names
the new weights with which a training of lacy began, also after the shape has changed."""

FIELD = "lacy.training"
"""Name of the field in a GGUF file; llama.cpp ignores it."""

SETTINGS = {"method": str, "call_negative": str, "text_weight": float}
"""Settings of the training that say what ``<CALL>`` means, and their types."""

LONGEST = 1000
"""Characters of a field that is read; a longer one is not lacy's."""


def origin_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``lacy.json`` about a model's origin, for a model made from it."""
    return {key: meta[key] for key in ORIGIN if key in meta}


def from_scratch(meta: Mapping[str, Any]) -> bool:
    """True if lacy trained a model, or the one that it was made from, from new weights."""
    return bool(meta.get("training") and meta.get("preset"))


def training_field(model: Any, meta: Mapping[str, Any]) -> str:
    """Return the GGUF field of a model with ``<CALL>``; empty if there is nothing to say."""
    training = meta.get("training")
    found = _known(training.get("settings") if isinstance(training, Mapping) else None)
    if from_scratch(meta):
        found["preset"] = str(meta["preset"])
    if not taught_to_call(model):
        found["taught"] = False
    return json.dumps(found) if found else ""


def read_training_field(model: Any, field: Any) -> dict[str, Any]:
    """Record in the model's config whether it learned to call; return entries of ``lacy.json``.

    A field that lacy did not write says nothing.
    """
    if not isinstance(field, str) or len(field) > LONGEST:
        return {}
    try:
        found = json.loads(field)
    except ValueError:
        return {}
    if not isinstance(found, Mapping):
        return {}
    if found.get("taught") is False:
        set_taught(model, taught=False)
    if not (settings := _known(found)):
        return {}
    preset = found.get("preset")
    kept = {"preset": preset} if isinstance(preset, str) else {}
    return {**kept, "training": {"settings": settings}}


def _known(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        return {}
    return {name: settings[name] for name, kind in SETTINGS.items()
            if isinstance(settings.get(name), kind)}  # fmt: skip
