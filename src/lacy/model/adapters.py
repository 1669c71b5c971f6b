"""Load a ``peft`` adapter (LoRA and others): find its base, check that it fits, and merge it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.files import ADAPTER, ADAPTER_WEIGHTS, META, damaged_model, read_model_json
from lacy.model.fingerprint import model_fingerprint
from lacy.model.naming import resolve
from lacy.model.weights import download, quiet, require_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def base_of(place: Path) -> Path:
    """Return the folder of an adapter's base model.

    ``adapter_config.json`` names it: a name as in ``resolve``, a path relative to the adapter, or a
    name on the Hub.

    Raises:
        LacyError: E156, there is no such model on this machine.
    """
    named = str(read_model_json(place / ADAPTER).get("base_model_name_or_path") or "")
    try:
        for folder in (place / named, place.parent / named):
            if named and (folder / "config.json").is_file():
                return folder
        found = resolve(named) if named else place
        if found == place:
            raise LacyError("E13", path=named, do="")
        return found if isinstance(found, Path) else download(found, None)
    except LacyError as error:
        why = (
            f"its base {named!r} is not on this machine ({error.what})"
            if named
            else "it names no base"
        )
        do = f"set base_model_name_or_path in {place / ADAPTER} to the folder of its base"
        raise LacyError("E156", path=place, why=why, do=do) from error


def merge_adapter(model: PreTrainedModel, place: Path, base: Path) -> PreTrainedModel:
    """Return the base model with the adapter's changes in its weights.

    Args:
        model: the base model; changed in place.
        place: the adapter's folder.
        base: the base's folder, for messages.

    Raises:
        LacyError: E156, the adapter belongs to another base; E56, its weights are missing, damaged
            or not finite.
    """
    from peft import PeftModel
    from safetensors import SafetensorError, safe_open

    meta = read_model_json(place / META) if (place / META).is_file() else {}
    _require_known_base(model, place, base, meta)
    file = place / ADAPTER_WEIGHTS
    try:
        with safe_open(file, framework="pt") as opened:
            stored = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damaged_model(place, f"{file.name}: {first_line(error)}") from error
    _fit_vocabulary(model, stored)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted: Any = PeftModel.from_pretrained(model, str(place))
            _require_all_used(adapted, stored)
            merged: PreTrainedModel = adapted.merge_and_unload()
    except Exception as error:  # other layers, shapes or kinds of adapters: of any class
        why = f"it does not fit its base {base} ({first_line(error)[:200]})"
        raise _other_base(place, why) from error
    require_finite(merged, place)
    return merged


def _require_known_base(
    model: PreTrainedModel, place: Path, base: Path, meta: Mapping[str, Any]
) -> None:
    """Raise E156 if lacy trained the adapter on other weights."""
    known = meta.get("base")
    weights = known.get("weights") if isinstance(known, Mapping) else None
    if weights is not None and weights != model_fingerprint(model):
        raise _other_base(place, f"it was trained on other weights than those in {base}")


def _fit_vocabulary(model: PreTrainedModel, stored: Mapping[str, list[int]]) -> None:
    """Resize the base's vocabulary if the adapter contains a whole embedding or head."""
    for name, shape in stored.items():
        whole = name.endswith("weight") and len(shape) == 2 and "lora_" not in name
        if whole and any(part in name for part in ("embed_tokens", "lm_head", "wte", "embed_in")):
            model.resize_token_embeddings(shape[0], mean_resizing=False)
            return


def _require_all_used(adapted: Any, stored: Mapping[str, list[int]]) -> None:
    """Raise ValueError if the file contains tensors of layers that the base does not have."""
    from peft import get_peft_model_state_dict

    known = get_peft_model_state_dict(adapted)
    unused = sorted(set(stored) - set(known))
    if unused:
        raise ValueError(f"{len(unused)} of its tensors do not exist in the base, e.g. {unused[0]}")


def _other_base(place: Path, why: str) -> LacyError:
    do = f"set base_model_name_or_path in {place / ADAPTER} to the model that it was trained on"
    return LacyError("E156", path=place, why=why, do=do)
