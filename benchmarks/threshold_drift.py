"""Measure if the threshold of a call budget drifts while texts are generated.

    python benchmarks/threshold_drift.py studies/world-runs --methods lacy paper sigmoid

Runs the trained models of a study (``recipes/methods-world.yaml``) with ``budget=0.22``, with and
without the signals of a calibration, over many texts in sequence, and records the threshold at
every decision. Writes ``results/threshold_drift.csv``: per model and window of generated tokens the
quartiles of the threshold, and the call rate.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from lacy.cascade import Engine
from lacy.cascade.calibration import calibrate
from lacy.cascade.policy import Budget, BudgetController
from lacy.model import load_model
from lacy.run import environment
from lacy.sources import Truth
from lacy.world import load_world

RESULTS = Path(__file__).parent / "results"
WINDOW = 2000
"""Generated tokens per row of the table."""


class Recorder(BudgetController):
    """A budget controller that remembers each limit it applied."""

    def __init__(self, policy: Budget) -> None:
        super().__init__(policy)
        self.limits: list[tuple[int, float, int]] = []

    def _limit(self, used: float, total: float, per_call: float) -> float:
        limit = super()._limit(used, total, per_call)
        self.limits.append((self.total, limit, self.used))
        return limit


def record(loaded, world, source, calibration, rate: float, people: list[str]) -> list[dict]:
    """Return the rows of the table for one model under a budget."""
    engine = Engine(loaded, source, Budget(rate), max_new_tokens=192, calibration=calibration)
    recorder = Recorder(engine.policy)
    engine.remember, engine._controller = True, recorder
    engine.generate(people, people)
    seen = np.array(recorder.limits)
    rows = []
    for begin in range(0, int(seen[-1, 0]), WINDOW):
        part = seen[(seen[:, 0] >= begin) & (seen[:, 0] < begin + WINDOW)]
        limits = part[np.isfinite(part[:, 1]), 1]
        if len(limits) < 50:
            continue
        low, middle, high = np.quantile(limits, [0.25, 0.5, 0.75])
        used, total = part[-1, 2] - part[0, 2], part[-1, 0] - part[0, 0]
        rows.append({
            "tokens_from": begin, "threshold_q25": round(low, 3),
            "threshold_median": round(middle, 3), "threshold_q75": round(high, 3),
            "rate": round(used / max(1, total), 4), "decisions": len(part),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder with texts and training runs of the study")
    parser.add_argument("--methods", nargs="*", default=["lacy", "paper", "sigmoid"])
    parser.add_argument("--size", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.22)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (shared,) = (args.runs / "shared").glob(f"s{args.seed}.*")
    world = load_world(shared / "world")
    people = [person.name for person in world.people("valid")[: args.people]]
    rows = []
    for method in args.methods:
        found = sorted((args.runs / "runs").glob(f"{args.size}.{method}.steps.s{args.seed}.*"))
        loaded = load_model(found[-1])
        texts = itertools.islice(world.documents("train"), 100)
        source = Truth(world, tokenizer=loaded.tokenizer)
        for name, calibration in (("calibrated", calibrate(loaded, texts)), ("empty", None)):
            made = record(loaded, world, source, calibration, args.rate, people)
            rows += [{"method": method, "start": name, **row} for row in made]
            for row in made:
                print(method, name, row, flush=True)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "threshold_drift.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    setup = {
        "command": f"python benchmarks/threshold_drift.py RUNS --methods {' '.join(args.methods)}",
        "people": len(people), "rate": args.rate, "seed": args.seed, "window": WINDOW,
        "environment": environment(),
    }  # fmt: skip
    (RESULTS / "threshold_drift.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
