"""Hold all judges of facts against people on the same facts, and measure their speed and size.

    python benchmarks/verifier.py --labels ChatGPT.jsonl InstructGPT.jsonl PerplexityAI.jsonl \
        --passages passages.jsonl.gz --scores WORK/out_of_fold.json --model smollm2

``--scores`` is written by ``scripts/train_verifier.py``: for each fact, what each trained judge
says of it after training on other people only. Word overlap is computed here. A local model judges
``--sample`` random facts by its logits of True and False (its agreement is that on the sample).

AUROC, Pearson by topic, gap and accuracy have 95% intervals over people; so has the difference of
each judge's AUROC and that of word overlap on the same people. Speeds are of the verifier that
comes with lacy, in facts per second of process time on one thread, over ``--speed`` responses:
without encoded windows, and again with them.

Writes ``results/verifier.json``; ``scripts/verifier_page.py`` puts its tables into
``docs/results/verifier.md``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lacy.disk import write_atomic
from lacy.judges import (
    VERIFIER,
    Judgment,
    agreement_of,
    labelled_claims,
    load_verifier,
    open_judge,
    read_labelled_responses,
    read_topic_passages,
)
from lacy.results import as_data
from lacy.run import environment

OUT = Path(__file__).parent / "results" / "verifier.json"
TRAINED = ("verifier", "verifier-alone", "network", "lexical", "lexical-alone")
RESAMPLES = 300
WORST = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", nargs="+", type=Path, required=True)
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--model", help="a local causal model to compare with")
    parser.add_argument("--sample", type=int, default=60, help="facts for the local model")
    parser.add_argument("--speed", type=int, default=30, help="responses for the speed")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)

    labelled = labelled_claims(
        read_labelled_responses(args.labels), read_topic_passages(args.passages)
    )
    labelled = [one for one in labelled if one.claims[0].passages]
    stored = json.loads(args.scores.read_text(encoding="utf-8"))
    judges = {"overlap": open_judge("overlap").judge}
    for name in TRAINED:
        if name in stored["facts"][0]:
            judges[name] = from_scores(stored, name)
    measured = {}
    for name, judge in judges.items():
        judged = [(one, judge(one.claims)) for one in labelled]
        measured[name] = [
            {
                **as_data(agreement_of(model, [p for p in judged if p[0].model == model])),
                "better_than_overlap": gain(model, judged, labelled, judges["overlap"]),
            }
            for model in sorted({one.model for one in labelled})
        ]
        for one in measured[name]:
            auroc, more = one["auroc"], one["better_than_overlap"]
            print(f"{name:15} {one['model']:13} AUROC {auroc['value']:.3f} "
                  f"({more[0]:+.3f} [{more[1]:+.3f}, {more[2]:+.3f}])", flush=True)  # fmt: skip
    data = {
        "judges": measured,
        "speed": speeds(labelled, args.speed),
        "worst": worst(stored),
        "environment": environment(),
    }
    if args.model:
        data["sample"] = local_model(args.model, labelled, args.sample, judges)
    write_atomic(args.out, json.dumps(data, indent=1) + "\n")
    print(f"written: {args.out}")


def from_scores(stored, name: str):
    """Return a judge that says what a trained judge said without knowing the person's labels."""
    scores = {(f["model"], f["topic"], f["text"]): f[name] for f in stored["facts"]}
    if name == "network":  # logits of a network that is not calibrated
        scores = {key: 1 / (1 + np.exp(-value)) for key, value in scores.items()}
        threshold = 0.5
    else:
        way = "alone" if name.endswith("-alone") else "with_response"
        threshold = stored["judges"][name.removesuffix("-alone")][way]["threshold"]

    def judge(claims):
        found = [scores[claim.response, claim.topic, claim.text] for claim in claims]
        return [Judgment(score >= threshold, float(score)) for score in found]

    return judge


def gain(model: str, judged, labelled, overlap) -> list[float]:
    """Return a judge's AUROC minus word overlap's on the same people, with its interval."""
    topics = defaultdict(lambda: ([], [], []))
    for one, judgments in judged:
        if one.model != model:
            continue
        for label, new, old in zip(one.supported, judgments, overlap(one.claims), strict=True):
            for values, value in zip(topics[one.topic], (label, new.score, old.score), strict=True):
                values.append(value)
    names = sorted(topics)
    labels, new, old = (np.concatenate([topics[t][k] for t in names]) for k in range(3))
    person = np.repeat(np.arange(len(names)), [len(topics[t][0]) for t in names])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        w = weights[person]
        if len(set(labels[w > 0])) == 2:
            drawn.append(
                roc_auc_score(labels, new, sample_weight=w)
                - roc_auc_score(labels, old, sample_weight=w)
            )
    value = roc_auc_score(labels, new) - roc_auc_score(labels, old)
    return [float(x) for x in (value, *np.quantile(drawn, [0.025, 0.975]))]


def speeds(labelled, responses: int) -> dict[str, dict[str, float]]:
    """Measure the shipped judges on some responses, cold and warm, and their files."""
    chosen = random.Random(0).sample(labelled, min(responses, len(labelled)))
    facts = sum(len(one.claims) for one in chosen)
    found = {}
    for name in ("overlap", "lexical", "verifier"):
        judge = open_judge(name) if name != "verifier" else load_verifier(cache_mb=4_000)
        seconds = []
        for _ in range(2):
            start = time.process_time()
            for one in chosen:
                judge.judge(one.claims)
            seconds.append(time.process_time() - start)
        found[name] = {
            "facts": facts,
            "responses": len(chosen),
            "cold_facts_per_second": facts / seconds[0],
            "warm_facts_per_second": facts / seconds[1],
        }
        print(name, {key: round(value, 1) for key, value in found[name].items()}, flush=True)
    found["bytes"] = {file.name: file.stat().st_size for file in sorted(VERIFIER.iterdir())}
    return found


def local_model(name: str, labelled, sample: int, judges) -> dict:
    """Have a local model judge random facts; the other judges on the same facts."""
    facts = [
        pair for one in labelled for pair in zip(one.claims, one.supported, strict=True)
    ]  # fmt: skip
    chosen = random.Random(1).sample(facts, sample)
    claims, labels = [c for c, _ in chosen], [label for _, label in chosen]
    judge = open_judge(name)
    start = time.process_time()
    judged = judge.judge(claims)
    seconds = time.process_time() - start
    found = {"facts": sample, "seconds_per_fact": seconds / sample, "auroc": {}}
    kept = [n for n, judgment in enumerate(judged) if judgment.score is not None]
    found["not_judgeable"] = sample - len(kept)
    for other, scores in {
        judge.name: [judgment.score for judgment in judged],
        **{key: [j.score for j in say(claims)] for key, say in judges.items()},
    }.items():
        value = roc_auc_score([labels[n] for n in kept], [scores[n] for n in kept])
        found["auroc"][other] = float(value)
    print(found, flush=True)
    return found


def worst(stored) -> list[dict]:
    """Return the facts on which the verifier was surest and people disagreed."""
    name = "verifier" if "verifier" in stored["facts"][0] else "lexical"
    facts = sorted(stored["facts"], key=lambda f: -abs(f["supported"] - f[name]))
    keys = ("model", "topic", "text", "supported", name)
    return [{key: fact[key] for key in keys} for fact in facts[:WORST]]


if __name__ == "__main__":
    main()
