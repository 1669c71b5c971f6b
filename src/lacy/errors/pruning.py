"""Errors of pruning."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E290-E299: pruning
    "E290": Entry(
        "cannot remove {number} of {blocks} blocks: {why}",
        "give another share or count, calibration texts, or choose the last blocks (by=last)",
        USAGE,
        "A model keeps at least one block. Blocks are chosen on calibration texts, unless the last "
        "ones are removed.",
    ),
    "E291": Entry(
        "a model of the architecture {architecture} cannot be made smaller like this: {why}",
        "prune its depth or its weights instead, or take a model of a plainer architecture "
        "(Llama, Qwen, Mistral)",
        DATA,
        "A smaller model is built from a changed config. If the config cannot express it, or the "
        "smaller model would compute something else, nothing is changed.",
    ),
    "E292": Entry(
        "weights cannot be pruned to {pattern}: {why}",
        "give a share of zeros (sparsity=0.5) or a pattern that divides all sizes, and calibration "
        "texts, or choose by magnitude",
        USAGE,
        "N:M keeps N of every M neighbouring weights of a row, so M divides the inputs of every "
        "linear layer. Nothing is changed if one of them does not fit.",
    ),
    "E293": Entry(
        "weights of {name} are not finite (NaN or infinite)",
        "use another checkpoint of this model",
        DATA,
        "Weights are compared by size, which is not possible with NaN.",
    ),
    "E294": Entry(
        "cannot keep {kept} {part}: {why}",
        "give calibration texts, and a smaller number above 0 of heads, neurons or channels that "
        "remain",
        USAGE,
        "In grouped-query attention, several query heads share a key-value head, and all groups of "
        "a model have one size.",
    ),
    "E295": Entry(
        "adapters would fill the zeros of {matrices} pruned matrices",
        "train everything (depth=full) or the last layers (depth=last=N)",
        USAGE,
        "LoRA adds a dense matrix to each weight matrix. After it is merged, no zero is left.",
    ),
}
