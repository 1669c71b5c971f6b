"""Errors of smaller vocabularies."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E270-E279: smaller vocabularies
    "E270": Entry(
        "{path} is not a vocabulary: {why}",
        "make one: lacy vocabulary build MODEL --data texts.jsonl --out FILE",
        DATA,
        "A vocabulary is a JSON file with the ids of the tokens that a task needs.",
    ),
    "E271": Entry(
        "{path} belongs to another tokenizer (of {size} tokens; this one has {tokens})",
        "make a vocabulary with this model: lacy vocabulary build MODEL --data texts.jsonl "
        "--out FILE",
        DATA,
        "A vocabulary contains token ids, which have other meanings in another tokenizer.",
    ),
    "E272": Entry(
        "{where}: no example has an output with tokens",
        "give texts, or JSON lines with the fields of --input-field and --output-field",
        DATA,
    ),
    "E273": Entry(
        "Unicode has no script {script}{hint}",
        "name a script, such as Latin, Greek, Cyrillic or Han; leave --scripts out for all",
        USAGE,
    ),
    "E274": Entry(
        "tokens cannot be removed from this tokenizer: {why}",
        "use a tailored head instead, which changes no tokenizer: lacy generate MODEL "
        "--vocabulary FILE",
        DATA,
        "What is left must still be able to write every text, which needs a token for every byte.",
    ),
    "E275": Entry(
        "the head of {name} is tailored already",
        "restore it first (Tailored.restore), or load the model again",
        USAGE,
    ),
    "E276": Entry(
        "the rows of embedding and head cannot stay in the model's file: {why}",
        "save the model, load it from its folder and use it as it is, or leave --offload out",
        USAGE,
        "Rows are read where they are in a .safetensors file, which must be that of the model.",
    ),
    "E277": Entry(
        "cannot measure the memory of {model}: {why}",
        "free some memory, or use a smaller model; by stage it is measured on Linux only",
        DATA,
    ),
}
