"""Does a 95% interval contain the truth in 95% of the cases, and does a test keep its promises?

python benchmarks/interval_coverage.py

Each line simulates 1,000 measurements whose truth is known, with the functions that all reports
use. ``coverage`` is the share of intervals that contain the truth; ``found`` the share of tests
with p < 0.05. The last lines draw many tests at once, with and without real differences, and count
how many of the differences that are called real after the adjustment are not.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np

from lacy.results import (
    auroc,
    detectable_effect,
    difference,
    false_discovery_rates,
    paired_test,
    ratio,
    wilson,
)
from lacy.run import environment, write_atomic

RESULTS = Path(__file__).parent / "results" / "interval_coverage.json"
TRIALS = 1_000
LEVEL = 0.05


def main() -> None:
    """Simulate everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = [*coverages(args.trials), *tests(args.trials)]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    data = {"trials": args.trials, "rows": rows, "environment": environment()}
    write_atomic(args.out, json.dumps(data, indent=1) + "\n")


def coverages(trials):
    """Yield the coverage of each kind of interval."""
    for n, p in [(20, 0.5), (20, 0.1), (100, 0.5), (100, 0.1), (100, 0.02), (1000, 0.02)]:
        yield covered("Wilson, trials", n, p, trials, partial(share, n=n, p=p))
    for n in (20, 40, 60, 100, 200):
        yield covered("ratio, clusters", n, 0.6, trials, partial(correct, people=n))
    for n in (20, 60, 200):
        yield covered("difference, paired clusters", n, 0.1, trials, partial(gap, people=n))
    for n in (20, 60, 200):
        truth = NormalDist().cdf(0.5**0.5)
        yield covered("AUROC, documents", n, truth, trials, partial(area, documents=n))


def covered(name, n, truth, trials, draw):
    """Return how often an interval contains the truth."""
    rng = np.random.default_rng([7, n])
    scores = [draw(rng) for _ in range(trials)]
    hits = sum(score.low <= truth <= score.high for score in scores)
    width = float(np.mean([score.high - score.low for score in scores]))
    return {
        "what": name, "n": n, "truth": round(truth, 4), "coverage": hits / trials,
        "width": round(width, 4),
    }  # fmt: skip


def share(rng, n, p):
    """Return the score of independent trials."""
    return wilson(rng.binomial(n, p), n)


def correct(rng, people):
    """Return the score of facts that people get right."""
    return clusters(rng, people)[0]


def clusters(rng, people, mean=0.6):
    """Return the score of facts that people get right; facts of one person are alike."""
    facts = rng.integers(1, 9, people)
    skill = rng.beta(5 * mean, 5 * (1 - mean), people)
    right = rng.binomial(facts, skill)
    return ratio(right, facts), right, facts, skill


def gap(rng, people, effect=0.1):
    """Return the difference of two models on the same people; the second one is better."""
    _, right, facts, skill = clusters(rng, people, 0.5)
    other = rng.binomial(facts, skill * (1 - 2 * effect) + 2 * effect)
    return difference((other, facts), (right, facts))


def area(rng, documents):
    """Return the AUROC of a signal one standard deviation apart; some documents are harder."""
    scores, labels = [], []
    for _ in range(documents):
        label = rng.random(30) < 0.3
        scores.append(rng.normal(label * 1.0, 1.0) + rng.normal(0, 0.05))
        labels.append(label)
    return auroc(scores, labels)


def tests(trials):
    """Yield how often tests find a difference: without one, and of the detectable size."""
    for people in (20, 60, 200):
        rng = np.random.default_rng([8, people])
        found = 0
        for _ in range(trials):
            _, right, facts, skill = clusters(rng, people, 0.5)
            found += (
                paired_test((rng.binomial(facts, skill), facts), (right, facts), draws=999) < LEVEL
            )
        yield {"what": "paired test, no difference", "n": people, "found": found / trials}
    rng = np.random.default_rng(9)
    people, ones = 100, np.ones(100)

    def draw(effect):
        base = rng.normal(0, 1, people)
        return (base + effect + rng.normal(0, 0.5, people), ones), (base, ones)

    effect = float(np.mean([detectable_effect(difference(*draw(0.0))) for _ in range(50)]))
    found = sum(paired_test(*draw(effect), draws=999) < LEVEL for _ in range(trials))
    yield {"what": "paired test, detectable effect", "n": people, "found": found / trials}
    called = false = 0
    for _ in range(trials // 10):  # 20 tests each, 5 of them with a real difference
        effects = [2 * effect] * 5 + [0.0] * 15
        rates = false_discovery_rates([paired_test(*draw(e), draws=999) for e in effects])
        real = [rate < LEVEL for rate in rates]
        called += sum(real)
        false += sum(real[5:])
    share = false / called
    yield {"what": "false discoveries after the adjustment", "n": called, "found": round(share, 4)}


if __name__ == "__main__":
    main()
