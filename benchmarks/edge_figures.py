"""Well-known figures about training at the edge, derived again, each with its formula.

    python benchmarks/edge_figures.py

Writes benchmarks/results/edge_figures.json and prints the table of docs/results/edge.md. No figure
here is simulated: a pocket calculator gives the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lacy.edge import (
    bytes_per_step,
    days_to_train,
    devices_of_equal_rate,
    devices_to_train,
    fewer_bytes,
    training_flop,
)
from lacy.run import environment, write_atomic

H100_FP32, PHONE = 59.30e12, 2e12
"""Peak FP32 rates that arXiv 2503.08223 takes for an H100 and a phone of 2024."""
MEAN_PHONE = 1.38e12
"""Peak FP32 rate of the mean phone of 2024 (2503.08223)."""
GPUS, GPU_HOURS = 2048, 2.664e6
"""Cluster and hours of the pretraining of DeepSeek-V3 (arXiv 2412.19437)."""
ACTIVE, TOKENS = 37e9, 14.8e12
"""Active parameters and tokens of DeepSeek-V3."""
MODELS = {"125M": 125e6, "360M": 360e6, "1.1B": 1.1e9}


@dataclass(frozen=True)
class Figure:
    """One figure."""

    what: str
    formula: str
    value: float
    shown: str


def figures() -> list[Figure]:
    """Return all figures."""
    flop = training_flop(ACTIVE, TOKENS)
    sustained = flop / (GPU_HOURS * 3600)
    rate = GPUS * sustained

    def to_match(flops: float, used: float = 1.0, available: float = 1.0) -> float:
        return devices_of_equal_rate(GPUS, sustained, flops * used * available)

    found = [
        Figure("phones whose peak FP32 rates add up to that of 2,048 H100 (the paper says 60,723)",
               "2048 x 59.30 / 2", ratio := devices_of_equal_rate(GPUS, H100_FP32, PHONE),
               f"{int(ratio):,}"),
        Figure("operations to train DeepSeek-V3", "6 x 37e9 x 14.8e12", flop, f"{flop:.3g} FLOP"),
        Figure("sustained rate of one H800", "FLOP / (2.664e6 h x 3600 s)", sustained,
               f"{sustained / 1e12:.0f} TFLOP/s"),
        Figure("the cluster", "2048 x that", rate, f"{rate / 1e18:.2f} EFLOP/s"),
        Figure("the cluster's time", "FLOP / cluster", days := flop / rate / 86_400,
               f"{days:.0f} days"),
        Figure("time of 60,723 phones at 2 TFLOP/s, all of it used, always on",
               "FLOP / (60,723 x 2e12)", days := days_to_train(flop, 60_723, PHONE),
               f"{days:.0f} days"),
        Figure("the same in weeks (the project page says one week)", "days / 7", days / 7,
               f"{days / 7:.0f} weeks"),
    ]  # fmt: skip
    cases = (
        ("2 TFLOP/s, all used, always on", PHONE, 1.0, 1.0),
        ("2 TFLOP/s, 40% used", PHONE, 0.4, 1.0),
        ("2 TFLOP/s, 20% used, 30% of the day", PHONE, 0.2, 0.3),
        ("1.38 TFLOP/s (mean of 2024), 20% used, 30% of the day", MEAN_PHONE, 0.2, 0.3),
        ("1.38 TFLOP/s, 5% used (kernels of 2202.10100), 30% of the day", MEAN_PHONE, 0.05, 0.3),
    )
    for name, flops, used, available in cases:
        found += [
            Figure(f"phones to match the cluster: {name}", "cluster / (peak x used x available)",
                   count := to_match(flops, used, available), f"{count:,.0f}"),
            Figure(f"phones for one week: {name}", "FLOP / (7 d x peak x used x available)",
                   count := devices_to_train(flop, 7, flops, used, available),
                   f"{count / 1e6:.2f} million"),
        ]  # fmt: skip
    for model, parameters in MODELS.items():
        for how, bits, steps in (
            ("synchronous, 16 bits", 16, 1), ("DiLoCo, 16 bits, H = 500", 16, 500),
            ("DiLoCo, 8 bits, H = 100", 8, 100), ("DiLoCo, 4.25 bits, H = 50", 4.25, 50),
        ):  # fmt: skip
            size = bytes_per_step(parameters, bits, steps)
            found.append(
                Figure(f"bytes per step, sent and received: {model}, {how}", "2 x N x bits / 8 / H",
                       size, f"{size / 1e6:,.1f} MB")
            )  # fmt: skip
    found += [
        Figure("INTELLECT-1: reduction in bytes sent (the paper says 400 x)",
               "H x 32 bits / 8 bits, H = 100", less := fewer_bytes(100, 8, 32), f"{less:.0f} x"),
        Figure("DiLoCo, H = 500, 16 bits: reduction in bytes (the paper says 500 x)", "H x 16 / 16",
               less := fewer_bytes(500, 16, 16), f"{less:.0f} x"),
        Figure("4-bit updates with a 16-bit scale per 64 values, H = 50: reduction against 32 bits",
               "H x 32 / 4.25", less := fewer_bytes(50, 4.25, 32), f"{less:.0f} x"),
        Figure("the same against 16 bits", "H x 16 / 4.25", less := fewer_bytes(50, 4.25, 16),
               f"{less:.0f} x"),
    ]  # fmt: skip
    for model, parameters, tokens, count in (
        ("125M", 125e6, 2.5e9, 100),
        ("360M", 360e6, 7.2e9, 1000),
    ):
        hours = 24 * days_to_train(training_flop(parameters, tokens), count, PHONE, 0.2, 0.3)
        found.append(
            Figure(f"{model} on {tokens / 1e9:.1f}e9 tokens, {count} phones at 2 TFLOP/s, 20% "
                   "used, 30% of the day", "6 N D / (n x peak x used x available)", hours,
                   f"{hours:.0f} hours")
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", default=str(Path(__file__).parent / "results" / "edge_figures.json")
    )
    args = parser.parse_args()
    rows = figures()
    print("| figure | formula | value |\n|---|---|---:|")
    for row in rows:
        print(f"| {row.what} | `{row.formula}` | {row.shown} |")
    data = {"figures": [asdict(f) for f in rows], "environment": environment()}
    write_atomic(args.out, json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
