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
    "E282": Entry(
        "{path} cannot be quantized to blocks of 32 weights: the rows of {name} have {size} "
        "weights ({count} such matrices)",
        "write it in half precision: lacy export MODEL --to gguf --precision f16",
        DATA,
        "llama.cpp's block types divide each row of a matrix into blocks of 32 weights.",
    ),
    "E283": Entry(
        "the weights {name} have changed since the model was quantized",
        "quantize the model again after the change; only the <CALL> row may change in between",
        DATA,
        "A file contains exactly the weights that were measured; rounding them again would change "
        "them.",
    ),
    "E284": Entry(
        "the file {path} needs {needed} MB, but the disk has only {free} MB free",
        "free some space, or write to another disk",
        USAGE,
    ),
    "E285": Entry(
        "a budget of {budget} MB is too small for the matrices of this model: they need between "
        "{least} and {most} MB with the types {kinds}",
        "give a larger budget, allow types with fewer bits, or prune the model or its vocabulary",
        USAGE,
    ),
}
