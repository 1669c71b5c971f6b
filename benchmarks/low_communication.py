"""Loss against bytes: DiLoCo and its relatives against synchronous training at equal tokens.

    lacy data mark wiki.jsonl.gz --out data/wiki --vocab-size 512 --context 128
    python benchmarks/low_communication.py data/wiki --steps 800 --seeds 0 1

Every arm trains the same new model with the same number of tokens on the same rows; only who has
which rows, how often weights are exchanged, and in how many bits differs. Bytes are those of all
messages between the workers and their server, in both directions, headers and scales included. The
synchronous run sends a float32 gradient up and a mean down for each worker and step, also through a
server; with a ring instead, it would send 2 (k-1)/k of that. Finished arms are kept in
``benchmarks/results/low-communication.json``, so the same command continues a stopped study;
``--only "DiLoCo H=50 int4"`` runs only the named arms. An arm that is stopped (``--minutes``) goes
on where it was; its run is kept in ``--keep``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from pathlib import Path

import torch

from lacy.diloco import DilocoSettings, estimate_exchange, prepare_together, pretrain
from lacy.disk import write_atomic
from lacy.run import environment, read_metrics
from lacy.train import TrainConfig

RESULTS = Path(__file__).parent / "results" / "low-communication.json"
WORKERS = 4
PLAIN = {"outer_lr": 1.0, "outer_momentum": 0.0}

ARMS: dict[str, dict] = {
    "synchronous": {},
    "DiLoCo H=50 int4": {"codec": "int4"},
    "DiLoCo H=50 f32": {"codec": "f32"},
    "DiLoCo H=50 int8": {"codec": "int8"},
    "DiLoCo H=50 int4 no feedback": {"codec": "int4", "feedback": 0.0},
    "DiLoCo H=10 int4": {"codec": "int4", "sync_every": 10},
    "DiLoCo H=200 int4": {"codec": "int4", "sync_every": 200},
    "FedAvg H=50 f32": {"codec": "f32", **PLAIN},
    "SparseLoCo H=50 topk/0.03": {"codec": "topk/0.03", "down": "relay", **PLAIN},
    "streaming H=50 int4, 5 fragments, overlap 2": {
        "codec": "int4", "fragments": 5, "overlap": 2
    },
    "outer lr 0.5, momentum 0.9": {"codec": "int4", "outer_lr": 0.5},
    "outer lr 1.0, momentum 0.9": {"codec": "int4", "outer_lr": 1.0},
    "outer lr 0.7, momentum 0.6": {"codec": "int4", "outer_momentum": 0.6},
    "outer lr 1.0, momentum 0.6": {"codec": "int4", "outer_momentum": 0.6, "outer_lr": 1.0},
    "skewed shards, int4": {"codec": "int4", "shards": "skewed"},
    "skewed shards, running threshold": {
        "codec": "int4", "shards": "skewed", "threshold": "running"
    },
    "skewed shards, shared threshold": {
        "codec": "int4", "shards": "skewed", "threshold": "shared"
    },
    "quorum 3, one worker at a third of the speed": {
        "codec": "int4", "quorum": 3, "grace": 5.0, "speeds": (1.0, 1.0, 1.0, 0.34)
    },
    "all wait for one worker at a third of the speed": {
        "codec": "int4", "speeds": (1.0, 1.0, 1.0, 0.34)
    },
    "slow worker takes fewer steps": {
        "codec": "int4", "pace": "time", "speeds": (1.0, 1.0, 1.0, 0.34)
    },
    "a worker is away for half of the run": {"codec": "int4", "away": ("3:3-7",)},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch-rows", type=int, default=8)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, default=Path("runs/low-communication"))
    parser.add_argument("--sizes", action="store_true", help="bytes by codec; trains nothing")
    parser.add_argument("--minutes", type=float, default=1e6, help="time limit of one command")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.end = time.monotonic() + 60 * args.minutes
    torch.set_num_threads(1)
    found = json.loads(args.results.read_text()) if args.results.exists() else {"arms": []}
    if args.sizes:
        found.setdefault("sizes", {})[args.model] = sizes(args)
        write_atomic(args.results, json.dumps(found, indent=1) + "\n")
        for row in found["sizes"][args.model]:
            print(*(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()))
        return
    shared = {"steps": args.steps, "batch_rows": args.batch_rows, "model": args.model}
    for seed in args.seeds:
        for name, changes in ARMS.items():
            key = {"arm": name, "seed": seed, **shared}
            wanted = not args.only or name in args.only
            if not wanted or any(key.items() <= row.items() for row in found["arms"]):
                continue
            measured = measure(name, changes, seed, args)
            if measured is None:
                print(f"{name}, seed {seed}: stopped after {args.minutes:g} minutes; run again")
                return
            row = {**key, **measured}
            found["arms"].append(row)
            found["conditions"] = {**environment(), "threads": 1, "data": conditions(args.data)}
            write_atomic(args.results, json.dumps(found, indent=1) + "\n")
            print(f"{name:<50} seed {seed}  loss {row['valid_loss']:.4f}",
                  f"{row['bytes']:,} bytes  rate {row['call_rate']:.4f}", flush=True)  # fmt: skip
    print(table(found["arms"]))


def measure(name: str, changes: dict, seed: int, args: argparse.Namespace) -> dict | None:
    """Train one arm, or go on with it; return its losses, bytes and curve, None if time is up."""
    alone = name == "synchronous"
    every = args.steps // 8
    settings = DilocoSettings(workers=WORKERS, **changes)
    if alone:  # one worker with whole batches that keeps its weights is plain training
        settings = DilocoSettings(workers=1, codec="f32", sync_every=every, **PLAIN)
    slug = re.sub(r"\W+", "-", f"{name} {seed} {args.steps} {args.batch_rows} {args.model}")
    config = TrainConfig(
        data=args.data, out=args.keep / slug, model=args.model, steps=args.steps, seed=seed,
        batch_rows=args.batch_rows, hold_out=0.02, eval_rows=256, eval_every=every, threads=1,
        quiet=True,
    )  # fmt: skip
    done = pretrain(config, settings, on_round=lambda row: time.monotonic() > args.end)
    if not done.finished:
        return None
    rows = read_metrics(config.out / "metrics.jsonl")
    parameters = json.loads((config.out / "environment.json").read_text())["parameters"]
    synchronous = 8 * parameters * WORKERS

    def sent(row: dict) -> int:
        return synchronous * row["step"] if alone else row["bytes_up"] + row["bytes_down"] - start

    # Initial weights come from the seed; they are not sent again and again during a run.
    start = 0 if alone else WORKERS * 8 * parameters
    curve = [
        {"step": row["step"], "bytes": sent(row), "valid_loss": row["valid_loss"]}
        for row in rows if "valid_loss" in row
    ]  # fmt: skip
    trained = [row for row in rows if "call_rate" in row]
    half = trained[len(trained) // 2 :]
    uploads = [0, *(row["bytes_up"] for row in rows)]
    return {
        **{key: rows[-1][key] for key in ("valid_loss", "valid_fact_loss", "valid_other_loss")},
        "bytes": sent(rows[-1]), "parameters": parameters, "rounds": len(rows),
        "call_rate": sum(row["call_rate"] for row in half) / len(half),
        "call_rate_lowest": min(row["call_rate_lowest"] for row in half),
        "call_rate_highest": max(row["call_rate_highest"] for row in half),
        "late": sum(row["late"] for row in rows), "virtual_time": rows[-1]["time"],
        "most_bytes_at_once": max(b - a for a, b in itertools.pairwise(uploads)) / WORKERS,
        "finished": time.strftime("%Y-%m-%d %H:%M"), "curve": curve,
    }  # fmt: skip


def sizes(args: argparse.Namespace) -> list[dict]:
    """Return what each codec exchanges at H = 50, which depends on shapes only."""
    rows = []
    for codec, down in (
        ("f32", "same"), ("bf16", "same"), ("int8", "same"), ("int4", "same"),
        ("int4/128", "same"), ("topk/0.03", "relay"), ("topk/0.015625", "relay"),
    ):  # fmt: skip
        config = TrainConfig(
            data=args.data, out=Path("unused"), model=args.model, steps=50,
            batch_rows=args.batch_rows, quiet=True,
        )  # fmt: skip
        found = estimate_exchange(
            prepare_together(config, DilocoSettings(workers=WORKERS, codec=codec, down=down))
        )
        rows.append({
            "codec": codec, "down": down, "parameters": found.parameters,
            "bits_up": 8 * found.up / found.parameters,
            "bits_down": 8 * found.down / found.parameters,
            "fewer_bytes": found.synchronous / found.total,
        })  # fmt: skip
    return rows


def conditions(data: Path) -> dict:
    """Return the facts of the packed data."""
    info = json.loads((data / "lacy_data.json").read_text())
    return {name: info[name] for name in ("rows", "context", "tokens", "vocab_size", "documents")}


def table(rows: list[dict]) -> str:
    """Return one line per arm: means over seeds, against the synchronous run of the same seed."""
    lines = ["| arm | seeds | loss | against synchronous | bytes | fewer bytes | call rate |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    shapes = sorted({(r["model"], r["steps"], r["batch_rows"]) for r in rows})
    for shape in shapes:
        mine = [r for r in rows if (r["model"], r["steps"], r["batch_rows"]) == shape]
        base = {r["seed"]: r for r in mine if r["arm"] == "synchronous"}
        lines.append(f"| **{shape[0]}, {shape[1]} steps of {shape[2]} rows** | | | | | | |")
        for name in ARMS:
            arms = [r for r in mine if r["arm"] == name and r["seed"] in base]
            if not arms:
                continue
            ratio = [100 * (r["valid_loss"] / base[r["seed"]]["valid_loss"] - 1) for r in arms]
            fewer = [base[r["seed"]]["bytes"] / r["bytes"] for r in arms]
            n = len(arms)
            spread = f" ({min(ratio):+.1f} to {max(ratio):+.1f})" if n > 1 else ""
            lines.append(
                f"| {name} | {n} | {sum(r['valid_loss'] for r in arms) / n:.4f} |"
                f" {sum(ratio) / n:+.1f}%{spread} | {sum(r['bytes'] for r in arms) / n:,.0f} |"
                f" {sum(fewer) / n:,.0f} | {sum(r['call_rate'] for r in arms) / n:.4f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
