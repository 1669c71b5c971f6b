"""Compare facts made from clauses with the model-made and the human facts of FActScore's data.

    python benchmarks/factscore_facts.py --labels ChatGPT.jsonl.gz InstructGPT.jsonl.gz \
        PerplexityAI.jsonl.gz --passages passages.jsonl.gz          # about three minutes

For each model that wrote the texts: sentences that the rules split as the original did; facts per
sentence and words per fact; coverage, which is the mean over the facts of one side of the best
token F1 with a fact of the same sentence of the other side, both ways, with intervals over people;
and the score before the length penalty that each judge gives to the human, the model-made and the
clause facts of the same texts (people whose page is at hand), beside people's own. Writes
``results/factscore_facts.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from pathlib import Path

from lacy.factscore import (
    ClauseSplitter,
    open_pages,
    read_responses,
    score_labels,
    score_responses,
    split_sentences,
)
from lacy.judges import open_judge, read_labelled_responses
from lacy.results import as_data, ratio
from lacy.run import environment

OUT = Path(__file__).parent / "results" / "factscore_facts.json"


def words(text):
    return Counter(re.findall(r"\w+", text.lower()))


def best_f1(fact, others):
    def f1(a, b):
        common = (a & b).total()
        return 2 * common / (a.total() + b.total()) if common else 0.0

    return max((f1(words(fact), words(other)) for other in others), default=0.0)


def coverage(wanted, found):
    """Mean best F1 over the facts of each person; the mean over all facts with its interval."""
    sums = [
        (sum(best_f1(f, other) for one, other in zip(w, g, strict=True) for f in one),
         sum(map(len, w)))
        for w, g in zip(wanted, found, strict=True)
    ]  # fmt: skip
    return ratio(*zip(*[pair for pair in sums if pair[1]], strict=True))


def compare_facts(path, splitter):
    rows = read_labelled_responses([path])
    humans, models, clauses, whole = [], [], [], []
    same = sentences = 0
    started = time.process_time()
    for row in rows:
        if not row.sentences:
            continue
        texts = [re.sub(r"\s*\[\d+\]", "", text) for text in row.sentences]
        plain = [re.sub(r"\W+", "", text).lower() for text in texts]
        own = {re.sub(r"\W+", "", text).lower() for text in split_sentences(row.text)}
        same, sentences = same + sum(text in own for text in plain), sentences + len(texts)
        kept = [k for k, facts in enumerate(row.model_facts) if facts]
        models.append([list(row.model_facts[k]) for k in kept])
        humans.append([[f.text for f in row.facts if f.sentence == k] for k in kept])
        clauses.append(splitter.facts_of([texts[k] for k in kept]))
        whole.append([[texts[k]] for k in kept])
    seconds = time.process_time() - started

    def mean(sides, size):
        return ratio([sum(size(f) for f in one) for one in sides], [len(one) for one in sides],
                     unit="per sentence")  # fmt: skip

    def length(sides):
        flat = [[fact for facts in one for fact in facts] for one in sides]
        return ratio([sum(len(f.split()) for f in one) for one in flat], list(map(len, flat)),
                     unit="words")  # fmt: skip

    sides = {"people": humans, "model": models, "clauses": clauses}
    return {
        "people": len(models),
        "sentences": sentences,
        "split as the original": same / sentences,
        "facts per sentence": {n: as_data(mean(side, len)) for n, side in sides.items()},
        "words per fact": {n: as_data(length(side)) for n, side in sides.items()},
        "coverage": {
            "model facts by clauses": as_data(coverage(models, clauses)),
            "clauses by model facts": as_data(coverage(clauses, models)),
            "people's facts by clauses": as_data(coverage(humans, clauses)),
            "clauses by people's facts": as_data(coverage(clauses, humans)),
            "people's facts by model facts": as_data(coverage(humans, models)),
            "model facts by people's facts": as_data(coverage(models, humans)),
            "model facts by the sentence": as_data(coverage(models, whole)),
        },
        "sentences per CPU second": sentences / seconds,
    }


def compare_scores(path, pages, splitter, judges, most):
    people = [r for r in read_responses(path) if pages.passages_of(r.topic)][:most]
    models = [r for r in read_responses(path, labels="model") if pages.passages_of(r.topic)][:most]
    found = {"people's labels": as_data(score_labels(people).scores()["factscore_init"])}
    for name in judges:
        judge = open_judge(name)
        sides = {"people": (people, None), "model": (models, None), "clauses": (people, splitter)}
        for side, (responses, maker) in sides.items():
            scores = score_responses(responses, pages, judge, maker).scores()
            [key] = [one for one in scores if one.endswith("_init")]
            found[f"{name}, facts by {side}"] = as_data(scores[key])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--judges", nargs="+", default=["lexical", "lexical-alone", "overlap"])
    parser.add_argument("--people", type=int, help="score texts about this many people only")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    splitter, pages = ClauseSplitter(), open_pages(args.passages)
    data = {"clauses": splitter.name, "environment": environment(), "texts of": {}}
    for path in args.labels:
        found = compare_facts(path, splitter)
        found["score before the penalty"] = compare_scores(
            path, pages, splitter, args.judges, args.people
        )
        data["texts of"][path.name.partition(".jsonl")[0].rpartition("_")[2]] = found
        print(json.dumps(found, indent=1), flush=True)
        args.out.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
