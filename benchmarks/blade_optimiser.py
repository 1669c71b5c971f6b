"""Does the search of BLADE's soft prompt beat its start and chance? Objectives with known optimum.

    OMP_NUM_THREADS=1 python benchmarks/blade_optimiser.py --work FILE [--seeds 30]

Ten dimensions, 45 evaluations, five Sobol points first (as published), and the same objective for
every search:

- ``hill``: a smooth hill; three directions matter much, seven little. Optimum 1.
- ``share``: a share of 40 questions, each right if the point is near enough to the optimum in three
  directions of its own: steps and plateaus, as in the real objective. Optimum 1.
- ``noisy share``: the same, but each answer is turned over with probability 0.1, once for all by
  its question and point. The true share of the point that looked best is reported.
- ``needle``: 1 within a distance of 0.3 of the optimum and 0 elsewhere, where no search can learn.

Searches: the Gaussian process with batches of 20 (as published: 5 + 2 x 20), 8, 4 and 1, and
random points. Searches that are done are kept in FILE, so that the same command goes on.
Reported: the best value found, and paired differences to the first Sobol point, to the best of
the first five, to random search and to batches of 20, each with a bootstrap interval over seeds.
Writes ``results/blade_optimiser.json``.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lacy.blade import make_search
from lacy.disk import write_atomic
from lacy.results import AnswerStore, as_data, score_sums
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
DIMENSIONS, EVALUATIONS, START, QUESTIONS = 10, 45, 5, 40
BATCHES = (20, 8, 4, 1)
Value = Callable[[np.ndarray], float]


def objective(kind: str, seed: int) -> tuple[Value, Value]:
    """Return what the search sees, and the true value."""
    chance = np.random.default_rng((seed, 17))
    top = chance.uniform(-0.7, 0.7, DIMENSIONS)
    if kind == "hill":
        turned, _ = np.linalg.qr(chance.normal(size=(DIMENSIONS, DIMENSIONS)))
        weights = np.array([1.0] * 3 + [0.25] * (DIMENSIONS - 3))

        def hill(z: np.ndarray) -> float:
            return float(np.exp(-0.5 * np.sum((weights * (turned @ (z - top))) ** 2)))

        return hill, hill
    if kind == "needle":

        def needle(z: np.ndarray) -> float:
            return float(np.linalg.norm(z - top) < 0.3)

        return needle, needle
    directions = chance.normal(size=(QUESTIONS, 3, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    limits = chance.uniform(0.15, 1.2, QUESTIONS)

    def right(z: np.ndarray) -> np.ndarray:
        return np.linalg.norm(directions @ (z - top), axis=1) < limits

    def share(z: np.ndarray) -> float:
        return float(right(z).mean())

    def noisy(z: np.ndarray) -> float:
        drawn = np.random.default_rng((seed, zlib.crc32(z.tobytes())))
        return float((right(z) ^ (drawn.random(QUESTIONS) < 0.1)).mean())

    return (noisy if kind == "noisy share" else share), share


def searched(kind: str, seed: int, batch: int) -> dict[str, float]:
    """Return the true values of the first point, the best of the start, and the best point.

    Batch 0 is the random search.
    """
    seen, true = objective(kind, seed)
    search = make_search("bayes" if batch else "random", DIMENSIONS, START, seed)
    points: list[np.ndarray] = []
    values: list[float] = []
    while len(points) < EVALUATIONS:
        size = START if not points else batch or EVALUATIONS
        asked = search.ask(min(size, EVALUATIONS - len(points)))
        found = [seen(point) for point in asked]
        search.tell(asked, found)
        points += list(asked)
        values += found
    best = int(np.argmax(values))
    five = int(np.argmax(values[:START]))
    return {"first": true(points[0]), "start": true(points[five]), "best": true(points[best])}


def mean(values: list[float]) -> Any:
    """Return a mean over seeds with its interval."""
    pairs = np.stack([values, np.ones(len(values))], 1)
    return as_data(score_sums(pairs, lambda sums: sums[:, 0] / sums[:, 1], unit="value"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    with AnswerStore(args.work) as store:
        rows = compared(store, args.seeds)
    result = {
        "dimensions": DIMENSIONS, "evaluations": EVALUATIONS, "start": START,
        "questions": QUESTIONS, "seeds": args.seeds, "rows": rows, "environment": environment(),
    }  # fmt: skip
    write_atomic(RESULTS / "blade_optimiser.json", json.dumps(result, indent=1) + "\n")


def compared(store: AnswerStore, seeds: int) -> list[dict[str, Any]]:
    """Return a row per objective and search, and print it."""
    rows = []
    for kind in ("hill", "share", "noisy share", "needle"):
        found = {}
        for batch in (*BATCHES, 0):
            keys = [f"{kind} {batch} {seed}" for seed in range(seeds)]
            for seed, key in enumerate(keys):
                if key not in store:
                    store.put({key: searched(kind, seed, batch)})
            found[batch] = [store.get(key) for key in keys]
        random, published = ([one["best"] for one in found[batch]] for batch in (0, 20))
        for batch, runs in found.items():
            best = [one["best"] for one in runs]
            others = {"first point": [one["first"] for one in runs],
                      "best of the start": [one["start"] for one in runs],
                      "random": random, "batches of 20": published}  # fmt: skip
            row = {
                "objective": kind,
                "batch": batch or "random",
                "best": mean(best),
                "more than": {
                    name: mean([a - b for a, b in zip(best, other, strict=True)])
                    for name, other in others.items()
                },
            }
            rows.append(row)
            print(kind, row["batch"], *(f"{name}: {one['value']:.3f} [{one['low']:.3f}, "
                  f"{one['high']:.3f}]" for name, one in [("best", row["best"]),
                  *row["more than"].items()]), sep="  ", flush=True)  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
