"""Every user-facing error: a code, what happened with which values, and what to type next.

Raise ``LacyError("E20", tokens=10, marks=9)``; the command line prints ``str(error)`` without a
traceback and leaves with ``error.exit_code``. Codes are stable; a test holds that every code is
used and that its template's values are given where it is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error: templates for what happened and what to do, exit status, and more.

    ``more`` is what ``lacy explain`` adds: why this is an error, in a sentence or two.
    """

    what: str
    do: str
    exit_code: int = 2
    more: str = ""


USAGE, DATA, SOURCE = 2, 3, 4
"""Exit codes: a mistake in the command, in the data or a checkpoint, or a source that fails."""

CATALOG: dict[str, Entry] = {
    # E10-E19: settings and installation
    "E10": Entry(
        "unknown setting {key!r} in {where}{hint}",
        "see the settings: lacy config {verb}",
        USAGE,
        "A file or call names a setting that does not exist; nothing is ignored silently.",
    ),
    "E11": Entry(
        "{extra_for} needs the package {package!r}, which is not installed",
        "pip install 'lacy[{extra}]'",
        USAGE,
        "Heavy packages are extras; only the part of lacy that you use asks for them.",
    ),
    "E12": Entry(
        "setting {key!r} is {value!r}: {why}",
        "{do}",
        USAGE,
        "A value has the wrong type, is out of range, or does not fit another setting.",
    ),
    "E13": Entry("file or folder not found: {path}", "{do}", USAGE),
    "E14": Entry(
        "{count} problems in {where}:{problems}",
        "correct them; see the settings: lacy config {verb}",
        USAGE,
        "All problems of a settings file are reported together, each with its line.",
    ),
    "E15": Entry(
        "{path} cannot be read as settings: {why}",
        "write `key: value` lines; start from: lacy config train > train.yaml",
        USAGE,
        "Settings files are YAML: one mapping, each key once, UTF-8.",
    ),
    "E16": Entry(
        "{path} exists and was not written by lacy; it is left as it is",
        "choose another folder, or move it away",
        USAGE,
        "Output folders are replaced as a whole, so only a folder that lacy wrote (it holds a "
        "file `.lacy`) or an empty one is replaced.",
    ),
    "E17": Entry(
        "{folder} holds a run with other settings ({changed})",
        "choose another folder with --out, or give the same settings to go on",
        USAGE,
        "One run folder belongs to one set of settings; mixing two would make its numbers lie.",
    ),
    "E18": Entry(
        "{path}, line {line} is not JSON",
        "remove the line, or start the run in a new folder",
        DATA,
        "A half last line (the process was killed) is tolerated; damage elsewhere is not.",
    ),
    "E19": Entry(
        "{path}: {why}",
        "check the path, its permissions and the free space",
        USAGE,
        "The system refused to read or write; nothing half-written stays behind.",
    ),
    # E20-E29: corpus
    "E20": Entry(
        "marks do not fit tokens: {tokens} tokens, {marks} marks in {where}",
        "annotate again: {do}",
        DATA,
        "Marks and tokens are stored side by side and must have equal length; a tokenizer that "
        "changed after annotation is the usual cause.",
    ),
    "E21": Entry(
        "nothing usable in {path}: {why}",
        "{do}",
        DATA,
        "Broken lines and empty documents are counted, reported and skipped; when nothing is "
        "left there is nothing to work on.",
    ),
    "E22": Entry(
        "no field {field!r} in {path}; it has: {fields}",
        "name the field that holds it with --{setting} NAME",
        DATA,
    ),
    "E23": Entry(
        "cannot read {name} with the datasets library: {why}",
        "check the name (hf:owner/name:config), the split and the network, or give a local file",
        SOURCE,
    ),
    "E24": Entry("cannot load a tokenizer from {path}: {why}", "{do}", DATA),
    "E25": Entry(
        "packed data in {path} cannot be used: {why}",
        "make it again: lacy annotate --out {path}",
        DATA,
        "A packed folder is written as a whole; a file that is missing, cut or changed later "
        "would shift marks against tokens, so none of it is used.",
    ),
    "E26": Entry(
        "the tokenizer of {path} is {made}, the one in use is {used}",
        "use the tokenizer in that folder, or annotate again with the new one",
        DATA,
        "Ids mean something only with the tokenizer that made them; names are fingerprints of "
        "its vocabulary, merges and behaviour.",
    ),
    "E27": Entry(
        "{path} is not a kind of file that lacy reads",
        "give .txt, .md, .html, .pdf, .jsonl, .jsonl.gz, .parquet, a folder of these, or "
        "hf:owner/name",
        USAGE,
    ),
    "E28": Entry("cannot train a tokenizer: {why}", "{do}", DATA),
    "E29": Entry("cannot pack {where}: {why}", "{do}", DATA),
    # E30-E39: annotate
    "E30": Entry(
        "no spaCy pipeline {name!r}: {why}",
        "python -m spacy download {name}, or use the one that comes with lacy: --pipeline bundled",
        USAGE,
        "A pipeline is named by its package or by its folder. The bundled one needs no download.",
    ),
    "E31": Entry(
        "annotator {name!r} broke the protocol: {why}",
        "return one list per text, sorted by start, without overlap (see "
        "lacy.annotate.protocol.settle)",
        DATA,
    ),
    "E32": Entry(
        "no judge labels in {path}: {why}",
        "give LMLM's JSON: {{'examples': [{{'annotated_text': \"... [dblookup('entity', "
        "'relation') -> value] value ...\"}}]}}",
        DATA,
    ),
    "E33": Entry(
        "the marks in {folder} were made with other settings: {changed}",
        "choose another folder, or take the old settings to go on there",
        USAGE,
        "A folder of marks holds one kind of marks; mixing two would pass unnoticed in training.",
    ),
    "E34": Entry(
        "the texts are not those of the marks in {folder}: {why}",
        "give the same source, or annotate again into another folder",
        DATA,
    ),
    "E35": Entry(
        "the judge at {url} gave no answer: {why}",
        "{do}",
        SOURCE,
        "Finished shards are kept; the same command goes on after the last one.",
    ),
    "E36": Entry(
        "a worker process died while annotating: {why}",
        "use fewer processes (--n-process 1) or smaller batches; a script must start its work "
        "under: if __name__ == '__main__'",
        DATA,
        "The usual causes are too little memory, and a script that starts workers at import.",
    ),
    "E37": Entry("no marks in {folder}: {why}", "make them: lacy annotate", DATA),
    "E38": Entry(
        "mark [{start}, {end}) does not fit the text of document {id!r} ({length} characters)",
        "annotate the text again; marks count characters of exactly this text",
        DATA,
    ),
    "E39": Entry(
        "the text of document {id!r} holds half a surrogate pair at character {at}",
        "repair the encoding of the source; such text cannot be written as UTF-8",
        DATA,
    ),
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
    # E45-E54: train
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
        "the {what} is {value} by step {step}; {kept}",
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
        "take another checkpoint of that run, or train again",
        DATA,
    ),
    "E57": Entry(
        "the model in {path} has no <CALL> as its last token",
        "train one from it: lacy train --init-from {path}",
        DATA,
    ),
    "E58": Entry(
        "models of kind {architecture} cannot be trained here: {why}",
        "start from a model whose logits are its hidden states times one matrix and whose "
        "attention reads position_ids (Llama, GPT-2, Qwen, Mistral, SmolLM)",
        USAGE,
    ),
    "E59": Entry("the model in {path} does not fit: {why}", "{do}", DATA),
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
    # E65-E74: sources
    "E65": Entry(
        "no database at {path}", "check the path; a world's is written by: lacy world", SOURCE
    ),
    "E66": Entry(
        "cannot read the database {path}: {why}",
        "give a SQLite or DuckDB file that this user may read",
        SOURCE,
    ),
    "E67": Entry(
        "the database {path} has no table {table!r}; it has: {found}",
        "name the table of facts",
        SOURCE,
    ),
    "E68": Entry(
        "the table {table!r} of {path} has no column {column!r}; it has: {found}",
        "name the columns that hold subject, relation and value",
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
    # E75-E79: evaluate
    # E80-E83: world
    # E8x: the made-up world
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
    # E106-E110: models as sources, and their prices
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
        "choose one of: llm models; or install the plugin that brings it: llm install llm-...",
        SOURCE,
        "Models come from plugins, which must be installed where lacy is; keys are kept by llm "
        "itself: llm keys set NAME.",
    ),
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
        "leave the control tokens out of the text, or begin anew",
        USAGE,
        "Messages are put into the template as they are; what looks like one of the model's control "
        "tokens would let a message speak for somebody else.",
    ),
    "E113": Entry(
        "a picture cannot be written to {path}",
        "name it .png or .svg: --plot why.png",
        USAGE,
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
}


class LacyError(Exception):
    """A mistake or failure that a user can act on.

    Args:
        code: a key of ``CATALOG``.
        values: what the entry's templates name.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        entry = CATALOG[code]
        self.code = code
        self.values = values
        self.what = entry.what.format(**values)
        self.do = entry.do.format(**values)
        self.exit_code = entry.exit_code
        super().__init__(f"[{code}] {self.what}\n  Do: {self.do}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets the error travel from a worker process."""
        return _remake, (self.code, self.values)


def _remake(code: str, values: dict[str, Any]) -> LacyError:
    return LacyError(code, **values)
