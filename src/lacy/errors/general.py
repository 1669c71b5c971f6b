"""Errors in settings, input texts, annotation and files, before any model is involved."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    # E10-E19: settings and installation
    "E10": Entry(
        "unknown setting {key!r} in {where}{hint}",
        "list all settings with: lacy help config {command}",
        USAGE,
        "A file or call names a setting that does not exist. Unknown settings are never ignored.",
    ),
    "E11": Entry(
        "{extra_for} needs the package {package!r}, which is not installed",
        "pip install 'lacy[{extra}]'",
        USAGE,
        "Large dependencies are optional; they are needed only by the parts of lacy that use them.",
    ),
    "E12": Entry(
        "invalid value {value!r} for setting {key!r}: {why}",
        "{do}",
        USAGE,
        "A value has the wrong type, is out of range, or conflicts with another setting.",
    ),
    "E13": Entry("file or folder not found: {path}", "{do}", USAGE),
    "E14": Entry(
        "{count} problems in {where}:{problems}",
        "correct the settings above; list all settings with: lacy help config {command}",
        USAGE,
        "All problems in a settings file are reported at once, with line numbers.",
    ),
    "E15": Entry(
        "cannot read settings from {path}: {why}",
        "write one `key: value` per line; for a file with all settings, run: "
        "lacy help config train > train.yaml",
        USAGE,
        "A settings file is YAML in UTF-8: one mapping, with each key at most once.",
    ),
    "E16": Entry(
        "{path} already exists and was not written by lacy, so it was not replaced",
        "choose another output folder, or move this one away",
        USAGE,
        "lacy replaces an output folder as a whole. It replaces only empty folders and folders "
        "that it wrote itself (they contain a file `.lacy`).",
    ),
    "E17": Entry(
        "{folder} contains a run with different settings ({changed})",
        "choose another folder with --out, or use the same settings to continue the run",
        USAGE,
        "Each run folder belongs to one set of settings; otherwise its metrics would be from "
        "different experiments.",
    ),
    "E18": Entry(
        "line {line} of {path} is not valid JSON",
        "delete the line, or start the run in a new folder",
        DATA,
        "An incomplete last line, left by a killed process, is ignored. Damage elsewhere is an "
        "error.",
    ),
    "E19": Entry(
        "cannot read or write {path}: {why}",
        "check the path, its permissions and the free disk space",
        USAGE,
        "The operating system reported an error. No partly written file is left behind.",
    ),
    # E20-E29: texts, tokenizers and packed data
    "E20": Entry(
        "{where} has {tokens} tokens but {marks} marks",
        "annotate the texts again: {do}",
        DATA,
        "Every token has exactly one mark. The usual cause of a mismatch is a tokenizer that "
        "changed after annotation.",
    ),
    "E21": Entry(
        "no usable text in {path}: {why}",
        "{do}",
        DATA,
        "Broken lines and empty documents are skipped and reported; here, nothing was left.",
    ),
    "E22": Entry(
        "no field {field!r} in {path}; it has: {fields}",
        "name the field that contains the text with --{setting} NAME",
        DATA,
    ),
    "E23": Entry(
        "cannot load {name} with the datasets library: {why}",
        "check the name (hf:owner/name:config), the split and the network connection, or use a "
        "local file",
        SOURCE,
    ),
    "E24": Entry("cannot load a tokenizer from {path}: {why}", "{do}", DATA),
    "E25": Entry(
        "the packed data in {path} cannot be used: {why}",
        "pack it again: lacy data mark --out {path}",
        DATA,
        "A file of the folder is missing, truncated or modified. Marks could then be shifted "
        "against tokens, so none of it is used.",
    ),
    "E26": Entry(
        "{path} was made with tokenizer {made}, but the tokenizer in use is {used}",
        "use the tokenizer in that folder, or annotate the texts again with the new one",
        DATA,
        "Token ids are only valid for the tokenizer that produced them. The names are "
        "fingerprints of vocabulary, merges and behaviour.",
    ),
    "E27": Entry(
        "cannot read {path}: {why}",
        "use .txt, .md, .html, .pdf, .jsonl, .json, .csv, .tsv (optionally compressed as .gz, "
        ".bz2, .xz, .zst), .parquet, a folder of these, or hf:owner/name; rename plain text files "
        "to .txt",
        USAGE,
    ),
    "E28": Entry("cannot train a tokenizer: {why}", "{do}", DATA),
    "E29": Entry("cannot pack {where}: {why}", "{do}", DATA),
    "E120": Entry(
        "{path} is a {kind}, not a file or folder",
        "save its output to a file first: cat {path} > texts.txt",
        USAGE,
        "lacy reads its input several times. A pipe can be read only once, and a device may never "
        "end.",
    ),
    # E30-E39: annotation
    "E30": Entry(
        "cannot load the spaCy pipeline {name!r}: {why}",
        "install it with: python -m spacy download {name}, or use the one that comes with lacy: "
        "--pipeline bundled",
        USAGE,
        "Name a pipeline by its package or folder. The bundled pipeline needs no download.",
    ),
    "E31": Entry(
        "annotator {name!r} returned invalid marks: {why}",
        "return one list of marks per text, sorted by start and without overlaps (see "
        "lacy.annotate.merge_marks)",
        DATA,
    ),
    "E32": Entry(
        "no judge labels in {path}: {why}",
        "use the JSON format of LMLM: {{'examples': [{{'annotated_text': \"... "
        "[dblookup('entity', 'relation') -> value] value ...\"}}]}}",
        DATA,
    ),
    "E33": Entry(
        "{folder} contains marks that were made with different settings: {changed}",
        "choose another folder, or use the previous settings to continue",
        USAGE,
        "A folder of marks must be homogeneous; training could not detect a mixture.",
    ),
    "E34": Entry(
        "the texts differ from those that were annotated in {folder}: {why}",
        "use the same source as before, or annotate into another folder",
        DATA,
    ),
    "E35": Entry(
        "no answer from the judge at {url}: {why}",
        "{do}",
        SOURCE,
        "Finished shards are kept. Run the same command again to continue after the last one.",
    ),
    "E36": Entry(
        "a worker process died during annotation: {why}",
        "use fewer processes (--n-process 1) or smaller batches; in a script, start the work "
        "under: if __name__ == '__main__'",
        DATA,
        "The usual causes are too little memory and a script that starts workers when imported.",
    ),
    "E37": Entry(
        "no usable marks in {folder}: {why}", "annotate the texts with: lacy data mark", DATA
    ),
    "E38": Entry(
        "mark [{start}, {end}) is outside the text of document {id!r} ({length} characters)",
        "annotate the text again; marks are character offsets into exactly this text",
        DATA,
    ),
    "E39": Entry(
        "the text of document {id!r} contains a lone surrogate at character {at}",
        "repair the encoding of the source; such text cannot be written as UTF-8",
        DATA,
    ),
    # E150-E159: files that are shared with other processes
    "E150": Entry(
        "another lacy process is using {folder}{who}",
        "wait until it has finished, or choose another folder with --out",
        USAGE,
        "Two processes that write to one folder would mix their results. The operating system "
        "releases the lock however a process ends, so a leftover lock file does no harm.",
    ),
    "E151": Entry(
        "the standard input is not UTF-8 text: line {line} contains a zero byte",
        "convert it first: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        USAGE,
        "Some Windows programs write UTF-16. lacy can read it only with a byte order mark; "
        "without one, it looks like binary data.",
    ),
    "E50": Entry(
        "marking took longer than {seconds:g} s (batch of {texts} texts)",
        "raise the limit (--text-seconds), or remove the text",
        DATA,
        "100,000 characters take about a second with the bundled pipeline. `lacy data mark` and "
        "`lacy source build` skip texts that exceed the limit, and list them.",
    ),
}
