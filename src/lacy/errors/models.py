"""Training, models, the cascade, studies: what goes wrong with a model at hand."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E40-E44: objective
    "E40": Entry(
        "there is no selection method {method!r}{hint}", "choose one of: {methods}", USAGE
    ),
    "E41": Entry(
        "the selection method {method!r} ranks tokens by {what}, which was not given",
        "{do}",
        USAGE,
        "Some methods need more than the marks: the model's own losses, or those of a reference "
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
        "{kind} (what the method {method!r} delegates)",
        "choose --call-rate {most:.2f} or less, another --method, or annotate with more rules",
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
        "lacy never replaces weights that are missing or have another shape by random ones: the "
        "model would generate nonsense.",
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
    # E98, E130-E136: models and tokenizers from elsewhere
    "E98": Entry(
        "the tokenizer in {path} has no token {token!r} that could be the begin token",
        "choose one of its special tokens: {known}",
        USAGE,
        "The begin token should be the token that separated documents in the model's pretraining; "
        "it need not be the one that begins a chat.",
    ),
    "E130": Entry(
        "the weights in {path} are quantised ({method})",
        "use the unquantised checkpoint that they were made from; to quantise a trained model: "
        "lacy export RUN --to gguf --precision q8_0",
        DATA,
        "Quantised weights cannot be trained, and loading them needs a GPU or additional packages.",
    ),
    "E131": Entry(
        "{path} contains a LoRA adapter for {base}, not a complete model",
        'merge it into its base first: python -c "from peft import AutoPeftModelForCausalLM as M; '
        "M.from_pretrained('{path}').merge_and_unload().save_pretrained('MERGED')\", and copy the "
        "tokenizer's files to MERGED",
        DATA,
        "An adapter modifies the weights of another model and cannot be used without it.",
    ),
    "E132": Entry(
        "the {what} in {path} requires its own code (type {kind}), which lacy does not run",
        "use a model whose type transformers supports, or convert it to such a type",
        DATA,
        "Code in a model folder could do anything on this machine, so lacy never runs it, "
        "whatever the options.",
    ),
    "E133": Entry(
        "the weight {name} of the model in {path} contains NaN or infinity",
        "use an older checkpoint, or train again with a lower learning rate",
        DATA,
        "A single such value makes all output of the model meaningless.",
    ),
    "E134": Entry(
        "{path} is a GGUF model, which lacy can write but not read",
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
        "the training run {run} is not finished",
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
