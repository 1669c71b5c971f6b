"""Small language models: from presets or checkpoints, with the ``<CALL>`` row, saved, decoded.

Everything here is a plain ``transformers`` causal language model, so that a saved folder opens in
any tool of that world. What is ours: the last row of the vocabulary is ``<CALL>`` (the embedding
has exactly ``len(tokenizer)`` rows), and a folder carries ``lacy.json`` beside the weights.

``lacy.model.presets`` is free of torch and may be imported for help texts and estimates.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lacy.model.presets import PRESETS

if TYPE_CHECKING:
    from lacy.model.building import build
    from lacy.model.decode import Decoder
    from lacy.model.forward import head_weight, hidden_states
    from lacy.model.io import load, save

__all__ = ["PRESETS", "Decoder", "build", "head_weight", "hidden_states", "load", "save"]

_HOME = {
    "Decoder": "lacy.model.decode",
    "build": "lacy.model.building",
    "head_weight": "lacy.model.forward",
    "hidden_states": "lacy.model.forward",
    "load": "lacy.model.io",
    "save": "lacy.model.io",
}


def __getattr__(name: str) -> Any:
    """Import torch and transformers only when a name that needs them is first used."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
