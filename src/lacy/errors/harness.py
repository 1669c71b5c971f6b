"""Errors of lm-eval's tasks, and of efficiency."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E242-E249: lm-eval, efficiency
    "E242": Entry(
        "{model} runs behind a server; lm-eval's model `lacy` runs in this process",
        "give the model's folder, or let lm-eval ask the server: "
        "lm_eval --model local-completions (docs/how-to/clients.md)",
        USAGE,
    ),
    "E243": Entry(
        "log-likelihoods with calls need a model that reads what its source says; {model} does not",
        "use likelihood=alone, which leaves calls to generation",
        USAGE,
        "A model that reads gives every value of the source a probability. One that lacy trained "
        "from scratch only ranks the values, and a rank is no probability.",
    ),
    "E244": Entry(
        "a task generates with settings that a cascade does not support: {settings}",
        "use only {known} in the task's generation_kwargs, or --policies never",
        USAGE,
    ),
    "E245": Entry(
        "lm-eval has no task {task!r}{hint}",
        "list all tasks with: lm_eval ls tasks; or give the YAML file of a task of your own",
        USAGE,
    ),
    "E246": Entry(
        "cannot load {tasks}: {why}",
        "without a network, use a task over local files (docs/how-to/lm-eval.md), or download the "
        "data set once and set HF_HUB_OFFLINE=1",
        DATA,
        "lm-eval's own tasks download their data from the Hub. A task of your own names local "
        "files: dataset_path: json, and data_files under dataset_kwargs.",
    ),
    "E247": Entry(
        "{model} has no chat template",
        "leave out --chat, or give a model with a chat template",
        USAGE,
    ),
    "E248": Entry(
        "the files of {model} are not on this machine, so their size is unknown",
        "give a folder, a file, or a short name such as smollm2",
        USAGE,
    ),
    "E249": Entry(
        "the peak memory of {model} cannot be measured: {why}",
        "try a smaller model, or fewer tokens (--prompt-tokens, --new-tokens)",
        DATA,
        "Memory is measured in a fresh process that loads the model and generates once. If there "
        "is too little memory, the operating system ends it.",
    ),
}
