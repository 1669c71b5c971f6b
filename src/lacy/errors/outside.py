"""Sources, engines of others, the terminal: what goes wrong with the outside world."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    # E65-E74: sources
    "E65": Entry(
        "no database at {path}", "check the path; a world's is written by: lacy data world", SOURCE
    ),
    "E66": Entry(
        "cannot read the database {path}: {why}",
        "give a SQLite or DuckDB file that this user may read",
        SOURCE,
    ),
    "E67": Entry(
        "the database {path} has no table {table!r}; it has: {found}",
        "give a table fact(subject, relation, value), or say where facts stand in yours: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    "E68": Entry(
        "the table {table!r} of {path} has no column {column!r}; it has: {found}",
        "name the columns that hold subject, relation and value: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    "E69": Entry(
        "no causal language model in {path}: {why}",
        "give a folder or Hub name that transformers opens as a causal model with its tokenizer",
        SOURCE,
    ),
    "E70": Entry(
        "no index of documents in {path}: {why}",
        "make one: lacy source build TEXTS --out {path}",
        SOURCE,
    ),
    "E71": Entry(
        "cannot write the index of documents {path}: {why}",
        "check permissions and free space; an index of another version is made anew in a new "
        "folder",
        SOURCE,
    ),
    "E72": Entry(
        "the address {url} of a model cannot be used: {why}",
        "give the base of an OpenAI-compatible API, such as http://localhost:8000/v1; keys come "
        "from the environment (OPENAI_API_KEY)",
        SOURCE,
        "Addresses stand in messages, files and reports; nothing secret may stand in them.",
    ),
    "E73": Entry(
        "cannot keep answers in {path}: {why}",
        "check the path, its permissions and the free space",
        SOURCE,
        "Kept answers are a SQLite file that several processes may use; it can be deleted at any "
        "time.",
    ),
    "E74": Entry(
        "the table, view or column {table!r} of {path} cannot be read: {why}",
        "repair it in the database, or name another table; to list the tables that can be read: "
        "lacy source map {path} --out mapping.yaml",
        SOURCE,
    ),
    # E90-E93: engines of others
    "E90": Entry(
        "the model in {path} cannot be written as {to}: {why}",
        "serve it in process (lacy serve), or by an engine that opens its folder (vLLM)",
        DATA,
        "Only what the other engine computes in the same way is written; anything else would "
        "speak differently there, and nobody would know why.",
    ),
    "E91": Entry(
        "the server at {url} cannot host the model: {why}",
        "{do}",
        SOURCE,
        "A hosted model needs completions with log-probabilities, and the same tokens on both "
        "sides.",
    ),
    "E92": Entry(
        "the policy {policy} cannot be held by a hosted model: {why}",
        "use threshold=0, budget=0.22, never, always or random=0.22; others need the model in "
        "process (give its folder)",
        USAGE,
        "A server tells only the likeliest tokens of each step, not the whole distribution.",
    ),
    "E93": Entry(
        "the server at {url} gave no answer: {why}",
        "check that it runs and holds the model; the same command may be run again",
        SOURCE,
        "A text that lost its model cannot go on; a source that fails only leaves the model to "
        "its own words.",
    ),
    # E94-E99: databases
    "E94": Entry(
        "cannot use the database {place}: {why}",
        "check the address, postgresql://USER@HOST:PORT/NAME, and that the server may be reached; "
        "the password comes from PGPASSWORD or ~/.pgpass",
        SOURCE,
        "Messages never show a password, so neither do they show an address that is malformed.",
    ),
    "E95": Entry(
        "{count} problem(s) in the mapping {path}:{problems}",
        "correct them; a first mapping is written by: lacy source map DATABASE --out mapping.yaml",
        USAGE,
        "A mapping says where subjects and their facts stand in a database; it is held against "
        "the tables and columns that are there before anything is asked.",
    ),
    "E96": Entry(
        "the mapping {path} does not work in {place}: {why}",
        "look at this entry: its tables are there, but the database cannot join or compare them so",
        SOURCE,
    ),
    "E97": Entry("no mapping can be written for {place}: {why}", "{do}", SOURCE),
    # E100-E105: texts as a source
    "E100": Entry(
        "the index in {path} has the {what} {has!r}, not {wanted!r}",
        "leave --{what} out, or build into a new folder",
        USAGE,
        "What an index was made with is written in it; texts are added in the same way.",
    ),
    "E101": Entry(
        "there are no vectors of {name!r}: {why}",
        "give the folder or Hub name of a model2vec model",
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
        "the price {price!r} cannot be used: {why}",
        "give the price of a million tokens read and spoken: --price 0.15,0.60, or of one source "
        "of several: --price NAME=0.15,0.60",
        USAGE,
        "Prices stand in receipts. Models behind servers and of the llm package can have one; "
        "looking up costs nothing.",
    ),
    "E107": Entry(
        "the llm package has no model {model!r}; it has: {found}",
        "choose one of: llm models; or install the plugin that brings it: llm install PLUGIN",
        SOURCE,
        "Models come from plugins, which must be installed where lacy is; keys are kept by llm "
        "itself: llm keys set NAME.",
    ),
    # E111-E114: terminal
    "E111": Entry(
        "there is nothing to explain in {text!r}",
        'give a text of some words: lacy why MODEL --teacher "Ada Lovelace was born in London."',
        USAGE,
        "The first token of a text has nothing before it that it could be explained by, unless the "
        "tokenizer has a token that begins texts.",
    ),
    "E112": Entry(
        "the model's chat template cannot be used: {why}",
        "rephrase the message, or start a new conversation: /new",
        USAGE,
        "The template rejects the conversation or drops one of its messages. Control tokens in a "
        "message are encoded as ordinary text; a few tokenizers cannot do that.",
    ),
    "E113": Entry(
        "a picture cannot be written to {path}",
        "name it .png or .svg: --plot why.png",
        USAGE,
    ),
    # E145-E149: the server
    "E145": Entry(
        "another process has held the lock on {path} for half a minute",
        "wait until that process has finished, or end it",
        USAGE,
        "Only one process at a time may add keys, so that none is lost.",
    ),
}
