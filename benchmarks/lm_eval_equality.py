"""Compare lm-eval's model `lacy` (no calls) with lm-eval's own `hf` on the same checkpoints.

    python benchmarks/lm_eval_equality.py MODEL [MODEL ...] --tasks TASK.yaml [TASK.yaml ...]

For each model, all sides answer the same requests in one process, in random order, and every number
is compared: log-likelihoods, generated texts, and what lm-eval prints. ``hf`` is asked as its users
do. For a model with a ``<CALL>`` row, ``masked`` is ``hf`` with this row's logit set to minus
infinity, because ``hf`` itself takes ``<CALL>`` for text. Seconds are wall time, with loading.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lacy.harness import LacyLM, quiet_harness, run_tasks
from lacy.harness.run import _own_task
from lacy.run import environment

RESULTS = Path(__file__).parent / "results" / "lm_eval_equality.json"


def hf(place: str, masked: bool, batch: int) -> HFLM:
    """Open lm-eval's own class; ``masked`` forbids `<CALL>`."""
    lm = HFLM(pretrained=place, device="cpu", batch_size=batch)
    call = lm.tokenizer.get_vocab().get("<CALL>")
    if masked and call is not None:

        def mask(module, given, out):
            out.logits[..., call] = float("-inf")

        lm.model.register_forward_hook(mask)
    return lm


def by_hf(lm: HFLM, tasks: list[str], limit: int | None, chat: bool) -> dict:
    """Return lm-eval's results and samples."""
    return evaluator.simple_evaluate(
        lm, tasks=[_own_task(task) for task in tasks], limit=limit, log_samples=True,
        apply_chat_template=chat, task_manager=TaskManager(include_defaults=False),
    )  # fmt: skip


def answers(samples: dict) -> list:
    """Return all answers of all tasks as plain data."""
    return json.loads(
        json.dumps([[one["filtered_resps"] for one in rows] for rows in samples.values()])
    )


def numbers(results: dict) -> dict:
    """Return the printed numbers."""
    return {
        f"{task} {key}": value
        for task, values in results.items()
        for key, value in values.items()
        if isinstance(value, float)
    }


def flat(value) -> list[float]:
    """Return all numbers in nested lists."""
    if isinstance(value, list):
        return [x for part in value for x in flat(part)]
    return [float(value)] if isinstance(value, int | float) else []


def compare(place: str, tasks: list[str], args, rng: random.Random) -> dict:
    """Ask all sides, and count what differs."""
    sides = {
        "lacy": lambda: run_tasks(
            LacyLM(place, batch_size=args.batch, device="cpu"), tasks, limit=args.limit,
            chat=args.chat,
        ),
        "hf": lambda: by_hf(hf(place, False, args.batch), tasks, args.limit, args.chat),
    }  # fmt: skip
    if "<CALL>" in (Path(place) / "tokenizer.json").read_text(encoding="utf-8"):
        sides["masked"] = lambda: by_hf(hf(place, True, args.batch), tasks, args.limit, args.chat)
    order = list(sides)
    rng.shuffle(order)
    found, seconds = {}, {}
    for name in order:
        begin = time.perf_counter()
        with quiet_harness():
            found[name] = sides[name]()
        seconds[name] = round(time.perf_counter() - begin, 1)
    ours = answers(found["lacy"].samples)
    row = {
        "model": Path(place).name, "tasks": [Path(task).stem for task in tasks],
        "limit": args.limit, "batch": args.batch, "chat": args.chat, "seconds": seconds,
        "documents": sum(len(rows) for rows in found["lacy"].samples.values()),
        "printed": numbers(found["lacy"].lm_eval["results"]),
    }  # fmt: skip
    for name in [name for name in sides if name != "lacy"]:
        theirs = answers(found[name]["samples"])
        pairs = list(zip(flat(ours), flat(theirs), strict=True))
        row[name] = {
            "answers_identical": ours == theirs,
            "numbers_compared": len(pairs),
            "largest_difference": max((abs(a - b) for a, b in pairs), default=0.0),
            "printed_identical": numbers(found[name]["results"]) == row["printed"],
            "printed": numbers(found[name]["results"]),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for place in args.models:
        row = compare(place, args.tasks, args, random.Random(0))
        print(json.dumps(row, indent=1))
        same = ("model", "tasks", "limit", "batch", "chat")
        rows = [r for r in rows if any(r[k] != row[k] for k in same)] + [row]
    found = {"rows": rows, "environment": environment()}
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
