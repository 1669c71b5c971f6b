"""Deletion audit of a cascade on LMLMAudit's public data (arXiv 2607.00605).

    python benchmarks/deletion_audit.py MODEL --data lmlm_audit.tar.gz --answers answers.jsonl

For each of its 13 databases, a random sample of facts is asked for in six prompt forms, with the
fact in the database (FULL), deleted (DEL-ON), edited (EDITED) and without a source (DEL-OFF). A run
that was stopped goes on from ``--answers``. ``--framed no`` repeats FULL as an earlier version of
lacy read messages: the whole message is the question, with examples, context and instructions
(give it another ``--name``).
``--published`` is LMLMAudit's ``outputs/audit/per_state_metrics.csv`` (theirs: an LMLM of 382M
parameters, at most 12 tokens per answer, exact string containment both ways), quoted as a
neighbour: model, questions' sample and matching differ, so the columns do not compare.
Figures go to ``results/deletion_audit.json``, with 95% intervals over facts.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from pathlib import Path

import torch

from lacy.cascade import open_engine, questions
from lacy.disk import write_atomic
from lacy.evaluate import evaluate_audit, read_audit
from lacy.model import model_fingerprint
from lacy.results import AnswerStore
from lacy.run import environment

RESULTS = Path(__file__).parent / "results" / "deletion_audit.json"


def published(path: Path) -> dict[str, dict[str, list[float]]]:
    """Return LMLMAudit's own share of answers that contain the value, by form and variant."""
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    with path.open() as file:
        for row in csv.DictReader(file):
            form = Path(row["prompt_file"]).stem.removeprefix("prompts_")
            variant = Path(row["database_path"]).stem.removeprefix("lmlm_")
            scored = [float(row["exact_match"]), float(row["contains_match"]), float(row["count"])]
            for group in (form, variant, "all"):
                found[group][row["state"]].append(scored)
    return {
        group: {
            state: [
                sum(row[n] * row[2] for row in rows) / sum(row[2] for row in rows) for n in (0, 1)
            ]
            for state, rows in states.items()
        }
        for group, states in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="LMLMAudit's data")
    parser.add_argument("--facts", type=int, default=5, help="facts per database")
    parser.add_argument("--states", nargs="*", default=["FULL", "DEL-ON", "DEL-OFF", "EDITED"])
    parser.add_argument("--databases", nargs="*", help="names such as “countries base”")
    parser.add_argument("--name", default="audit", help="name of the figures in --out")
    parser.add_argument("--framed", choices=("yes", "no"), default="yes")
    parser.add_argument("--policy", default="threshold=0")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.framed == "no":
        questions.unframed = lambda message: (" ".join(message.split()), "")
        questions.around_blank = lambda text: None
    databases = read_audit(args.data, facts=args.facts, seed=args.seed)
    databases = [d for d in databases if not args.databases or d.name in args.databases]
    loaded = open_engine(args.model, policy="never").loaded
    loaded.model.to(getattr(torch, args.dtype))
    begin = time.process_time()
    with AnswerStore(args.answers) as store:
        found = evaluate_audit(
            loaded, databases, policy=args.policy, states=args.states, seed=args.seed, store=store,
            identity=f"{model_fingerprint(loaded.model)} {args.framed}",
            progress=lambda done, total: done % 48 or print(done, "of", total, flush=True),
        )  # fmt: skip
    seconds = time.process_time() - begin
    scores: dict[str, dict[str, list[float]]] = {}
    for result in found.results():
        group = result.conditions.get("group", "all")
        if result.value == result.value:
            row = [result.value, result.low, result.high, result.n]
            scores.setdefault(group, {})[result.metric] = row
    shown = [
        {
            "database": a.database, "form": a.form, "state": a.state, "outcome": a.outcome,
            "prompt": a.fact.prompts[a.form][-160:], "answer": a.text, "right": list(a.due),
            "row": a.row,
        }
        for a in found.answers
    ]  # fmt: skip
    before = json.loads(args.out.read_text()) if args.out.is_file() else {}
    data = {
        **before,
        args.name: {
            "model": Path(args.model).name, "databases": [d.name for d in databases],
            "dtype": args.dtype, "policy": found.policy,
            "seed": args.seed, "facts": found.facts, "answers": len(found.answers),
            "cpu_seconds": seconds, "skipped": found.skipped, "outcomes": found.outcomes,
            "scores": scores, "leaks": found.leaks, "environment": environment(),
        },
    }  # fmt: skip
    if args.published:
        data["published"] = published(args.published)
    write_atomic(args.out, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in shown)
    write_atomic(args.answers.with_suffix(".shown.jsonl"), lines)
    for group, row in scores.items():
        print(group, {k: [round(x, 3) for x in v] for k, v in row.items()})
    print(found.outcomes, found.skipped, f"{seconds:.0f} CPU s")


if __name__ == "__main__":
    main()
