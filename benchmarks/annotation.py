"""Measure annotation: speed against a stock spaCy pipeline, shares per switch, agreement.

    python benchmarks/annotation.py --data DATA               # all parts, ~5 CPU-minutes
    python benchmarks/annotation.py --data DATA --what compare --stock en_core_web_sm

- ``speed``: tokens per CPU second of the bundled pipeline with all rules, of its parts, and of a
  stock pipeline, alternating in one run. If ``--stock`` is not installed, a pipeline with the shape
  of ``en_core_web_sm`` and random weights takes its place: the same layers cost the same time, but
  its parser and recogniser take arbitrary steps, and its marks are meaningless.
- ``shares``: share of tokens that each switch marks on Wikipedia, for an 8k and a 32k tokenizer.
- ``judge``: marked words against those labels of a judge that the pipeline was not trained on.
- ``compare``: marked words and speed against those of an installed pipeline, in one run.

Rows go to ``results/annotation_<part>.csv`` with their conditions.
"""

from __future__ import annotations

import argparse
import csv
import platform
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from lacy.annotate import (
    ParsedDocuments,
    Rules,
    SpacyAnnotator,
    agreement,
    calibrate_rules,
    read_labels,
    rule_shares,
)
from lacy.annotate.config import ONTONOTES
from lacy.corpus import read, train_tokenizer
from lacy.results import score_sums
from lacy.types import Mark

RESULTS = Path(__file__).parent / "results"
JUDGES = ("lmlm_dwiki_830.json", "lmlm_squad_gpt4o_1k.json")
STANDARD = "en_core_web_sm"
TEST_ARTICLES, TIMED_ARTICLES = 200, 50
WORD = re.compile(r"\w+")


def conditions(n: int) -> dict[str, object]:
    """Return the conditions that a row's numbers depend on."""
    return {"n": n, "seed": 0, "python": platform.python_version(), "spacy": spacy.__version__,
            "device": f"CPU, 1 thread, {platform.machine()}"}  # fmt: skip


def save(name: str, rows: list[dict[str, object]]) -> None:
    path = RESULTS / f"annotation_{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path.name}\n")


# --------------------------------------------------------------------------------------- speed


def stock_shaped() -> Language:
    """Build ``en_core_web_sm`` with random weights: 96x4 tok2vec, and another one for NER."""
    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {"@architectures": "spacy.MultiHashEmbed.v2", "width": 96,
                  "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE", "SPACY", "IS_SPACE"],
                  "rows": [5000, 1000, 2500, 2500, 50, 50], "include_static_vectors": False},
        "encode": {"@architectures": "spacy.MaxoutWindowEncoder.v2", "width": 96, "depth": 4,
                   "window_size": 1, "maxout_pieces": 3},
    }  # fmt: skip
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "hidden_width": 64,
              "maxout_pieces": 2, "extra_state_tokens": False, "use_upper": True}  # fmt: skip
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
    nlp.add_pipe("tagger", config={"model": tagger})
    nlp.add_pipe("parser", config={"model": {**parser, "state_type": "parser",
                                             "tok2vec": listener}})  # fmt: skip
    rules = nlp.add_pipe("attribute_ruler")
    nlp.add_pipe("ner", config={"model": {**parser, "state_type": "ner", "tok2vec": tok2vec}})
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: [_example(nlp)])
    rules.add(
        [[{"TAG": f"T{i}"}] for i in range(50)], {"POS": "NOUN"}
    )  # last, since initialize empties it
    return nlp


def _example(nlp: Language) -> Example:
    """Return a document with 50 tags, 45 arc labels and 18 entity types, to size the layers."""
    count = 90
    words = [f"w{i}" for i in range(count)]
    ents = [f"B-{ONTONOTES[i // 2 % 18]}" if i % 2 else "O" for i in range(count)]
    doc = Doc(nlp.vocab, words, tags=[f"T{i % 50}" for i in range(count)],
              heads=[max(0, i - 1) for i in range(count)],
              deps=["ROOT", *(f"d{i % 44}" for i in range(1, count))], ents=ents)  # fmt: skip
    return Example(nlp.make_doc(doc.text), doc)


