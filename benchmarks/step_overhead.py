"""Measure what selection and ``<CALL>`` add to a training step, against plain cross-entropy.

    OMP_NUM_THREADS=1 python benchmarks/step_overhead.py

A whole step (forward, loss, backward, clipping, AdamW) of a small Llama. Every side has its own
copy of the model and runs in random order within each round, so that other load on the machine
affects all alike. Figures are medians of the paired ratios with a 95% bootstrap interval.

Sides: ``plain`` is what a trainer does (all logits, then ``cross_entropy``); ``plain_torch`` is
torch's chunked ``linear_cross_entropy``; ``plain_fused`` is our loss with nothing delegated, so
that the ratio to it is the cost of selection and ``<CALL>`` alone; ``two_pass`` computes the
losses, selects, then computes the loss, as with the three functions one by one.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from lacy.objective import Objective, choose_targets, loss, select_and_loss, token_losses
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def make_model(vocabulary: int, context: int, width: int, layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def make_batch(batch: int, context: int, vocabulary: int, seed: int) -> Batch:
    """Return token ids, targets and marks (a quarter of the targets are facts, as on Wikipedia)."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocabulary - 1, (batch, context), generator=chance)
    targets = ids.roll(-1, 1)
    targets[:, -1] = -100
    marks = (torch.rand(batch, context, generator=chance) < 0.25).to(torch.uint8)
    return ids, targets, marks


def plain(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    ids, targets, _ = batch
    logits = model(input_ids=ids).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def plain_torch(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    ids, targets, _ = batch
    hidden = model.model(input_ids=ids).last_hidden_state.flatten(0, 1)
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=512)
    return F.linear_cross_entropy(hidden, model.lm_head.weight, targets.flatten(), options=options)


PAPER = Objective(call_negative="none", text_weight=0.0)


def ours(objective: Objective) -> Callable[[LlamaForCausalLM, Batch], torch.Tensor]:
    def side(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
        ids, targets, marks = batch
        hidden = model.model(input_ids=ids).last_hidden_state
        found = select_and_loss(hidden, model.lm_head.weight, targets, marks, objective)
        return found.loss.total

    return side


def two_pass(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    ids, targets, marks = batch
    hidden = model.model(input_ids=ids).last_hidden_state
    losses = token_losses(hidden, model.lm_head.weight, targets)
    call, _ = choose_targets(PAPER, losses, marks, targets != -100)
    return loss(hidden, model.lm_head.weight, targets, call).total


SIDES: dict[str, Callable[[LlamaForCausalLM, Batch], torch.Tensor]] = {
    "plain": plain,
    "plain_torch": plain_torch,
    "plain_fused": ours(PAPER.plain()),
    "lacy": ours(PAPER),
    "lacy_softmax": ours(replace(PAPER, call_negative="softmax")),
    "two_pass": two_pass,
}


def train_step(
    side: str, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: Batch
) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    SIDES[side](model, batch).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - wall, time.process_time() - cpu


def paired(rows: list[dict[str, float]], over: str, under: str, clock: str) -> dict[str, object]:
    """Return the median of the ratios within rounds, and its bootstrap interval."""
    ratios = np.array([row[f"{over}_{clock}"] / row[f"{under}_{clock}"] for row in rows])
    chance = np.random.default_rng(0)
    medians = np.median(chance.choice(ratios, (4000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "interval_95": [round(float(low), 4), round(float(high), 4)],
        "n": len(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--name", default="step_overhead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape = (args.vocabulary, args.context, args.width, args.layers)
    models = {side: make_model(*shape) for side in SIDES}
    optimizers = {
        side: torch.optim.AdamW(model.parameters(), lr=3e-4) for side, model in models.items()
    }
    rows: list[dict[str, float]] = []
    order, chance = list(SIDES), random.Random(0)
    for turn in range(args.rounds + 2):
        batch = make_batch(args.batch, args.context, args.vocabulary, turn)
        chance.shuffle(order)
        row: dict[str, float] = {"round": turn}
        for side in order:
            row[f"{side}_wall"], row[f"{side}_cpu"] = train_step(
                side, models[side], optimizers[side], batch
            )
        if turn >= 2:  # the first rounds allocate
            rows.append(row)

    comparisons = {
        f"{over} / {under} ({clock})": paired(rows, over, under, clock)
        for over in ("lacy", "lacy_softmax", "two_pass")
        for under in ("plain", "plain_torch", "plain_fused")
        for clock in ("wall", "cpu")
    }
    medians = {
        side: round(float(np.median([row[f"{side}_cpu"] for row in rows])), 4) for side in SIDES
    }
    parameters = sum(p.numel() for p in models["plain"].parameters())
    summary = {
        "what": "time of a training step with selection and <CALL> over plain cross-entropy",
        "settings": vars(args) | {"parameters": parameters, "threads": 1, "call_rate": 0.15},
        "ratios": comparisons,
        "median_cpu_seconds": medians,
        "environment": environment(),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{args.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted(rows[0]))
        writer.writeheader()
        writer.writerows(
            {key: round(value, 5) for key, value in sorted(row.items())} for row in rows
        )
    (RESULTS / f"{args.name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{parameters:,} parameters, {args.batch} x {args.context} tokens, {args.rounds} rounds")
    for side, seconds in medians.items():
        print(f"  {side:13s} {1000 * seconds:7.1f} ms CPU per step")
    for name, found in comparisons.items():
        print(f"  {name:34s} {found['ratio']:.3f}  {found['interval_95']}")


if __name__ == "__main__":
    main()
