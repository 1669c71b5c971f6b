"""How long a language model in this process takes to answer: all requests together, or one by one.

    OMP_NUM_THREADS=1 python benchmarks/partner.py        # three minutes on a busy machine

Both sides are ``LanguageModel`` over one model (random weights that say letters only, so that a
``word`` takes all its 12 tokens and a ``token`` one), with ``batch=32`` and ``batch=1``. 1, 8 or 32
texts of 40 to 120 tokens are continued: ``first`` reads whole texts, ``next`` goes on from kept
caches, some tokens further, as the calls of a cascade do. Sides take turns, in random order, and
say the same. Wall seconds per call of ``ask``; medians, and the median of the ratios of one by one
to together call by call, with a 95% bootstrap interval. Writes ``results/partner.csv`` (a row per
call) and ``results/partner.json`` (summary, conditions).
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
SIDES = {"together": 32, "one by one": 1}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def written(chance: random.Random, least: int, most: int) -> str:
    return "".join(chance.choices(LETTERS + "   ", k=chance.randint(least, most)))


def one_round(loaded, unit: str, count: int, chance: random.Random) -> list[dict]:
    """A row per side and call: texts are read, and gone on with twice."""
    texts = [written(chance, 40, 120) for _ in range(count)]
    sources = {side: LanguageModel(loaded.model, loaded.tokenizer, batch_size=batch)
               for side, batch in SIDES.items()}  # fmt: skip
    rows = []
    for call in range(3):
        said = {}
        requests = [Request(text, unit, stream=n) for n, text in enumerate(texts)]
        for side in chance.sample(list(SIDES), len(SIDES)):
            begin = time.perf_counter()
            replies = asyncio.run(sources[side].ask(requests))
            took = time.perf_counter() - begin
            said[side] = [reply.candidates[0].text for reply in replies]
            rows.append({"unit": unit, "requests": count, "side": side,
                         "call": "next" if call else "first", "seconds": took})  # fmt: skip
        if said["together"] != said["one by one"]:
            raise SystemExit(f"the sides differ: {said}")
        texts = [text + word + " " + written(chance, 2, 8)
                 for text, word in zip(texts, said["together"], strict=True)]  # fmt: skip
    return rows


def summary(rows: list[dict]) -> dict[str, dict]:
    found = {}
    for unit, count, call in dict.fromkeys((r["unit"], r["requests"], r["call"]) for r in rows):
        these = [r for r in rows if (r["unit"], r["requests"], r["call"]) == (unit, count, call)]
        each = {s: [r["seconds"] for r in these if r["side"] == s] for s in SIDES}
        ratios = [b / a for a, b in zip(each["together"], each["one by one"], strict=True)]
        found[f"{unit}, {count} requests, {call}"] = {
            **{f"{side} ms": interval([1000 * x for x in took]) for side, took in each.items()},
            "one by one / together": interval(ratios),
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
    chance = random.Random(args.seed)
    ways = [(unit, count) for unit in ("token", "word") for count in args.requests]
    for unit, _ in ways:
        one_round(loaded, unit, 2, chance)  # warm
    rows = []
    for number in range(args.rounds):
        for unit, count in chance.sample(ways, len(ways)):
            rows += [{"round": number, **row} for row in one_round(loaded, unit, count, chance)]
        print(f"round {number + 1} of {args.rounds}", flush=True)
    rows.sort(key=lambda row: (row["unit"], row["requests"], row["call"], row["round"]))
    found = summary(rows)
    for way, figures in found.items():
        print(way, {name: tuple(map(float, (f["value"], f["low"], f["high"])))
                    for name, f in figures.items()})  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "partner.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    conditions = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/partner.py", "seed": args.seed,
        "rounds": args.rounds, "width": args.width, "layers": args.layers,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "threads": torch.get_num_threads(), "summary": found, "environment": environment(),
    }  # fmt: skip
    (args.out / "partner.json").write_text(json.dumps(conditions, indent=1) + "\n")


if __name__ == "__main__":
    main()
