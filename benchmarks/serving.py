"""Measure a server under load, and in the presence of a slow source.

    OMP_NUM_THREADS=1 python benchmarks/serving.py        # about five minutes on two cores

Only one server has requests at a time; the model has 6.4 million parameters (see ``streams.py``).
Each round runs all conditions in turn, so that other load on the machine affects all alike:

- ``load``: 1, 8 and 32 streams that never call. ``batch_cost`` is how much longer a step of that
  many texts takes than a step of one text in the engine, without a server.
- ``cascade``: 32 streams at 22% calls from an instant source, against the model alone. The calls
  are random (``random=0.22``), since untrained weights have no meaningful call margins;
  ``call_rate`` is the realized rate.
- ``slow``: 16 streams that never call share a server with 16 that call a source of 200 ms, or an
  instant one.

Writes ``results/serving.csv`` (a row per round and condition) and ``results/serving.json`` (setup,
summary: medians over rounds with 95% bootstrap intervals). Failing sources: ``faults.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import time
from pathlib import Path

import numpy as np
from streams import CALLING, VALUE, child, interval, make_model, prompts, row, serve, together

RESULTS = Path(__file__).parent / "results"
LOADS = (1, 8, 32)


def run_server(args):
    """Run a server with one kind of source."""
    from lacy.cascade import Engine
    from lacy.sources import ScriptedSource

    source = ScriptedSource([VALUE], delay=0.2 if args.child == "slow" else 0.0)
    engine = Engine(make_model(args.width, args.layers), source, "never", abstain=None)
    steps = {}
    if args.child == "instant":  # cost of a step without a server
        for count in (*LOADS, *LOADS, *LOADS):
            begin = time.perf_counter()
            answers = engine.generate(prompts(count), max_new_tokens=args.new)
            each = (time.perf_counter() - begin) / args.new
            steps.setdefault(count, []).append(each)
            assert sum(a.tokens for a in answers) == count * args.new, "the model ended a text"
    serve(engine, steps={count: float(np.median(each)) for count, each in steps.items()})


def load_and_cascade(instant, args, lines):
    for number in range(-1, args.rounds):  # the first round warms up
        for count in LOADS:
            results = []
            for again in range(4 if count == 1 else 1):
                wanted = [("slm:never", count)]
                part = asyncio.run(
                    together(instant.url, wanted, args.new, 10 * number + again + 10)
                )
                results += part["slm:never"]
            lines.append(row("load", str(count), number, results))
        for model in (CALLING, "slm:never") if number % 2 else ("slm:never", CALLING):
            results = asyncio.run(together(instant.url, [(model, 32)], args.new, number + 1))[model]
            lines.append(row("cascade", model.split(":")[1], number, results))


def share_with_slow(instant, slow, args, lines):
    for number in range(-1, args.rounds):
        for name, server in (("instant", instant), ("slow", slow)):
            wanted = [("slm:never", 16), (CALLING, 16)]
            results = asyncio.run(together(server.url, wanted, args.new, number + 1))
            lines.append(row("slow", f"never; others call {name}", number, results["slm:never"]))
            lines.append(row("slow", f"calling {name}", number, results[CALLING]))


def summary(lines, steps):
    def each(part, condition, key):
        chosen = [
            x[key]
            for x in lines
            if (x["part"], x["condition"]) == (part, condition) and x["round"] >= 0
        ]
        return np.array(chosen)

    out = {}
    for count in map(str, LOADS):
        cost = steps[count] / steps["1"]
        out[f"load {count}: tokens per second"] = interval(each("load", count, "tokens_per_s"))
        out[f"load {count}: p95 ms per token"] = interval(each("load", count, "p95_ms"))
        out[f"load {count}: throughput relative to one stream"] = interval(
            each("load", count, "tokens_per_s") / each("load", "1", "tokens_per_s"))  # fmt: skip
        out[f"load {count}: batch cost"] = {"value": round(cost, 3), "step_ms": 1000 * steps[count]}
        out[f"load {count}: p95 relative to one stream's and batch cost"] = interval(
            each("load", count, "p95_ms") / each("load", "1", "p95_ms") / cost)  # fmt: skip
    rates = each("cascade", "random=0.22", "tokens_per_s") / each(
        "cascade", "never", "tokens_per_s"
    )
    out["cascade: throughput relative to the model alone"] = interval(rates)
    out["cascade: share of called tokens"] = interval(each("cascade", "random=0.22", "call_rate"))
    for key in ("median_ms", "p95_ms", "longest_ms"):
        slow, fast = (each("slow", f"never; others call {w}", key) for w in ("slow", "instant"))
        out[f"slow: {key} of streams that never call"] = interval(slow)
        out[f"slow: the same with an instant source, {key}"] = interval(fast)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--new", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", default="", help="internal")
    parser.add_argument("--source", default="", help="internal")
    args = parser.parse_args()
    if args.child:
        return run_server(args)
    from lacy.run import environment

    lines, begin = [], time.perf_counter()
    with child("instant", args) as instant:
        load_and_cascade(instant, args, lines)
        with child("slow", args) as slow:
            share_with_slow(instant, slow, args, lines)
    with (args.out / "serving.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    setup = {
        "command": "python benchmarks/serving.py", "seed": 0, "rounds": args.rounds,
        "new_tokens": args.new, "width": args.width, "layers": args.layers,
        "summary": summary(lines, instant.steps),
        "seconds": round(time.perf_counter() - begin), "environment": environment(),
    }  # fmt: skip
    (args.out / "serving.json").write_text(json.dumps(setup, indent=1) + "\n")
    return print(json.dumps(setup["summary"], indent=1))


if __name__ == "__main__":
    main()
