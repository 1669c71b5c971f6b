"""Errors of quantization and of walks through the blocks of a model."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E280-E289: walks through the blocks of a model, quantization
    "E280": Entry(
        "none of {texts} texts has a token, so there is nothing to calibrate on",
        "give texts like those that the model will write",
        USAGE,
    ),
    "E281": Entry(
        "a model of the architecture {architecture} cannot be run block by block: {why}",
        "use another method, or a model whose blocks follow one another (Llama, Qwen, GPT-2)",
        DATA,
        "Methods that calibrate each block with the outputs of the blocks before it need a model "
        "that is one sequence of blocks.",
    ),
}
