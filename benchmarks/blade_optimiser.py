"""Compare BLADE's soft prompt search with random search on objectives whose optimum is known.

    OMP_NUM_THREADS=1 python benchmarks/blade_optimiser.py --work FILE [--seeds 30]

Ten dimensions, 45 evaluations, and the same objective for every search:

- ``hill``: a smooth hill; three directions matter much, seven little. Optimum 1.
- ``share``: a share of 40 questions, each right if the point is near enough to the optimum in three
  directions of its own: steps and plateaus, as in the real objective. Optimum 1.
- ``noisy share``: the same, but each answer is turned over with probability 0.1, once for all by
  its question and point. The true share of the point that looked best is reported.

Searches: the Gaussian process after five Sobol points with batches of 20 (as published: 5 + 2 x
20), 8, 4 and 1, after 16 points with batches of 4 (the default), and random points. Searches that
are done are kept in FILE, so that the same command goes on. Reported: the true value of the point
that looked best, and paired differences to the first point, to the best of the first five, to
random search and to the published schedule, each with a bootstrap interval over seeds. The 16
were chosen on seeds 1000 to 1019, which are not reported. Writes
``results/blade_optimiser.json``.
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
DIMENSIONS, EVALUATIONS, FIRST, QUESTIONS = 10, 45, 5, 40
PUBLISHED = "5, then 20"
SEARCHES = {
    PUBLISHED: (5, 20), "5, then 8": (5, 8), "5, then 4": (5, 4), "5, then 1": (5, 1),
    "16, then 4": (16, 4), "random": (5, 0),
}  # fmt: skip
"""Number of Sobol points and size of batches; batch 0 is the random search."""
OBJECTIVES = ["hill", "share", "noisy share"]
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


def searched(kind: str, seed: int, start: int, batch: int) -> dict[str, float]:
    """Return the true values of the first point, of the best of the first five, and of the best."""
    seen, true = objective(kind, seed)
    search = make_search("bayes" if batch else "random", DIMENSIONS, start, seed)
    points: list[np.ndarray] = []
    values: list[float] = []
    while len(points) < EVALUATIONS:
        size = start if not points else batch or EVALUATIONS
        asked = search.ask(min(size, EVALUATIONS - len(points)))
        found = [seen(point) for point in asked]
        search.tell(asked, found)
        points += list(asked)
        values += found
    best = int(np.argmax(values))
    five = int(np.argmax(values[:FIRST]))
    return {"first": true(points[0]), "five": true(points[five]), "best": true(points[best])}


def mean(values: list[float]) -> Any:
    """Return a mean over seeds with its interval."""
    pairs = np.stack([values, np.ones(len(values))], 1)
    return as_data(score_sums(pairs, lambda sums: sums[:, 0] / sums[:, 1], unit="value"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    args = parser.parse_args()
    with AnswerStore(args.work) as store:
        rows = compared(store, args.seeds, args.objectives)
    result = {
        "dimensions": DIMENSIONS, "evaluations": EVALUATIONS, "first": FIRST,
        "questions": QUESTIONS, "seeds": args.seeds, "rows": rows, "environment": environment(),
    }  # fmt: skip
    write_atomic(RESULTS / "blade_optimiser.json", json.dumps(result, indent=1) + "\n")


def compared(store: AnswerStore, seeds: int, objectives: list[str]) -> list[dict[str, Any]]:
    """Return a row per objective and search, and print it."""
    rows = []
    for kind in objectives:
        found = {}
        for name, (start, batch) in SEARCHES.items():
            keys = [f"{kind} {start} {batch} {seed}" for seed in range(seeds)]
            for seed, key in enumerate(keys):
                if key not in store:
                    store.put({key: searched(kind, seed, start, batch)})
            found[name] = [store.get(key) for key in keys]
        random, published = ([one["best"] for one in found[name]] for name in ("random", PUBLISHED))
        for name, runs in found.items():
            best = [one["best"] for one in runs]
            others = {"first point": [one["first"] for one in runs],
                      "best of five": [one["five"] for one in runs],
                      "random": random, "published": published}  # fmt: skip
            row = {
                "objective": kind,
                "search": name,
                "best": mean(best),
                "more than": {
                    which: mean([a - b for a, b in zip(best, other, strict=True)])
                    for which, other in others.items()
                },
            }
            rows.append(row)
            print(kind, row["search"], *(f"{name}: {one['value']:.3f} [{one['low']:.3f}, "
                  f"{one['high']:.3f}]" for name, one in [("best", row["best"]),
                  *row["more than"].items()]), sep="  ", flush=True)  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
