"""How long simulations of many devices take, and what they answer.

    python benchmarks/edge_scale.py speed
    python benchmarks/edge_scale.py answers --runs 3

Parts and rows that are stored already are not made again.

speed: CPU seconds and peak memory of fresh processes, with 1,000 devices per round and with all of
them. answers: phones and devices of homes, models of two sizes, all algorithms. Each part writes
its own part of benchmarks/results/edge_scale.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lacy.edge import ALGORITHMS, can_devices_train, read_assumptions, simulate_devices
from lacy.results import as_data
from lacy.run import environment, write_atomic

SPEEDS = tuple((size, sampled) for sampled in (1000, 0) for size in (10**4, 10**5, 10**6, 10**7))
MODELS = {"135m": 2.7e9, "360m": 7.2e9}
"""Tokens of each model: 20 per parameter."""


def speed(args: argparse.Namespace, store: Store) -> None:
    """Measure every size in a process of its own."""
    for size, sampled in SPEEDS:
        if size * (sampled == 0) > args.most or store.has(devices=size, sampled=sampled):
            continue
        command = [sys.executable, __file__, "one", str(size), str(sampled)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        store.add(json.loads(done.stdout.splitlines()[-1]))


def one(args: argparse.Namespace) -> None:
    """Print time and memory of one simulation."""
    size, sampled = map(int, args.numbers)
    assumed = read_assumptions("phones", {"population": size, "algorithm.sampled": sampled})
    cpu, wall = time.process_time(), time.perf_counter()
    run = simulate_devices(assumed)
    print(json.dumps({
        "devices": size, "sampled": sampled, "rounds": run.rounds,
        "simulated_rounds": run.rounds * run.simulated, "days": run.days,
        "device_rounds": run.sums["chosen"] * run.simulated,
        "cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }))  # fmt: skip


def answers(args: argparse.Namespace, store: Store) -> None:
    """Simulate all algorithms for two models and two kinds of devices."""
    for devices, model, name in itertools.product(args.devices, args.models, args.algorithms):
        if store.has(devices=devices, model=model, algorithm=name):
            continue
        algorithm = {"name": name} | ({"steps": 50} if name != "synchronous" else {})
        assumed = read_assumptions(
            devices, {"model": model, "tokens": MODELS[model], "algorithm": algorithm,
                      "horizon_days": 7300, "rounds": 1000},
        )  # fmt: skip
        answer = can_devices_train(assumed, runs=args.runs, vary=False)
        store.add({
            "devices": devices, "population": assumed.population, "model": model,
            "algorithm": name, "steps": answer.algorithm.steps, "bits": answer.algorithm.bits,
            "finished": len(answer.finished), "runs": args.runs,
            "simulated": min(run.simulated for run in answer.runs),
            **{key: as_data(score) for key, score in answer.figures().items()},
        })  # fmt: skip


class Store:
    """The rows of one part in the file of results, which is written after each row."""

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part = path, part
        self.data = json.loads(path.read_text()) if path.exists() else {}
        self.rows = self.data.setdefault(part, [])

    def has(self, **values: Any) -> bool:
        """True if there is a row with these values."""
        return any(all(row[key] == value for key, value in values.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, print it and write the file."""
        self.rows.append(row)
        self.data["environment"] = environment()
        print({key: row[key] for key in list(row)[:8]}, flush=True)
        write_atomic(self.path, json.dumps(self.data, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("speed", "answers", "one"))
    parser.add_argument("numbers", nargs="*")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=["home", "phones"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--most", type=int, default=10**9, help="devices that all take part")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "edge_scale.json"))
    args = parser.parse_args()
    if args.part == "one":
        one(args)
    else:
        parts = {"speed": speed, "answers": answers}
        parts[args.part](args, Store(Path(args.out), args.part))


if __name__ == "__main__":
    main()
