"""Measure training with two processes of one thread each against one process with one thread.

    python benchmarks/two_processes.py
    python benchmarks/two_processes.py --quick

Both sides run the steps of ``lacy train`` on the same batches (16 rows of 256 tokens): one process
computes all rows, each of two computes half of them, and they exchange losses and gradients (gloo).
The processes of both sides live as long as the measurement and take turns, in random order within a
round, so that other load and the temperature of the machine affect both alike; the waiting side
sleeps. Reported are tokens per second (wall), CPU seconds of all processes, peak memory by the
operating system, medians over rounds, their range, and the paired ratio of each round.

``--quick`` is a smoke test with a tiny model and few steps; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
SIDES = {"one": 1, "two": 2}
"""Number of processes of each side."""


# ------------------------------------------------------------------------------------- a process


def work(settings: dict[str, Any]) -> None:
    """Train ``steps`` steps for every line of the standard input, and print what they took."""
    import torch

    from lacy.train import TrainConfig, fit
    from lacy.train.processes import Processes
    from lacy.train.setup import prepare_session

    config = TrainConfig(
        **{**settings["train"], "data": Path(settings["data"]), "out": Path("unused")}
    )
    processes = Processes.join(config)
    session = prepare_session(config, processes, resume=False)
    session.join()
    steps = fit(
        session.state, session.batches(), session.objective,
        lr=session.lr, clip=config.clip, seed=config.seed,
    )  # fmt: skip
    for _ in sys.stdin:
        wall, cpu, losses = time.perf_counter(), time.process_time(), []
        for _ in range(settings["steps"]):
            losses.append(next(steps).loss)
            processes.any(False, False)  # as the loop does, for signals
        row = {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "loss": losses[-1],
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parameters": sum(p.numel() for p in session.state.model.parameters()),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(row), flush=True)


@contextmanager
def started(settings: dict[str, Any], count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Run the worker processes of one side while the ``with`` block runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(count), "MASTER_PORT": str(port),
        "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    words = [sys.executable, __file__, "--worker", json.dumps(settings)]
    with ExitStack() as stack:
        found = []
        for rank in range(count):
            env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else shared
            process = subprocess.Popen(
                words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            found.append(process)
        yield found


def turn(processes: list[subprocess.Popen[str]]) -> dict[str, float]:
    """Let one side train, and return what it took."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rows = []
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a process has ended; its message is above")
        rows.append(json.loads(line))
    return {
        "wall": max(row["wall"] for row in rows),
        "cpu": sum(row["cpu"] for row in rows),
        "peak_mb": sum(row["peak_mb"] for row in rows),
        "loss": rows[0]["loss"],
        "parameters": rows[0]["parameters"],
        "threads": rows[0]["threads"],
    }


# -------------------------------------------------------------------------------- the measurement


def write_data(folder: Path, vocabulary: int, context: int, people: int) -> None:
    """Pack biographies of made-up people, with a new tokenizer."""
    from lacy.cli import main

    world, packed = str(folder / "world"), str(folder / "packed")
    for words in (
        ["data", "world", "--out", world, "--people", str(people)],
        ["data", "mark", world, "--annotator", "gold", "--out", packed,
         "--vocab-size", str(vocabulary), "--context", str(context)],
    ):  # fmt: skip
        if main(words):
            raise SystemExit(f"lacy {' '.join(words)} failed")


def spread(values: list[float]) -> dict[str, float]:
    """Return median, quartiles and range of a list."""
    low, q1, median, q3, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": low, "max": high}


def summary(rounds: list[dict[str, dict[str, float]]], tokens: int) -> dict[str, Any]:
    """Return speed, CPU time and memory of both sides, and the ratio two/one of each round."""
    sides = {
        side: {
            "tokens_per_second": spread([tokens / row[side]["wall"] for row in rounds]),
            "cpu_seconds": spread([row[side]["cpu"] for row in rounds]),
            "wall_seconds": spread([row[side]["wall"] for row in rounds]),
            "peak_mb": max(row[side]["peak_mb"] for row in rounds),
        }
        for side in SIDES
    }
    return {
        "sides": sides,
        "speed_ratio": spread([row["one"]["wall"] / row["two"]["wall"] for row in rounds]),
        "cpu_ratio": spread([row["two"]["cpu"] / row["one"]["cpu"] for row in rounds]),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds and return the results with their conditions."""
    from lacy.run import environment

    train = {
        "model": options.model, "steps": options.steps * (options.rounds + 1),
        "batch_rows": options.batch_rows, "method": options.method, "call_rate": 0.1,
        "device": "cpu", "dtype": "fp32", "threads": 1, "quiet": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_data(folder, options.vocabulary, options.context, options.people)
        settings = {"train": train, "steps": options.steps, "data": str(folder / "packed")}
        load = os.getloadavg()[0]
        sides = {
            side: stack.enter_context(started(settings, count)) for side, count in SIDES.items()
        }
        rounds: list[dict[str, dict[str, float]]] = []
        differences: list[float] = []
        chance = random.Random(0)
        for number in range(options.rounds + 1):  # the first round is the warm-up
            row = {}
            for side in chance.sample(list(SIDES), len(SIDES)):
                row[side] = turn(sides[side])
            # Sums in another order differ in the last bits. This grows with the steps, as a token
            # that is nearly due a call gets one or not: only the first round must be equal.
            difference = abs(row["one"]["loss"] / row["two"]["loss"] - 1)
            differences.append(difference)
            if not number and difference > 1e-5:
                raise RuntimeError(f"the losses differ by {difference:.1e}: not the same training")
            if number:
                rounds.append(row)
                print(
                    f"round {number}: {row['one']['wall'] / row['two']['wall']:.2f} times as fast,"
                    f" {row['two']['cpu'] / row['one']['cpu']:.2f} times the CPU time", flush=True
                )  # fmt: skip
    tokens = options.steps * options.batch_rows * options.context
    return {
        "question": "training with two processes of one thread against one",
        "conditions": {
            **environment(),
            "processor": _processor(),
            "load_before": load,
            "settings": train,
            "context": options.context,
            "vocabulary": options.vocabulary,
            "parameters": rounds[0]["one"]["parameters"],
            "threads_per_process": rounds[0]["two"]["threads"],
            "steps_per_round": options.steps,
            "rounds": options.rounds,
            "quick": options.quick,
            "python": platform.python_version(),
        },
        **summary(rounds, tokens),
        "loss_differences": differences,  # relative, after each round, the warm-up first
        "rows": rounds,
    }


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def main() -> None:
    """Measure, print a summary and write ``benchmarks/results/two_processes.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="1m")
    parser.add_argument("--method", default="lacy")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch-rows", type=int, default=16)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--steps", type=int, default=15, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS / "two_processes.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    if options.quick:
        options.model, options.vocabulary, options.context = "tiny", 400, 64
        options.steps, options.rounds, options.people = 2, 2, 12
    found = measure(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for side, row in found["sides"].items():
        speed, cpu = row["tokens_per_second"], row["cpu_seconds"]
        print(
            f"{side}: {speed['median']:,.0f} tokens/s ({speed['q1']:,.0f} to {speed['q3']:,.0f}),"
            f" {cpu['median']:.2f} CPU s, {row['peak_mb']:,.0f} MB"
        )
    ratio = found["speed_ratio"]
    print(f"two/one: {ratio['median']:.2f} (from {ratio['min']:.2f} to {ratio['max']:.2f})")


if __name__ == "__main__":
    main()
