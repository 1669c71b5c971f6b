"""Measure the effect of a stricter abstention limit on whole texts, with gaps in the source or not.

    lacy demo --out demo
    OMP_NUM_THREADS=1 python benchmarks/abstain.py demo       # about a minute

The model of a demo writes about people of its world. The database knows all facts, or a random 70%
of them (by seed). The script compares the default limit with ``Engine(abstain="reference")``, which
uses the score that nearly all right values of a kind reach. It covers people of the training texts
in new texts (``valid``) and strangers (``unseen``). Figures with 95% bootstrap intervals over
people go to ``results/abstain.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import torch

import lacy
from lacy.cascade.calibration import calibrate
from lacy.cascade.rank import DEFAULT_ABSTAIN
from lacy.evaluate import evaluate_world
from lacy.run import environment
from lacy.sources import Database
from lacy.world import load_world

RESULTS = Path(__file__).parent / "results" / "abstain.json"
MISSING = 0.3
SCORES = ("facts_right", "recall", "borrowed", "borrowed_right")


def with_gaps(truth: Path, path: Path, seed: int) -> Path:
    """Copy the database without a share of its facts."""
    shutil.copy(truth, path)
    rng = random.Random(seed)
    with closing(sqlite3.connect(path)) as db, db:
        rows = db.execute("SELECT rowid FROM fact ORDER BY rowid").fetchall()
        deleted = [row for row in rows if rng.random() < MISSING]
        db.executemany("DELETE FROM fact WHERE rowid = ?", deleted)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder of `lacy demo`")
    parser.add_argument("--people", type=int, default=100, help="people per split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    world, loaded = load_world(args.demo / "world"), lacy.load_model(args.demo / "lacy")
    calibration = calibrate(loaded, list(itertools.islice(world.documents("train"), 100)))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        complete = args.demo / "world" / "truth.sqlite"
        gaps = with_gaps(complete, Path(folder) / "gaps.sqlite", args.seed)
        for (name, path), split, limit in itertools.product(
            [("all facts", complete), ("70% of the facts", gaps)],
            ["valid", "unseen"],
            [DEFAULT_ABSTAIN, "reference"],
        ):
            with Database(path) as source:
                result = evaluate_world(
                    loaded, world, source, ["threshold=0"], people=args.people, split=split,
                    read=False, probe=False, calibration=calibration, abstain=limit,
                )  # fmt: skip
            facts = result.conditions["threshold=0"].facts
            row = {
                "database": name,
                "split": split,
                "abstain": limit if limit == "reference" else "",
            }
            for key in SCORES:
                score = facts[key]
                row[key] = [round(v, 4) for v in (score.value, score.low, score.high)]
            rows.append(row)
            print(row, flush=True)
    conditions = {
        "command": "python benchmarks/abstain.py demo", "people": args.people, "seed": args.seed,
        "rows": rows, "environment": environment(),
    }  # fmt: skip
    args.out.write_text(json.dumps(conditions, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
