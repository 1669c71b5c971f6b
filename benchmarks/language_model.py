"""Measure how long a language model in this process takes to answer: batched, or one by one.

    OMP_NUM_THREADS=1 python benchmarks/language_model.py        # three minutes on a busy machine

Both sides are ``LanguageModel`` over one model (random weights that write letters only, so that a
``word`` takes all its 12 tokens and a ``token`` one), with ``batch_size=32`` and ``batch_size=1``.
They continue 1, 8 or 32 texts of 40 to 120 tokens: ``first`` reads whole texts, ``next`` continues
from kept caches, some tokens further, as the calls of a cascade do. Sides take turns, in random
order, and return the same texts. Measured are wall seconds per call of ``ask``: medians, and the
median of the ratios of one by one to batched, call by call, with a 95% bootstrap interval. Writes
``results/language_model.csv`` (a row per call) and ``results/language_model.json`` (summary,
setup).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import time
from pathlib import Path

import torch
from streams import interval, make_model

from lacy.run import environment
from lacy.sources import LanguageModel
from lacy.types import Request

RESULTS = Path(__file__).parent / "results"
SIDES = {"batched": 32, "one by one": 1}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def random_text(rng: random.Random, shortest: int, longest: int) -> str:
    return "".join(rng.choices(LETTERS + "   ", k=rng.randint(shortest, longest)))


def one_round(loaded, unit: str, count: int, rng: random.Random) -> list[dict]:
    """Return a row per side and call: texts are read, then continued twice."""
    texts = [random_text(rng, 40, 120) for _ in range(count)]
    sources = {side: LanguageModel(loaded.model, loaded.tokenizer, batch_size=batch)
               for side, batch in SIDES.items()}  # fmt: skip
    rows = []
    for call in range(3):
        answers = {}
        requests = [Request(text, unit, stream=n) for n, text in enumerate(texts)]
        for side in rng.sample(list(SIDES), len(SIDES)):
            begin = time.perf_counter()
            replies = asyncio.run(sources[side].ask(requests))
            took = time.perf_counter() - begin
            answers[side] = [reply.candidates[0].text for reply in replies]
            rows.append({"unit": unit, "requests": count, "side": side,
                         "call": "next" if call else "first", "seconds": took})  # fmt: skip
        if answers["batched"] != answers["one by one"]:
            raise SystemExit(f"the sides gave different texts: {answers}")
        texts = [text + word + " " + random_text(rng, 2, 8)
                 for text, word in zip(texts, answers["batched"], strict=True)]  # fmt: skip
    return rows


def summary(rows: list[dict]) -> dict[str, dict]:
    found = {}
    for unit, count, call in dict.fromkeys((r["unit"], r["requests"], r["call"]) for r in rows):
        these = [r for r in rows if (r["unit"], r["requests"], r["call"]) == (unit, count, call)]
        each = {s: [r["seconds"] for r in these if r["side"] == s] for s in SIDES}
        ratios = [b / a for a, b in zip(each["batched"], each["one by one"], strict=True)]
        found[f"{unit}, {count} requests, {call}"] = {
            **{f"{side} ms": interval([1000 * x for x in took]) for side, took in each.items()},
            "one by one / batched": interval(ratios),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    loaded = make_model(args.width, args.layers)
    rng = random.Random(args.seed)
    settings = [(unit, count) for unit in ("token", "word") for count in args.requests]
    for unit, _ in settings:
        one_round(loaded, unit, 2, rng)  # warm up
    rows = []
    for number in range(args.rounds):
        for unit, count in rng.sample(settings, len(settings)):
            rows += [{"round": number, **row} for row in one_round(loaded, unit, count, rng)]
        print(f"round {number + 1} of {args.rounds}", flush=True)
    rows.sort(key=lambda row: (row["unit"], row["requests"], row["call"], row["round"]))
    found = summary(rows)
    for setting, figures in found.items():
        print(setting, {name: tuple(map(float, (f["value"], f["low"], f["high"])))
                    for name, f in figures.items()})  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "language_model.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    setup = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/language_model.py", "seed": args.seed,
        "rounds": args.rounds, "width": args.width, "layers": args.layers,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "threads": torch.get_num_threads(), "summary": found, "environment": environment(),
    }  # fmt: skip
    (args.out / "language_model.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
