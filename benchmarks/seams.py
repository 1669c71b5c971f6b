"""Measure the cost of re-encoding: a source with another tokenizer, called token by token.

    python benchmarks/seams.py studies/world-runs

In the paper, a small model that leaves 80% of the tokens to a larger one recovers only half of the
larger model's advantage (§5). Possible reasons are the switching itself, tokens that are encoded
again at each switch, and calls of one token. ``recipes/units-world.yaml`` uses a source with the
same tokenizer. This script trains one with another tokenizer (a smaller vocabulary) on the same
texts, and calls it for 22, 50, 80 and 100% of the tokens. Writes ``results/seams.csv``; its stored
rows with ``healing`` come from an earlier version, which could encode the last token again together
with the answer.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from pathlib import Path

import torch

from lacy.annotate import encode_many
from lacy.cascade.calibration import calibrate
from lacy.corpus import PackedData, train_tokenizer
from lacy.evaluate.facts import COUNTS, person_counts
from lacy.evaluate.world import answer_all
from lacy.model import load_model
from lacy.results import recovered_share
from lacy.run import environment
from lacy.sources import LanguageModel
from lacy.train import TrainConfig, train
from lacy.world import load_world

RESULTS = Path(__file__).parent / "results"
RATES = (0.22, 0.5, 0.8)


def other_model(folder: Path, world, texts: int, vocabulary: int, steps: int):
    """Train a larger model on the same texts with its own tokenizer."""

    def documents():
        return world.documents("train", per_person=texts)

    sample = (d.text for d in itertools.islice(documents(), 3000))
    tokenizer = train_tokenizer(sample, vocabulary, split_digits=False)
    if not (folder / "data").exists():
        PackedData.write(encode_many(documents(), tokenizer), tokenizer, 320, folder / "data")
    train(TrainConfig(
        data=folder / "data", out=folder / "run", model="1m", method="none", steps=steps,
        batch_rows=6, optimizer="muon", lr=6e-3, decay=0.3, decay_shape="linear", dtype="fp32",
        device="cpu", threads=1, quiet=True,
    ))  # fmt: skip
    return load_model(folder / "run")


def right_and_claims(asked):
    """Return the right claims and all claims of each person."""
    table = person_counts(asked.answers, asked.subjects, asked.graded)[1]
    return tuple(table[:, list(COUNTS).index(name)] for name in ("right", "claims"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", type=Path, help="folder with texts and runs of the studies of the world"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--vocabulary", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=1100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (shared,) = (args.runs / "shared").glob(f"s{args.seed}.*")
    world = load_world(shared / "world")
    other = other_model(args.runs / f"seams.s{args.seed}", world, 30, args.vocabulary, args.steps)
    (same,) = (args.runs / "runs").glob(f"demo.larger.steps.s{args.seed}.*")
    sources = {"same tokenizer": load_model(same), "other tokenizer": other}
    people = [person.name for person in world.people("valid")[: args.people]]
    (plain,) = (args.runs / "runs").glob(f"demo.plain.steps.s{args.seed}.*")
    alone = answer_all(load_model(plain), world, None, "never", people)
    rows = []
    for method in ("lacy", "paper"):
        (folder,) = (args.runs / "runs").glob(f"demo.{method}.steps.s{args.seed}.*")
        small = load_model(folder)
        calibration = calibrate(small, itertools.islice(world.documents("train"), 100))
        for name, model in sources.items():
            source = LanguageModel(model.model, model.tokenizer, name="source")
            source_alone = answer_all(model, world, None, "never", people)
            for policy in [*(f"budget={rate:g}" for rate in RATES), "always"]:
                answers = answer_all(
                    small, world, source, policy, people,
                    unit="token", calibration=calibration,
                )  # fmt: skip
                share = recovered_share(*map(right_and_claims, (answers, alone, source_alone)))
                rows.append({
                    "method": method, "source": name, "policy": policy,
                    "facts_right": round(answers.facts["facts_right"].value, 4),
                    "recall": round(answers.facts["recall"].value, 4),
                    "source_alone": round(source_alone.facts["facts_right"].value, 4),
                    "recovered": round(share.value, 3), "low": round(share.low, 3),
                    "high": round(share.high, 3), "n": share.n,
                    "call_rate": round(answers.facts["call_rate"].value, 4),
                })  # fmt: skip
                print(rows[-1], flush=True)
    with (RESULTS / "seams.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    setup = {
        "command": "python benchmarks/seams.py RUNS", "people": len(people), "seed": args.seed,
        "steps": args.steps, "plain_alone": round(alone.facts["facts_right"].value, 4),
        "tokens": {name: len(p.tokenizer) for name, p in sources.items()},
        "environment": environment(),
    }  # fmt: skip
    (RESULTS / "seams.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
