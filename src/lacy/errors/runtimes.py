"""Errors of models in the formats of other runtimes."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E310-E319: torchao, ONNX Runtime
    "E310": Entry(
        "{path} is an export for {runtime}, which this command cannot use",
        "give the folder of the model that it was made from; generate, chat, why, serve and "
        "evaluate --texts run the export",
        USAGE,
        "An export contains a fixed graph. Training, tuning, scoring of layers and other exports "
        "need the model's own weights.",
    ),
    "E311": Entry(
        "the model in {path} is already quantized ({kind}), so it cannot be {what}",
        "use the model that it was made from",
        USAGE,
        "Rounding rounded weights again adds error and saves nothing, and integers have no "
        "gradients. Quantization is the last step; only the <CALL> row can be fitted after it.",
    ),
    "E312": Entry(
        "lacy does not write {precision} for {target}: {why}",
        "{do}",
        USAGE,
        "A precision is offered where it runs on a CPU, and where the file is as small as the "
        "precision promises.",
    ),
    "E313": Entry(
        "{path} would have {found:,} bytes of weights, but those of the model have {wanted:,}",
        "please report it with the model's config.json: lacy help env",
        DATA,
        "Every exporter compares what it wrote with the model's tensors, each counted once. A "
        "larger file usually contains the embedding twice, because the link between embedding and "
        "head was lost. Nothing was replaced.",
    ),
    "E314": Entry(
        "the {target} export of {path} computes other logits than the model (largest difference "
        "{error:.2g} of {scale:.2g})",
        "please report it with the model's config.json: lacy help env",
        DATA,
        "Every export is run on a short text before it replaces anything.",
    ),
}
