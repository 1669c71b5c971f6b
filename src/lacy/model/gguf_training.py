"""How a model learned to call, as a field of its GGUF file.

Without it, an export would change the default policy of a model with ``<CALL>`` in the softmax: one
that also learned where *not* to call is used with a threshold of 0. And a model that has the token
but never learned to call would be taken for one that calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lacy.model.forward import set_taught, taught_to_call

FIELD = "lacy.training"
"""Name of the field; llama.cpp ignores it."""

SETTINGS = {"method": str, "call_negative": str, "text_weight": float}
"""Settings of the training that say what ``<CALL>`` means, and their types."""

LONGEST = 1000
"""Characters of a field that is read; a longer one is not lacy's."""


def training_field(model: Any, meta: Mapping[str, Any]) -> str:
    """Return the field of a model with ``<CALL>``; empty if there is nothing to say."""
    training = meta.get("training")
    found = _known(training.get("settings") if isinstance(training, Mapping) else None)
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
    if isinstance(found, Mapping) and found.get("taught") is False:
        set_taught(model, taught=False)
    settings = _known(found)
    return {"training": {"settings": settings}} if settings else {}


def _known(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        return {}
    return {name: settings[name] for name, kind in SETTINGS.items()
            if isinstance(settings.get(name), kind)}  # fmt: skip
