"""Query routing on published outcomes: RouteLLM's MMLU and GSM8K, LLMRouter's nine models.

    OMP_NUM_THREADS=1 python benchmarks/query_routing.py mmlu --data DATA --work WORK \
        --encoder FOLDER --heads length shape encoder knn mlp tfidf combined
    ... gsm8k ...; ... matrix ...; ... transfer ...; ... report ...

DATA is the folder with the public files. Every head of ``lacy route`` is fitted by ``bench_heads``:
on MMLU without the subjects that are measured (five groups of subjects), on LLMRouter's matrix
without the measured task, and, beside that, within subjects or tasks. GSM8K has one source, so
``transfer`` also measures it by heads that were fitted on all of MMLU. Strengths of penalties and
weights of parts are chosen on folds of the training subjects, and nothing on the measured ones.
Intervals come from a bootstrap over questions; for MMLU also over subjects, which are fewer. For
LLMRouter's matrix, the cost of an answer is the model's number of parameters. A step can be stopped
and run again. Writes ``results/query_routing.json``: figures, never texts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from routing_data import BILLIONS, STRONG, WEAK, route_gsm8k, route_matrix, route_mmlu

from lacy.disk import write_atomic
from lacy.results import as_data
from lacy.route import (
    BASELINES,
    InputMemory,
    PairCurve,
    RouterSettings,
    apgr_difference,
    bench_heads,
    fit_router,
    read_scores,
)
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
READERS = {"mmlu": route_mmlu, "gsm8k": route_gsm8k, "matrix": route_matrix}
PUBLISHED = {
    "prompt length": 0.586, "TF-IDF ridge, other subjects": 0.550,
    "best of RouteLLM with MMLU labels": 0.603,
}  # fmt: skip
"""APGR on MMLU from RouteLLM's paper (the last) and from an earlier measurement of these files."""


def measured(args: argparse.Namespace) -> None:
    """Fit and measure the heads on one data set."""
    memory = InputMemory(args.work / f"inputs-{args.step}.safetensors")
    settings = RouterSettings(encoder=str(args.encoder), keep_vectors=False)
    cases = READERS[args.step](args.data)
    costs = BILLIONS if args.step == "matrix" else None
    done = bench_heads(
        cases, args.heads, args.work / args.step, settings=settings, costs=costs, memory=memory,
        same_sources=not args.other_only,
        notify=lambda sentence: print(sentence, flush=True),
    )  # fmt: skip
    for row in done.rows:
        print(row.split, row.head, row.main, row.over_length or "")


def transferred(args: argparse.Namespace) -> None:
    """Score GSM8K by heads that were fitted on MMLU."""
    train, test = route_mmlu(args.data), route_gsm8k(args.data)
    memory = InputMemory(args.work / "inputs-mmlu.safetensors")
    file = args.work / "transfer.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for head in args.heads:
        if head not in found:
            settings = RouterSettings(encoder=str(args.encoder), keep_vectors=False, head=head)
            router = fit_router(train, settings, memory=memory)
            strong, weak = (router.routes.index(name) for name in (STRONG, WEAK))
            scores = router.scores([case.text for case in test])
            found[head] = (scores[:, strong] - scores[:, weak]).tolist()
            write_atomic(file, json.dumps(found))


def curves(scores: dict[Any, np.ndarray], cases: list[Any], split: str, by: bool) -> dict[str, Any]:
    """Return the curve of each head; ``by`` resamples whole sources."""
    routes = sorted(cases[0].scores)
    strong, weak = routes.index(STRONG), routes.index(WEAK)
    true = np.array([[case.scores[name] for name in routes] for case in cases])
    units = [case.source for case in cases] if by else None
    return {
        head: PairCurve(one[:, strong] - one[:, weak], true[:, weak], true[:, strong], units)
        for (head, of), one in scores.items() if of == split and head != "constant"
    }  # fmt: skip


def report(args: argparse.Namespace) -> None:
    found: dict[str, Any] = {"published": PUBLISHED, "billions": BILLIONS}
    for name, reader in READERS.items():
        folder = args.work / name
        if not (folder / "bench.json").exists():
            continue
        found[name] = {**json.loads((folder / "bench.json").read_text()), "sources": {}}
        cases = reader(args.data)
        found[name]["n"] = len(cases)
        for row in found[name]["rows"]:
            row.pop("curve")
        found[name]["settings"]["encoder"] = "all-MiniLM-L6-v2"  # not the path on this machine
    if "mmlu" in found:
        add_mmlu(args, found)
    moved = args.work / "transfer.json"
    if moved.exists():
        gsm = route_gsm8k(args.data)
        weak, strong = ([case.scores[name] for case in gsm] for name in (WEAK, STRONG))
        found.setdefault("gsm8k", {})["fitted_on_mmlu"] = {
            head: as_data(PairCurve(one, weak, strong).figures())
            for head, one in json.loads(moved.read_text()).items()
        }
    found["environment"] = environment()
    write_atomic(RESULTS / "query_routing.json", json.dumps(found, indent=1) + "\n")


def add_mmlu(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add intervals over subjects, differences of heads, and figures without one subject."""
    cases = route_mmlu(args.data)
    by_subject = curves(read_scores(args.work / "mmlu"), cases, "other sources", True)
    by_question = curves(read_scores(args.work / "mmlu"), cases, "other sources", False)
    heads = [head for head in by_subject if head not in BASELINES]
    found["mmlu"]["over_subjects"] = {
        head: as_data(by_subject[head].figures().apgr) for head in heads
    }
    best = max(heads, key=lambda head: by_question[head].figures(draws=2).apgr.value)
    found["mmlu"]["best"] = best
    found["mmlu"]["best_minus"] = {
        head: as_data(apgr_difference(by_question[best], by_question[head]))
        for head in heads if head != best
    }  # fmt: skip
    found["mmlu"]["best_minus_over_subjects"] = {
        head: as_data(apgr_difference(by_subject[best], by_subject[head]))
        for head in heads if head != best
    }  # fmt: skip
    weak, strong = ([case.scores[name] for case in cases] for name in (WEAK, STRONG))
    sizes = [len(case.text) for case in cases]
    found["mmlu"]["longest_first"] = as_data(PairCurve(sizes, weak, strong).figures())
    # One subject has an unusual form and many questions; how much of the figures is it?
    scores = read_scores(args.work / "mmlu")
    keep = np.array([case.source != "moral_scenarios" for case in cases])
    without = curves({key: one[keep] for key, one in scores.items()},
                     [case for case, kept in zip(cases, keep, strict=True) if kept],
                     "other sources", False)  # fmt: skip
    found["mmlu"]["without_moral_scenarios"] = {
        head: as_data(one.figures(draws=200).apgr) for head, one in without.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    steps = {**dict.fromkeys(READERS, measured), "transfer": transferred, "report": report}
    add("step", choices=steps)
    add("--data", type=Path, required=True)
    add("--work", type=Path, required=True)
    add("--encoder", type=Path, required=True)
    add("--other-only", action="store_true", help="measure on left-out sources only")
    add("--heads", nargs="+", default=["length", "shape", "encoder", "tfidf", "combined"])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    steps[args.step](args)


if __name__ == "__main__":
    main()
