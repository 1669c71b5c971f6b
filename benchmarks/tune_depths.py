"""Measure speed and memory of training a pretrained model at each depth, and check the estimates.

    OMP_NUM_THREADS=1 python benchmarks/tune_depths.py --model smollm2 --data PACKED

Every depth and precision runs in a process of its own (``lacy train`` without saving): two steps
that are not timed, then ``--steps``. Speed is tokens per CPU second of this process, because other
load on the machine changes the wall clock; memory is the largest resident set of the process,
beside the estimate that ``lacy train --dry-run`` prints.
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

from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
DEPTHS = ("full", "lora", "last=2", "row")


def one(args: argparse.Namespace) -> dict[str, object]:
    """Train a few steps in this process and return what was measured."""
    import torch

    from lacy.corpus import PackedData
    from lacy.train import TrainConfig, fit
    from lacy.train.dry import PYTHON, _trace
    from lacy.train.setup import prepare_session

    torch.set_num_threads(1)
    config = TrainConfig(
        data=args.data, model=args.model, depth=args.depth[0], dtype=args.dtype[0], device="cpu",
        batch_rows=args.rows, steps=args.steps + 2, threads=1, delegate="start",
        call_rate=args.call_rate, **({"lora_targets": tuple(args.targets)} if args.targets else {}),
    )  # fmt: skip
    session = prepare_session(config, resume=False)
    began, seconds = 0.0, []
    steps = fit(session.state, session.batches(), session.objective, lr=session.lr)
    for done in itertools.islice(steps, args.steps + 2):
        done.sums.tolist()
        now = time.process_time()
        seconds.append(now - began)
        began = now
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = sorted(seconds[2:])
    traced = _trace(config, PackedData.load(args.data).info)
    estimate = None if traced is None else traced.memory.total + PYTHON
    return {
        "depth": args.depth[0],
        "dtype": args.dtype[0],
        "trained": sum(p.numel() for p in session.state.parameters()),
        "tokens_per_cpu_second": round(session.tokens_per_step / seconds[len(seconds) // 2], 1),
        "seconds_per_step": [round(s, 2) for s in seconds],
        "peak_gb": round(peak / 1e9, 2),
        "estimated_gb": None if estimate is None else round(estimate / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--depth", nargs="+", default=list(DEPTHS))
    parser.add_argument("--dtype", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--call-rate", type=float, default=0.08)
    parser.add_argument("--targets", nargs="*", help="matrices that get adapters; default: all")
    parser.add_argument("--name", default="tune_depths")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.single:
        print(json.dumps(one(args)))
        return
    file = RESULTS / f"{args.name}.json"
    report = {
        "what": "speed and memory of training a part of a pretrained model",
        "settings": {key: str(value) for key, value in vars(args).items()},
        "environment": environment(),
        "rows": [],
    }
    RESULTS.mkdir(exist_ok=True)
    for depth, dtype in itertools.product(args.depth, args.dtype):
        words = [
            sys.executable, __file__, "--single", "--model", args.model, "--data", str(args.data),
            "--depth", depth, "--dtype", dtype, "--rows", str(args.rows), "--steps",
            str(args.steps), "--call-rate", str(args.call_rate),
            *(["--targets", *args.targets] if args.targets else []),
        ]  # fmt: skip
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        report["rows"].append(row)
        print(json.dumps(row), flush=True)
        file.write_text(json.dumps(report, indent=2) + "\n")  # a stop leaves a partial table


if __name__ == "__main__":
    main()
