"""Measure peak memory and time of head and loss, forward and backward, at a large vocabulary.

    OMP_NUM_THREADS=1 python benchmarks/loss_memory.py

Each side runs in its own process, and sides alternate. Memory is the increase of the peak resident
size over inputs and libraries; time is the CPU time of one forward and backward pass.

Sides: ``naive_plain`` is plain cross-entropy on all logits (no selection, no ``<CALL>``: the
cheapest naive loss); ``naive`` is selection and loss as in the formula, on all logits;
``torch_plain`` is torch's chunked ``linear_cross_entropy`` with its default options; ``split`` is
selection, then the loss from two calls of torch's chunked kernel (below); ``fused`` is ours.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lacy.objective import Objective

RESULTS = Path(__file__).parent / "results"
SIDES = ("naive_plain", "naive", "torch_plain", "split", "fused")


def measure(side: str, rows: int, vocabulary: int, width: int) -> dict[str, float]:
    """Run one side once in this process."""
    import torch
    import torch.nn.functional as F

    from lacy.objective import Objective, select_and_loss

    objective = Objective(call_negative="none", text_weight=0.0)
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def compute(rows: int, vocabulary: int, width: int) -> tuple[float, float]:
        hidden = torch.randn(1, rows, width, requires_grad=True)
        head = (torch.randn(vocabulary, width) * width**-0.5).requires_grad_()
        targets = torch.randint(0, vocabulary - 1, (1, rows))
        marks = (torch.rand(1, rows) < 0.25).to(torch.uint8)
        before, start = peak(), time.process_time()
        if side == "naive_plain":
            total = F.cross_entropy(F.linear(hidden, head)[0], targets[0])
        elif side == "torch_plain":
            options = torch.nn.LinearCrossEntropyOptions()
            total = F.linear_cross_entropy(hidden[0], head, targets[0], options=options)
        elif side == "split":
            total = split_loss(hidden, head, targets, marks, objective)
        else:
            impl = "reference" if side == "naive" else side
            total = select_and_loss(hidden, head, targets, marks, objective, impl=impl).loss.total
        total.backward()
        return peak() - before, time.process_time() - start

    compute(64, 512, 32)  # loads the kernels
    memory, seconds = compute(rows, vocabulary, width)
    return {"mib": round(memory, 1), "cpu_seconds": round(seconds, 3)}


def split_loss(
    hidden_BTD: torch.Tensor,
    head_VD: torch.Tensor,
    targets_BT: torch.Tensor,
    marks_BT: torch.Tensor,
    objective: Objective,
) -> torch.Tensor:
    """Select, then compute the loss: text rows over V - 1 tokens, ``<CALL>`` rows over V."""
    import torch

    from lacy.objective import choose_targets, token_losses

    valid_BT = targets_BT >= 0
    losses_BT = token_losses(hidden_BTD, head_VD, targets_BT)
    call_BT, _ = choose_targets(objective, losses_BT, marks_BT, valid_BT)
    call_id = len(head_VD) - 1
    text_BT = valid_BT & ~call_BT
    text = chunked_loss(hidden_BTD[text_BT], head_VD[:call_id], targets_BT[text_BT])
    calls = torch.full_like(targets_BT[call_BT], call_id)
    return (text + chunked_loss(hidden_BTD[call_BT], head_VD, calls)) / valid_BT.sum()


def chunked_loss(
    hidden_ND: torch.Tensor, head_VD: torch.Tensor, targets_N: torch.Tensor
) -> torch.Tensor:
    """Sum the cross-entropies of some rows with torch's chunked kernel, in chunks of 8 MiB."""
    import torch
    import torch.nn.functional as F

    rows = min(len(targets_N), max(128, (8 << 20) // (4 * len(head_VD))))
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows)
    return F.linear_cross_entropy(hidden_ND, head_VD, targets_N, reduction="sum", options=options)


def peak() -> float:
    """Return the highest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=32_001)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--name", default="loss_memory")
    parser.add_argument("--side", choices=SIDES, help="measure this side here and print JSON")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.rows, args.vocabulary, args.width)))
        return

    from lacy.run import environment

    rows = []
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    shape = ["--rows", args.rows, "--vocabulary", args.vocabulary, "--width", args.width]
    for repeat in range(args.repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            command = [sys.executable, __file__, "--side", side, *map(str, shape)]
            done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
            rows.append({"repeat": repeat, "side": side} | json.loads(done.stdout))
    table = {}
    for side in SIDES:
        mine = {row["repeat"]: row for row in rows if row["side"] == side}
        base = {row["repeat"]: row for row in rows if row["side"] == "naive_plain"}
        table[side] = {
            "mib": statistics.median(row["mib"] for row in mine.values()),
            "cpu_seconds": statistics.median(row["cpu_seconds"] for row in mine.values()),
            "memory_to_naive_plain": round(
                statistics.median(mine[r]["mib"] / base[r]["mib"] for r in mine), 4
            ),
            "time_to_naive_plain": round(
                statistics.median(mine[r]["cpu_seconds"] / base[r]["cpu_seconds"] for r in mine), 3
            ),
            "time_to_naive_plain_range": [
                round(f(mine[r]["cpu_seconds"] / base[r]["cpu_seconds"] for r in mine), 3)
                for f in (min, max)
            ],
        }
    settings = {key: value for key, value in vars(args).items() if key != "side"}
    summary = {
        "what": "peak memory and CPU time of head and loss, forward and backward, float32",
        "settings": settings | {"threads": 1},
        "sides": table,
        "environment": environment(),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{args.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{args.rows} rows, vocabulary {args.vocabulary}, width {args.width}, float32, 1 thread")
    for side, found in table.items():
        print(
            f"  {side:12s} {found['mib']:7.0f} MiB ({found['memory_to_naive_plain']:.3f} x)   "
            f"{found['cpu_seconds']:6.2f} s CPU ({found['time_to_naive_plain']:.2f} x)"
        )


if __name__ == "__main__":
    main()
