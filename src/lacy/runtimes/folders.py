"""Write a model as a safetensors folder in a chosen precision, with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    Loaded,
    model_fingerprint,
    quantization_of,
    require_unquantized,
    write_model,
)
from lacy.run import replace_folder
from lacy.runtimes.int8 import Int8, quantize_int8, refused_precision
from lacy.runtimes.tensors import distinct_bytes, require_size, stored_bytes

FolderPrecision = Literal["f32", "bf16", "f16", "int8", "int8_dynamic"]
"""Precision of the weights in a safetensors folder: 4 or 2 bytes each, or int8 by torchao."""

_WORDS = {
    "f32": "float32",
    "bf16": "bfloat16, half the bytes of float32",
    "f16": "float16, half the bytes of float32",
    "int8": "int8 with one scale per row (torchao, weight-only); embedding and head are float32",
    "int8_dynamic": "int8 with one scale per row, and inputs rounded to int8 per token (torchao); "
    "embedding and head are float32",
}


def write_safetensors(loaded: Loaded, out: str | Path, precision: FolderPrecision = "f32") -> Path:
    """Write a model as a plain ``transformers`` folder, replacing it atomically.

    ``AutoModelForCausalLM.from_pretrained`` opens it; for int8, torchao must be installed.

    Args:
        loaded: the model; changed in place, so load it again to use the original.
        out: the folder to write or replace.
        precision: precision of the weights.

    Raises:
        LacyError: E12, unknown precision; E90, a weight exceeds the range of f16, or no weight can
            be quantized; E311, the model is quantized already; E312, a precision that lacy does not
            write; E313, the file does not contain each tensor once; E16, ``out`` contains other
            files.
    """
    refused_precision(precision, "safetensors")
    require_one_of("precision", precision, get_args(FolderPrecision))
    where = loaded.name or str(loaded.path or "memory")
    source = model_fingerprint(loaded.model)
    if quantization_of(loaded.model) != precision:
        require_unquantized(loaded.model, where, f"written as {precision}")
        loaded = _converted(loaded, precision, where)
        if loaded.meta.get(FINGERPRINT) == source:  # its row was fitted on what is exported
            loaded.meta = {**loaded.meta, FINGERPRINT: model_fingerprint(loaded.model)}
    with replace_folder(out) as folder:
        meta = export_meta(loaded, "safetensors", precision, source)
        write_model(folder, loaded.model, loaded.tokenizer, meta)
        add_to_card(folder, loaded, f"The weights are {_WORDS[precision]}.")
        wanted = distinct_bytes(loaded.model)
        require_size(Path(out), stored_bytes(folder), wanted)
    return Path(out)


def export_meta(loaded: Loaded, to: str, precision: str, source: str) -> dict[str, Any]:
    """Return the contents of ``lacy.json`` for an export.

    Args:
        loaded: the model.
        to: the format.
        precision: precision of the weights.
        source: fingerprint of the weights that are exported.
    """
    meta = {key: value for key, value in loaded.meta.items() if key not in _OF_THE_FOLDER}
    return {**meta, "export": {"to": to, "precision": precision, "from": source}}


_OF_THE_FOLDER = (
    "format", "lacy", "call_token", "call_id", "vocabulary", "tokenizer", "context", "parameters",
)  # fmt: skip
"""Entries of ``lacy.json`` that are written anew for each folder."""


def add_to_card(folder: Path, loaded: Loaded, sentence: str) -> None:
    """Copy the card of the exported model, if it has one, and add how the export was made."""
    card = folder / "README.md"
    old = loaded.path / "README.md" if loaded.path else None
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if old is not None and old.is_file():
        text = old.read_text(encoding="utf-8")
    measured = "Figures above were measured before this.\n" if "\n|" in text else ""
    text = f"{text.rstrip()}\n\n## Export\n\n{sentence} {measured}"
    card.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def _converted(loaded: Loaded, precision: FolderPrecision, where: str) -> Loaded:
    """Convert the weights of a model in place; int8 makes a new model."""
    import torch

    if precision in get_args(Int8):
        return quantize_int8(loaded, precision)[0]  # type: ignore[arg-type]
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]
    if precision == "f16":
        largest = torch.finfo(dtype).max
        for name, weight in loaded.model.named_parameters():
            if weight.numel() and weight.detach().abs().max() > largest:
                why = f"{name} has numbers beyond {largest:g}; use --precision bf16"
                raise LacyError("E90", path=where, to="safetensors", why=why)
    loaded.model.to(dtype)  # type: ignore[arg-type]
    return loaded
