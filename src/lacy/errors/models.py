"""Training, models, the cascade, studies: what goes wrong with a model at hand."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E40-E44: objective
    "E40": Entry("there is no arm {arm!r}{hint}", "choose one of: {arms}", USAGE),
    "E41": Entry(
        "the arm {arm!r} ranks tokens by {what}, which was not given",
        "{do}",
        USAGE,
        "Some arms need more than the marks: the model's own losses, or those of a reference "
        "model, stored beside the tokens.",
    ),
    "E42": Entry(
        "{name} has shape {got}, but the targets have shape {want}",
        "give one value per target",
        DATA,
    ),
    # E45-E49: training
    "E45": Entry(
        "{count} of the training settings do not fit:{problems}",
        "correct them; see the settings: lacy config train",
        USAGE,
    ),
    "E46": Entry(
        "call_rate {rate} is more than the data can give: only {share:.1%} of its targets are "
        "{kind} (what the arm {arm!r} delegates)",
        "choose --call-rate {most:.2f} or less, another --arm, or annotate with more rules",
        DATA,
    ),
    "E47": Entry(
        "the {what} is {value} by step {step} (it was a number until step {good}); {kept}",
        "lower the learning rate (now {lr:g}) or clip harder, and start in a new folder",
        DATA,
    ),
    "E48": Entry(
        "out of memory in step {step} with {rows} rows of {context} tokens at a time; {kept}",
        "split the batch: --grad-accum {more} (the batch stays the same); to see the need: "
        "lacy train --dry-run",
        USAGE,
    ),
    "E49": Entry("the checkpoint {path} cannot be used: {why}", "{do}", DATA),
    # E55-E59: models and checkpoints
    "E55": Entry("no model in {path}: {why}", "{do}", DATA),
    "E56": Entry(
        "the model in {path} is damaged: {why}",
        "{do}",
        DATA,
        "Weights that are missing or of another shape are never made up: the model would speak "
        "at random.",
    ),
    "E57": Entry(
        "the model in {path} has no <CALL> as its last token",
        "train one from it: lacy train --init-from {path}",
        DATA,
    ),
    "E58": Entry(
        "models of kind {architecture} cannot be used here: {why}",
        "start from a model whose logits are its hidden states times one matrix and whose "
        "attention reads position_ids (Llama, GPT-2, Qwen, Mistral, SmolLM)",
        USAGE,
    ),
    "E59": Entry("the model in {path} does not fit: {why}", "{do}", DATA),
    # E98, E130-E136: models and tokenizers of others
    "E98": Entry(
        "the tokenizer of {path} has no token {token!r} that could begin texts",
        "choose one of its special tokens: {known}",
        USAGE,
        "The token before a text is to be the one that the model saw between documents when it "
        "was pretrained; it need not be the one that begins a chat.",
    ),
    "E130": Entry(
        "the weights in {path} are quantised ({method})",
        "take the unquantised checkpoint that it was made from; a trained model is quantised "
        "afterwards: lacy export RUN --to gguf --precision q8_0",
        DATA,
        "Quantised weights cannot be trained on, and their loaders need a GPU or packages of "
        "their own.",
    ),
    "E131": Entry(
        "{path} holds an adapter (LoRA) of {base}, not a whole model",
        'merge it into its base first: python -c "from peft import AutoPeftModelForCausalLM as M; '
        "M.from_pretrained('{path}').merge_and_unload().save_pretrained('MERGED')\", and copy the "
        "tokenizer's files to MERGED",
        DATA,
        "An adapter changes the weights of another model and says nothing without it.",
    ),
    "E132": Entry(
        "the {what} in {path} brings its own code, which is not run (kind {kind})",
        "use a model of a kind that transformers knows, or one converted to such a kind",
        DATA,
        "Code in a model's folder can do anything on this machine; lacy never runs it, whatever "
        "is typed.",
    ),
    "E133": Entry(
        "the weight {name} of the model in {path} is not a number (NaN or infinite)",
        "take an older checkpoint, or train again with a lower learning rate",
        DATA,
        "One such number makes all that a model says meaningless.",
    ),
    "E134": Entry(
        "{path} is a GGUF model, which lacy writes but does not read",
        "give the transformers folder (safetensors) that it was made from",
        DATA,
    ),
    # E60-E64: cascade
    "E60": Entry(
        "the text needs {tokens} tokens, the model's context holds {context}",
        "shorten the prompt, or use a model with a longer context",
        USAGE,
        "A text beyond the context would be continued by a model that has forgotten its start.",
    ),
    "E61": Entry(
        "no policy {policy!r}: {why}",
        "write one of: {forms}",
        USAGE,
        "A policy says when the model calls; it is a short text that travels in a model's name.",
    ),
    "E62": Entry(
        "the model has no <CALL> row ({rows} rows, {tokens} tokens{where})",
        "use a model trained by lacy, or a policy that does not read <CALL> (entropy, top2, "
        "random)",
        USAGE,
    ),
    "E63": Entry("{what}: {given} given, {wanted} needed", "{do}", USAGE),
    "E64": Entry("{path} holds no answers: {why}", "give a file written by lacy generate", DATA),
    # E80-E83: the made-up world
    "E80": Entry(
        "a world needs at least 10 people, not {people}", "lacy world --people 400", USAGE
    ),
    "E81": Entry(
        "no made-up world at {path}: {why}", "make one: lacy world --people 400 --out DIR", DATA
    ),
    # E84-E89: studies
    "E84": Entry(
        "{count} job(s) of the study failed; the others are done:{listed}",
        "mend the cause and run the same lacy study again: only what is missing is run",
        DATA,
    ),
    "E85": Entry(
        "{count} problem(s) in the plan of the study:{problems}",
        "correct the recipe; all its settings: lacy config study",
        USAGE,
    ),
    "E86": Entry(
        "the training run {cell} is not finished",
        "run the same lacy study again: it goes on where it stopped",
        DATA,
    ),
    "E87": Entry(
        "{path} is not as a study writes it: {why}",
        "give the folder that lacy study wrote, or correct what the message names",
        DATA,
        "Tables and figures are made from the files of one study, each with its columns.",
    ),
    "E88": Entry(
        "nothing to show of the study in {where}: {what}",
        "measure it (lacy study), or leave this table or figure out",
        DATA,
        "A figure needs what it shows: several call rates, calibration curves, comparisons.",
    ),
    "E89": Entry(
        "{path}, line {line}: {why}",
        "write <!-- figure: NAME FILE.svg --> or <!-- table: NAME -->, and <!-- end --> after it",
        USAGE,
        "Marked places of a page are filled from a study; a misspelt one would stay empty.",
    ),
}
