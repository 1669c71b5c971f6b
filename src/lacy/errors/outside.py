"""Errors in sources, databases, servers and the terminal."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    # E65-E74: sources
    "E65": Entry(
        "no database at {path}",
        "check the path; lacy data world writes a database of its people",
        SOURCE,
    ),
    "E66": Entry(
        "cannot open the database {path}: {why}",
        "use a SQLite or DuckDB file that you have permission to read",
        SOURCE,
    ),
    "E67": Entry(
        "the database {path} has no table {table!r}; it has: {found}",
        "create a table fact(subject, relation, value), or write a mapping to your tables: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    "E68": Entry(
        "table {table!r} in {path} has no column {column!r}; it has: {found}",
        "name the columns for subject, relation and value in a mapping: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    "E69": Entry(
        "cannot load a causal language model from {path}: {why}",
        "use a folder or Hub name that transformers can load as a causal model with its tokenizer",
        SOURCE,
    ),
    "E70": Entry(
        "cannot open a document index in {path}: {why}",
        "build one with: lacy source build TEXTS --out {path}",
        SOURCE,
    ),
    "E71": Entry(
        "cannot write the document index {path}: {why}",
        "check its permissions and the free disk space; if another version of lacy wrote it, "
        "build into a new folder",
        SOURCE,
    ),
    "E72": Entry(
        "the model address {url} cannot be used: {why}",
        "use the base URL of an OpenAI-compatible API, such as http://localhost:8000/v1; set keys "
        "in the environment (OPENAI_API_KEY)",
        SOURCE,
        "Addresses appear in messages, files and reports, so they must not contain secrets.",
    ),
    "E73": Entry(
        "cannot cache answers in {path}: {why}",
        "check the path, its permissions and the free disk space",
        SOURCE,
        "The cache is a SQLite file that several processes can share. It can be deleted at any "
        "time.",
    ),
    "E74": Entry(
        "cannot read the table, view or column {table!r} of {path}: {why}",
        "repair it in the database, or use another table; to list the readable tables: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    # E90-E93: other inference engines
    "E90": Entry(
        "cannot export the model in {path} to {to}: {why}",
        "serve it with lacy serve, or with an engine that loads its folder directly (vLLM)",
        DATA,
        "lacy exports only what the other engine computes identically; otherwise its output would "
        "differ for no visible reason.",
    ),
    "E91": Entry(
        "the server at {url} cannot host the model: {why}",
        "{do}",
        SOURCE,
        "A hosted model needs a completions API with log-probabilities, and the same tokenizer on "
        "both sides.",
    ),
    "E92": Entry(
        "policy {policy} does not work with a hosted model: {why}",
        "use threshold=0, budget=0.22, never, always or random=0.22; for other policies, load the "
        "model in this process (give its folder)",
        USAGE,
        "A server returns only the most likely tokens of each step, not the whole distribution.",
    ),
    "E93": Entry(
        "no answer from the model server at {url}: {why}",
        "check that it is running and serves this model, then run the command again",
        SOURCE,
        "Generation cannot continue without its model. When only a source fails, the model "
        "continues without it.",
    ),
    # E94-E99: databases
    "E94": Entry(
        "cannot use the database {place}: {why}",
        "check the address, postgresql://USER@HOST:PORT/NAME, and that the server is reachable; "
        "the password comes from PGPASSWORD or ~/.pgpass",
        SOURCE,
        "Messages never show a password. A malformed address is not shown at all, because it may "
        "contain one.",
    ),
    "E95": Entry(
        "{count} problem(s) in the mapping {path}:{problems}",
        "correct them; to generate a first mapping: lacy source map DATABASE --out mapping.yaml",
        USAGE,
        "A mapping says which tables and columns contain subjects and facts. It is checked against "
        "the database before any query.",
    ),
    "E96": Entry(
        "the mapping {path} does not work in {place}: {why}",
        "correct this entry; its tables exist, but the database cannot join or compare them this "
        "way",
        SOURCE,
    ),
    "E97": Entry("cannot generate a mapping for {place}: {why}", "{do}", SOURCE),
    # E100-E105: documents as a source
    "E100": Entry(
        "the index in {path} was built with {what} {has!r}, not {wanted!r}",
        "omit --{what}, or build into a new folder",
        USAGE,
        "An index records how it was built, and texts can only be added in the same way.",
    ),
    "E101": Entry(
        "cannot load the embeddings {name!r}: {why}",
        "use the folder or Hub name of a model2vec model",
        SOURCE,
        "Static embeddings are read from safetensors with their tokenizer, never from pickle.",
    ),
    "E121": Entry(
        "{root} contains no texts, but the index {path} has {count} documents from it; they stay "
        "in the index",
        "check that the folder exists and its disk is mounted; to remove the documents: "
        "lacy source build {root} --out {path} --gone remove",
        DATA,
        "A build removes documents whose files no longer exist, but an empty folder may mean that "
        "a disk is not mounted.",
    ),
    # E106-E110: models as sources
    "E106": Entry(
        "invalid price {price!r}: {why}",
        "give US dollars per million input and output tokens, such as --price 0.15,0.60; to set it "
        "for one of several sources: --price NAME=0.15,0.60",
        USAGE,
        "Prices are used to report costs. Only models behind servers and models of the llm package "
        "can have one; database and document lookups are free.",
    ),
    "E107": Entry(
        "the llm package has no model {model!r}; it has: {found}",
        "choose one from: llm models; or install the plugin that provides it: llm install PLUGIN",
        SOURCE,
        "Models come from plugins, which must be installed in the same environment as lacy. llm "
        "stores the keys itself: llm keys set NAME.",
    ),
    # E111-E115: command line
    "E111": Entry(
        "there is nothing to explain in {text!r}",
        'give a text of several words: lacy why MODEL --teacher "Ada Lovelace was born in London."',
        USAGE,
        "The first token of a text has no context that could explain it, unless the tokenizer "
        "has a begin token.",
    ),
    "E112": Entry(
        "the model's chat template cannot be used: {why}",
        "rephrase the message, or start a new conversation: /new",
        USAGE,
        "The template rejects the conversation or drops one of its messages. Control tokens in a "
        "message are encoded as ordinary text; a few tokenizers cannot do that.",
    ),
    "E113": Entry(
        "cannot write a plot to {path}: unsupported file type",
        "use a name that ends in .png or .svg: --plot why.png",
        USAGE,
    ),
    "E115": Entry(
        "{program}: {why}",
        "{do}",
        USAGE,
        "A flag does not exist, or an argument is missing or unexpected.",
    ),
    # E145-E149: the server
    "E203": Entry(
        "cannot keep records of answers in {path}: {why}",
        "check the folder's permissions and the free disk space, or name another one: "
        "--log-calls FOLDER",
        USAGE,
    ),
    "E204": Entry(
        "no records of answers in {path} ({files} files, {skipped} lines that are no records)",
        "give the folder that lacy serve MODEL --log-calls FOLDER writes; it fills when clients "
        "send requests",
        DATA,
        "Records are lines of JSON in files called records-*.jsonl.",
    ),
    "E145": Entry(
        "another process has held the lock on {path} for 30 seconds",
        "wait until that process has finished, or end it",
        USAGE,
        "Only one process at a time may add keys, so that none is lost.",
    ),
}
