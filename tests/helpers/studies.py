"""A made-up study in the form that ``lacy study`` writes: plausible numbers, no models."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas as pd

METHODS = {
    # name: (objective, facts right at 22%, closed-book recall, AUROC, language loss, stored bits)
    "plain": ("none", 0.45, 0.42, 0.64, 1.89, 12.1),
    "lacy": ("lacy", 0.95, 0.18, 0.999, 1.87, 7.4),
    "loss only": ("loss_top", 0.71, 0.24, 0.91, 1.91, 9.0),
    "random|tokens": ("random", 0.52, 0.36, 0.57, 1.95, 10.8),
}
BUDGETS = (0.1, 0.22, 0.35)
WHO = ("run", "size", "method", "equal", "seed")
COLUMNS = (*WHO, "condition", "metric", "value", "low", "high", "n", "unit")
UNITS = {
    "auroc_margin_start": "AUROC",
    "auroc_entropy_start": "AUROC",
    "language_loss": "nats per token",
    "stored_bits": "bits",
    "calls_per_fact": "calls per fact",
}


def write_csv(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def figures_of(method, condition, budget, seed, scale):
    """Figures of a condition as (metric, value): more calls help, with less and less gain."""
    right = METHODS[method][1] * scale
    wobble = 0.01 * (seed - 1)
    if budget is None:
        return {"facts_right": 0.3 * right + wobble, "call_rate": 0.0}
    gain = math.tanh(9 * budget) / math.tanh(9 * 0.22)
    if "entropy" in condition:
        gain *= 0.8
    right = min(0.99, right * gain + wobble)
    return {
        "facts_right": right, "recall": 0.9 * right, "f1": 0.95 * right,
        "call_rate": budget + 0.002 * seed, "calls_per_fact": 1 + budget,
        "call_starts": 0.6 * right,
    }  # fmt: skip


def model_figures(method, seed, scale):
    _, _, closed_book, auroc, loss, bits = METHODS[method]
    return {
        "closed_book_recall": closed_book + 0.01 * (seed - 1), "auroc_margin_start": auroc,
        "auroc_entropy_start": 0.6, "language_loss": loss / scale, "stored_bits": bits * scale,
    }  # fmt: skip


def write_study(
    folder: Path,
    *,
    seeds=(0, 1, 2),
    sizes=("small",),
    equals=("steps",),
    curves=True,
    methods=METHODS,
) -> Path:
    """Writes a study; the plain method is trained under ``steps`` only."""
    folder.mkdir(parents=True, exist_ok=True)
    runs, results, points, people = [], [], [], []
    for seed in seeds:
        for number, size in enumerate(sizes):
            for method in methods:
                for equal in equals if method != "plain" else equals[:1]:
                    name = f"{size}.{method}.{equal}.s{seed}"
                    who = (name, size, method, equal, seed)
                    scale = 1 + 0.03 * number
                    runs.append((*who, 600_000 * 4**number, 450, 1_843_200, 1_437_000, 30.5,
                                  METHODS[method][0], 0.22))  # fmt: skip
                    results += rows_of(who, scale)
                    points += curve_rows(who) if curves else []
                    people += [(name, "budget=0.22", seed, f"Person {i}", 5, 6, 7, 9, 20, 90)
                               for i in range(3)]  # fmt: skip
    results += list(pooled(results))
    write_csv(folder / "runs.csv", [*WHO, "parameters", "steps", "tokens", "text_tokens",
              "seconds", "objective", "call_rate"], runs)  # fmt: skip
    write_csv(folder / "results.csv", COLUMNS, results)
    pd.DataFrame(results, columns=COLUMNS).to_parquet(folder / "results.parquet")
    write_csv(folder / "curves.csv", [*WHO, "curve", "x", "y", "n"], points)
    columns = "run condition seed person right claims facts calls called tokens".split()
    pd.DataFrame(people, columns=columns).to_parquet(folder / "people.parquet")
    compared = [
        (size, equal, metric, "lacy/budget=0.22", other, 0.24, 0.2149, 0.265, p, 300, len(seeds))
        for size in sizes for equal in equals
        for metric, other, p in (("facts_right", "loss only/budget=0.22", 0.00005),
                                 ("f1", "random|tokens/budget=0.22", 0.0123),
                                 ("calls_per_fact", "plain/budget=0.22", 0.4567))
    ]  # fmt: skip
    write_csv(folder / "comparisons.csv", ["size", "equal", "metric", "a", "b", "difference", "low",
              "high", "p", "n", "seeds"], compared)  # fmt: skip
    setup = {"lacy": "0.1.0", "device": "cpu", "seeds": list(seeds), "world": {"people": 200}}
    (folder / "setup.json").write_text(json.dumps(setup))
    return folder


def rows_of(who, scale):
    method, seed = who[2], who[4]
    conditions = {"alone": None, **{f"budget={budget}": budget for budget in BUDGETS}}
    if method == "plain":
        conditions |= {f"budget={budget},by=entropy": budget for budget in BUDGETS}
    rows = []
    for condition, budget in conditions.items():
        for metric, value in figures_of(method, condition, budget, seed, scale).items():
            rows.append((*who, condition, metric, value, value - 0.03, value + 0.03, 100,
                         UNITS.get(metric, "share")))  # fmt: skip
    for metric, value in model_figures(method, seed, scale).items():
        rows.append((*who, "", metric, value, math.nan, math.nan, 100, UNITS.get(metric, "share")))
    return rows


def pooled(rows):
    """Seed -1: the mean over seeds and a narrower interval."""
    groups = {}
    for row in rows:
        groups.setdefault((row[1], row[2], row[3], row[5], row[6], row[11]), []).append(row)
    for (size, method, equal, condition, metric, unit), same in groups.items():
        value = sum(row[7] for row in same) / len(same)
        who = (f"{size}.{method}.{equal}", size, method, equal, -1)
        reach = 0.02 if condition else 0.01
        yield (*who, condition, metric, value, value - reach, value + reach, 100 * len(same), unit)


def curve_rows(who):
    method, seed = who[2], who[4]
    rows = []
    if method != "plain":
        for i in range(15):
            p = (i + 0.5) / 15
            seen = min(1.0, p ** (0.8 + 0.3 * list(METHODS).index(method)) + 0.01 * seed)
            rows.append((*who, "calibration", p, seen, int(4000 / (1 + i))))
        rows += [(*who, "turnover", step, 0.6 * 0.99 ** (step / 4) + 0.02 * seed, 1)
                 for step in range(0, 450, 5)]  # fmt: skip
    else:
        rows.append((*who, "calibration", 0.003, 0.2, 4000))  # of a row that was never trained
    return [*rows, *((*who, "loss", step, 6 - 0.01 * step, 1) for step in (100, 200, 300))]


def write_sweep(folder: Path, *, seeds=(0, 1, 2), equals=("steps",)) -> Path:
    """A study of settings: text_weight by call_negative, a method for each pair; and call rates."""
    folder.mkdir(parents=True, exist_ok=True)
    runs, results = [], []
    for seed in seeds:
        for negative in ("none", "softmax", "sigmoid"):
            for weight in (0.0, 0.3, 0.6, 1.0):
                for equal in equals:
                    method = f"{negative}-{weight}"
                    who = (f"s.{method}.{equal}.s{seed}", "s", method, equal, seed)
                    runs.append((*who, 600_000, negative, weight, 0.22))
                    shift = ("none", "softmax", "sigmoid").index(negative)
                    right = 0.3 + 0.6 * weight + 0.03 * shift + 0.015 * (seed - 1)
                    closed_book = 0.02 + 0.3 * weight**2 + 0.01 * seed
                    for condition, metric, value in (
                        ("budget=0.22", "facts_right", right), ("budget=0.22", "call_rate", 0.22),
                        ("", "closed_book_recall", closed_book),
                    ):  # fmt: skip
                        results.append((*who, condition, metric, value, value - 0.03, value + 0.03,
                                        100, "share"))  # fmt: skip
    results += list(pooled(results))
    write_csv(folder / "runs.csv", [*WHO, "parameters", "call_negative", "text_weight",
              "call_rate"], runs)  # fmt: skip
    write_csv(folder / "results.csv", COLUMNS,
              results)  # fmt: skip
    return folder


def write_rates(folder: Path, *, sizes=("0.6M", "2.4M"), equals=("steps",)) -> Path:
    """A study of freed bits: a plain model and three trained call rates, in several sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    runs, results = [], []
    for seed in (0, 1):
        for number, size in enumerate(sizes):
            for rate in (0.0, 0.1, 0.22, 0.35):
                method = "plain" if rate == 0 else f"rate-{rate}"
                for equal in equals if rate else equals[:1]:
                    who = (f"{size}.{method}.{equal}.s{seed}", size, method, equal, seed)
                    objective = "lacy" if rate else "none"
                    runs.append((*who, 600_000 * 4**number, objective, rate or 0.22))
                    for metric, value, unit in (
                        (
                            "stored_bits",
                            (4 + 4 * number) * math.exp(-4 * rate) + 0.2 * seed,
                            "bits",
                        ),
                        (
                            "closed_book_recall",
                            (0.3 + 0.2 * number) * math.exp(-6 * rate) + 0.01 * seed,
                            "share",
                        ),
                    ):
                        results.append((*who, "", metric, value, "", "", 100, unit))
    results += list(pooled(results))
    write_csv(folder / "runs.csv", [*WHO, "parameters", "objective", "call_rate"], runs)
    write_csv(folder / "results.csv", COLUMNS,
              results)  # fmt: skip
    return folder
