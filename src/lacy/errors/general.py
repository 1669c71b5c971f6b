"""Settings, texts and marks: what goes wrong before any model is there."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    # E10-E19: settings and installation
    "E10": Entry(
        "unknown setting {key!r} in {where}{hint}",
        "see the settings: lacy help config {verb}",
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
        "correct them; see the settings: lacy help config {verb}",
        USAGE,
        "All problems of a settings file are reported together, each with its line.",
    ),
    "E15": Entry(
        "{path} cannot be read as settings: {why}",
        "write `key: value` lines; start from: lacy help config train > train.yaml",
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
    # E20-E29: texts, tokenizers and packed data
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
        "make it again: lacy data mark --out {path}",
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
        "give .txt, .md, .html, .pdf, .jsonl, .json, .csv, .tsv (also as .gz, .bz2, .xz, .zst), "
        ".parquet, a folder of these, or hf:owner/name; rename plain text to .txt, and convert "
        "other files",
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
    "E37": Entry("no marks in {folder}: {why}", "make them: lacy data mark", DATA),
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
    # E150-E159: files that several processes or other programs touch
    "E150": Entry(
        "another lacy process is using {folder}{who}",
        "wait until it has ended, or choose another folder with --out",
        USAGE,
        "Two processes that write to one folder would mix their results. The operating system "
        "releases the lock however a process ends, so a leftover lock file does no harm.",
    ),
    "E151": Entry(
        "the standard input is not UTF-8 text: line {line} contains a zero byte",
        "convert it first: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        USAGE,
        "Some Windows programs write UTF-16. With a byte order mark, lacy reads it; without one, "
        "it cannot be distinguished from binary data.",
    ),
    "E50": Entry(
        "marking took longer than {seconds:g} s ({texts} texts were marked together)",
        "allow more time (--text-seconds), or leave the text out",
        DATA,
        "100,000 characters take about a second with the bundled pipeline. `lacy data mark` and "
        "`lacy source build` leave out a text that exceeds the limit, and name it.",
    ),
}