def speed(
    texts: list[str], stock: str, repeats: int, skip: Sequence[str] = ()
) -> Iterator[dict[str, object]]:
    """Time every side once per round, in random order, so that other load affects all alike.

    Sides whose name contains a word of ``skip`` are left out.
    """
    installed = spacy.util.is_package(stock)
    other = spacy.load(stock) if installed else stock_shaped()
    label = stock if installed else f"{STANDARD} shape, random weights"
    ours = SpacyAnnotator("bundled")
    tags = SpacyAnnotator("bundled", Rules(entities=False))
    bare_rules = SpacyAnnotator("bundled", Rules(learned=False))
    small, large = (SpacyAnnotator("bundled", batch_size=size) for size in (8, 256))
    bare = spacy.blank("en")
    sides: dict[str, Callable[[], object]] = {
        f"{label}: nlp.pipe, all components": lambda: list(other.pipe(texts)),
        "bundled: nlp.pipe, all components": lambda: list(ours.nlp.pipe(texts)),
        "bundled: marks, default": lambda: ours.annotate(texts),
        "bundled: marks, default, batch 8": lambda: small.annotate(texts),
        "bundled: marks, default, batch 256": lambda: large.annotate(texts),
        "bundled: marks, without entities": lambda: tags.annotate(texts),
        "bundled: marks, without learned": lambda: bare_rules.annotate(texts),
        "spaCy's tokenizer alone": lambda: list(bare.pipe(texts)),
    }
    if installed:
        theirs = SpacyAnnotator(stock)
        sides[f"{stock}: marks, default"] = lambda: theirs.annotate(texts)
    sides = {name: side for name, side in sides.items() if not any(w in name for w in skip)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens = sum(len(doc) for doc in bare.pipe(texts))
    order = list(sides)
    chance = random.Random(0)
    for _ in range(repeats + 1):  # the first round warms up
        chance.shuffle(order)
        for name in order:
            begin = time.process_time()
            sides[name]()
            seconds[name].append(time.process_time() - begin)
    first = statistics.median(next(iter(seconds.values()))[1:])
    for name, values in seconds.items():
        values = values[1:]
        middle = statistics.median(values)
        print(f"{tokens / middle:10,.0f} tokens/s  {first / middle:6.2f} x  {name}")
        yield {"side": name, "tokens_per_cpu_second": round(tokens / middle),
               "times_stock": round(first / middle, 2),
               "lowest": round(tokens / max(values)), "highest": round(tokens / min(values)),
               "rounds": repeats, **conditions(tokens)}  # fmt: skip


# ------------------------------------------------------------------------- shares and agreement


def shares(data: Path, pipeline: str) -> Iterator[dict[str, object]]:
    """Yield the shares per switch on the validation articles; the tokenizers use the others."""
    rules = SpacyAnnotator(pipeline).rules
    annotator = SpacyAnnotator(pipeline, replace(rules, entities=True))
    documents = list(read(data / "wiki/valid.jsonl.gz"))
    for size, articles in ((8192, 4000), (32000, 8000)):
        texts = (d.text for d in read(data / "wiki/train.jsonl.gz", limit=articles))
        parsed = ParsedDocuments(documents, annotator, train_tokenizer(texts, size))
        rows = [*rule_shares(parsed, rules), calibrate_rules(parsed, rules)]
        for row in rows:
            values = {"fact_share": row.share, "start_share": row.starts / row.tokens,
                      "content_share": row.content / row.tokens}  # fmt: skip
            print(f"{size:6} {row.name:22}", *(f"{k} {v:.3f}" for k, v in values.items()))
            yield {"pipeline": annotator.name, "vocabulary": size, "rules": row.name,
                   **{key: round(value, 4) for key, value in values.items()},
                   "documents": len(documents), **conditions(row.tokens)}  # fmt: skip


def judge(data: Path, pipeline: str) -> Iterator[dict[str, object]]:
    """Compare the marks of several rule sets with the labels of the judge's odd documents."""
    rules = replace(SpacyAnnotator(pipeline).rules, content=False)
    annotator = SpacyAnnotator(pipeline, replace(rules, entities=True))
    learned = rules.only("learned")
    bare = replace(rules, learned=False)
    sets = {
        "default": rules,
        "default, without learned": bare,
        "default, without entities": replace(rules, entities=False),
        "proper nouns, numbers, dates": rules.only(
            "proper_nouns", "numbers", "dates"
        ),
        **{f"learned only, threshold {t}": replace(learned, learned_threshold=t)
           for t in (0.1, 0.2, 0.3, 0.5)},
        **{f"without learned, {s} toggled": replace(bare, **{s: not getattr(rules, s)})
           for s in ("unmark_seen", "unmark_subject", "unmark_inside", "keywords", "entities")},
    }  # fmt: skip
    for name in JUDGES:
        documents = [d for d in read_labels(data / "judge" / name)
                     if int(d.id.split(":")[-1]) % 2 == 1]  # fmt: skip
        parsed = ParsedDocuments(
            documents, annotator, train_tokenizer([d.text for d in documents], 2000)
        )
        words = sum(len(d.text.split()) for d in documents)
        for label, chosen in sets.items():
            for reason, found in agreement(documents, parsed.marks(chosen)).items():
                if reason != "all" and label != "default, without learned":
                    continue
                ratios = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
                print(f"{name[:10]} {label:40} {reason:8}",
                      *(f"{k} {v:.3f}" for k, v in ratios.items()))  # fmt: skip
                yield {"pipeline": annotator.name, "judge": name, "rules": label, "reason": reason,
                       **{key: round(value, 4) for key, value in ratios.items()},
                       "marked_words": found.marked, "judged_words": found.judged,
                       "documents": len(documents), **conditions(words)}  # fmt: skip


def compare(data: Path, stock: str, repeats: int) -> Iterator[dict[str, object]]:
    """Compare marks and speed of the bundled pipeline with those of an installed one, in one run.

    Words are counted, as in ``agreement``. Precision by kind is the share of our words of that kind
    which the other pipeline marks at all; recall the share of its words of that kind which we mark.
    Intervals resample articles.
    """
    texts = [d.text for d in read(data / "wiki/valid.jsonl.gz", limit=TEST_ARTICLES)]
    skip = ("bundled: nlp", "batch", "without entities", f"{stock}: marks")
    times = list(speed(texts[:TIMED_ARTICLES], stock, repeats, skip))
    timed = times[0]["n"]
    words = sum(len(WORD.findall(text)) for text in texts)
    rules = Rules(content=False)
    theirs = SpacyAnnotator(stock, rules)
    reference = [_word_kinds(text, marks)
                 for text, marks in zip(texts, theirs.annotate(texts), strict=True)]  # fmt: skip
    sets = {
        "default": rules,
        "without learned": replace(rules, learned=False),
        "without entities": replace(rules, entities=False),
    }
    for label, chosen in sets.items():
        side = f"bundled: marks, {label}"
        fast = next((row for row in times if row["side"] == side), {})
        marks = SpacyAnnotator("bundled", chosen).annotate(texts)
        ours = [_word_kinds(text, found) for text, found in zip(texts, marks, strict=True)]
        for kind, scores in _agreement_by_kind(reference, ours).items():
            if kind != "all" and label != "default":
                continue
            print(f"{label:18} {kind:20}", *(f"{k} {v}" for k, v in scores.items()))
            whole = kind == "all"
            yield {"reference": theirs.name, "rules": label, "kind": kind, **scores,
                   "tokens_per_cpu_second": fast.get("tokens_per_cpu_second") if whole else None,
                   "times_stock": fast.get("times_stock") if whole else None,
                   "timed_tokens": timed, "rounds": repeats,
                   "articles": len(texts), **conditions(words)}  # fmt: skip


def _word_kinds(text: str, marks: Sequence[Mark]) -> dict[int, Mark]:
    """Map the start of each marked word to its mark."""
    found = {}
    for mark in marks:
        for word in WORD.finditer(text, mark.start, mark.end):
            start = word.start()
            while start and WORD.match(text, start - 1):  # marks may begin inside a word
                start -= 1
            found[start] = mark
    return found


def _agreement_by_kind(
    theirs: Sequence[dict[int, Mark]], ours: Sequence[dict[int, Mark]]
) -> dict[str, dict[str, object]]:
    """Return precision, recall and F1 of all words, and by reason and entity type."""
    counts = np.array([[len(a.keys() & b.keys()), len(b), len(a)]
                       for a, b in zip(theirs, ours, strict=True)])  # fmt: skip
    f1 = score_sums(counts, lambda sums: 2 * sums[:, 0] / (sums[:, 1] + sums[:, 2]))
    both, marked, judged = counts.sum(axis=0).tolist()
    rows: dict[str, dict[str, object]] = {
        "all": {"precision": round(both / marked, 4), "recall": round(both / judged, 4),
                "f1": round(f1.value, 4), "f1_low": round(f1.low, 4),
                "f1_high": round(f1.high, 4), "words": judged, "same_kind": None},
    }  # fmt: skip
    pairs = [(a, b, start) for a, b in zip(theirs, ours, strict=True) for start in a.keys() | b]
    for field in ("reason", "label"):
        kinds = {getattr(mark, field) for words in theirs for mark in words.values()} - {None}
        for kind in sorted(kinds):
            hers = [(b.get(s)) for a, b, s in pairs if s in a and getattr(a[s], field) == kind]
            mine = [s in a for a, b, s in pairs if s in b and getattr(b[s], field) == kind]
            hit = [mark for mark in hers if mark is not None]
            same = sum(getattr(mark, field) == kind for mark in hit)
            precision, recall = sum(mine) / max(1, len(mine)), len(hit) / max(1, len(hers))
            rows[f"{field} {kind}"] = {
                "precision": round(precision, 4), "recall": round(recall, 4),
                "f1": round(2 * precision * recall / max(1e-9, precision + recall), 4),
                "f1_low": None, "f1_high": None, "words": len(hers),
                "same_kind": round(same / max(1, len(hit)), 4),
            }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with wiki/ and judge/")
    parser.add_argument("--what", choices=["all", "speed", "shares", "judge", "compare"],
                        default="all")  # fmt: skip
    parser.add_argument("--pipeline", default="bundled", help="pipeline for shares and judge")
    parser.add_argument("--stock", default=STANDARD, help="pipeline to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.what in ("all", "speed"):
        texts = [d.text for d in read(args.data / "wiki/valid.jsonl.gz", limit=TEST_ARTICLES)]
        save("speed", list(speed(texts, args.stock, args.repeats)))
    if args.what in ("all", "shares"):
        save("shares", list(shares(args.data, args.pipeline)))
    if args.what in ("all", "judge"):
        save("judge", list(judge(args.data, args.pipeline)))
    if args.what == "compare" or (args.what == "all" and spacy.util.is_package(args.stock)):
        save("compare", list(compare(args.data, args.stock, args.repeats)))


if __name__ == "__main__":
    main()
