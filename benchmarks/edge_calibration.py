"""Real runs with rare synchronisation, beside what the simulator predicts for them.

    python benchmarks/edge_calibration.py --repeats 5

Two to four worker processes train a small transformer and exchange updates over gloo: through a
server (also with a quorum, a grace window and workers that are told to stop), by all-reduce in
every step, or by all-gather. Workers emulate slow devices: a step takes at least some milliseconds,
and a message takes its bytes divided by the rate of a slow connection. The
simulator gets FLOP/s and transfer rates of every worker and nothing else: once as measured before
the run (all workers at the same time), once from the record of the run itself, so that a machine
that is busier during the run than before it does not count as an error of the simulator. Results
are in benchmarks/results/edge_calibration.json.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from edge_job import LENGTH, ROWS, Job, pace

from lacy.edge import DeviceClass, EdgeAssumptions, EdgeServer, flop_per_token, simulate_devices
from lacy.results import as_data, score_sums
from lacy.run import environment, write_atomic

WORKERS = 4


@dataclass(frozen=True)
class Case:
    """One kind of run."""

    name: str
    exchange: str
    pads: tuple[float, ...]
    """Minimum seconds per step of each worker; 0 for no minimum."""
    rates: tuple[float, ...]
    """Bytes per second of each worker's connection; 0 for no limit."""
    steps: int
    rounds: int
    quorum: float = 1.0
    grace: float = 0.0


KB = 1e3
CASES = (
    Case("server, 2 equal workers", "server", (0.25,) * 2, (400 * KB,) * 2, 6, 4),
    Case("server, 4 unequal workers", "server", (0.25, 0.3, 0.4, 0.5),
         (800 * KB, 400 * KB, 400 * KB, 300 * KB), 6, 3),
    Case("server, quorum of 3 of 4", "server", (0.25, 0.3, 0.35, 1.2), (400 * KB,) * 4, 6, 4, 0.75),
    Case("server, quorum of 2 of 4, grace", "server", (0.25, 0.3, 0.38, 1.2), (400 * KB,) * 4, 6, 4,
         0.5, 1.2),
    Case("all-reduce in every step, 3", "ring", (0.25, 0.3, 0.4), (0,) * 3, 1, 25),
    Case("all-gather, 4 unequal", "gather", (0.25, 0.3, 0.4, 0.5), (0,) * 4, 6, 3),
    Case("server, 2 workers at full speed", "server", (0.0,) * 2, (0,) * 2, 40, 5),
)  # fmt: skip


# ------------------------------------------------------------------------- what is measured before


def profile(job: Job, case: Case, rank: int, group: Any, count: int) -> tuple[float, float, float]:
    """Return seconds per step, bytes per second and latency of this worker; all measure at once."""
    pad, rate = case.pads[rank - 1], case.rates[rank - 1]
    for _ in range(3):
        job.step(pad)
    dist.barrier(group)
    begin = time.perf_counter()
    steps = 10 if pad else 150
    for _ in range(steps):
        job.step(pad)
    step = (time.perf_counter() - begin) / steps
    dist.barrier(group)
    seconds = []
    for size in (1000, job.parameters):
        message, times = torch.zeros(size), []
        for _ in range(5):
            dist.barrier(group)
            begin = time.perf_counter()
            if case.exchange == "ring":
                dist.all_reduce(message, group=group)
            elif case.exchange == "gather":
                parts = [torch.empty_like(message) for _ in range(count)]
                dist.all_gather(parts, message, group=group)
            else:  # there and back, as in a round
                dist.send(message, 0)
                dist.recv(message, 0)
                pace(begin, 2 * 4 * size, rate)
            times.append(time.perf_counter() - begin)
        seconds.append(float(np.median(times)))
    if case.exchange == "ring":
        sent, messages = 2 * (count - 1) / count, 2 * (count - 1)
    else:
        sent, messages = (count - 1, 1) if case.exchange == "gather" else (2, 2)
    size = 4.0 * (job.parameters - 1000)
    # Without an emulated connection, the longer message may be the faster one by chance.
    rate = min(1e10, sent * size / max(1e-9, seconds[1] - seconds[0]))
    return step, rate, seconds[0] / messages


def predicted(case: Case, measured: list[tuple[float, float, float]], parameters: int) -> float:
    """Return the seconds of a run that the simulator expects."""
    flop = flop_per_token(parameters)
    tokens = ROWS * LENGTH
    devices = {
        f"worker-{number}": DeviceClass(
            flops=tokens * flop / step, memory_gb=1e6, up_mbps=rate / 125e3, down_mbps=rate / 125e3
        )
        for number, (step, rate, _) in enumerate(measured)
    }
    latency = float(np.mean([latency for *_, latency in measured]))
    assumed = EdgeAssumptions(
        devices=devices, population=len(devices), model=str(parameters), flop_per_token=flop,
        tokens=1e15, critical_batch_tokens=float("inf"), rounds=case.rounds,
        server=EdgeServer(1e6, 1e6, 0.0, 0.0, 10.0, 1000 * latency),
        algorithm={"name": "diloco", "steps": case.steps, "batch_tokens": tokens, "sampled": 0,
                   "bits": 32.0, "bits_down": 32.0, "exchange": case.exchange,
                   "keep": case.exchange != "server", "quorum": case.quorum,
                   "grace_minutes": case.grace / 60},
    )  # fmt: skip
    ends: list[float] = []
    simulate_devices(assumed, on_round=lambda run: ends.append(run.seconds))
    if case.exchange != "server":  # the first exchange of peers has no model to send here
        whole = 4.0 * parameters / 2  # a model is sent in 16 bits
        return ends[-1] - max(whole / rate for _, rate, _ in measured) - latency
    return ends[-1]


# ----------------------------------------------------------------------------------------- the run


def work(job: Job, case: Case, rank: int, group: Any, count: int) -> None:
    """Do the rounds of one worker."""
    pad, rate = case.pads[rank - 1], case.rates[rank - 1]
    flat = job.flat().clone()
    for _ in range(case.rounds):
        if case.exchange == "server":
            served_round(job, case, flat, pad, rate)
            continue
        for _ in range(case.steps):
            job.step(pad)
        new = job.flat().clone()
        if case.exchange == "ring":
            dist.all_reduce(new, group=group)
            new /= count
        else:
            parts = [torch.empty_like(new) for _ in range(count)]
            dist.all_gather(parts, new, group=group)
            new = torch.stack(parts).mean(0)
        job.load(new)


def served_round(job: Job, case: Case, flat: torch.Tensor, pad: float, rate: float) -> None:
    """Receive the model, train, and send the update, unless the server ends the round before."""
    dist.recv(flat, 0)
    begin, size, stop = time.perf_counter(), 4.0 * flat.numel(), threading.Event()

    def listen() -> None:
        dist.recv(torch.empty(1), 0, tag=1)
        stop.set()

    listener = threading.Thread(target=listen)
    listener.start()
    pace(begin, size, rate, stop)
    if not stop.is_set():
        job.message(begin)
    job.load(flat)
    for _ in range(case.steps):
        if stop.is_set():
            break
        job.step(pad, stop)
    delta, begin = flat - job.flat(), time.perf_counter()
    pace(begin, size, rate, stop)
    late = stop.is_set()
    dist.send(delta, 0)  # a worker that was stopped sends it, too, and the server ignores it
    if not late:
        job.message(begin)
    listener.join()


class Arrivals:
    """Receives the updates of one round, with one thread per worker."""

    def __init__(self, size: int, count: int) -> None:
        self.buffers = [torch.empty(size) for _ in range(count)]
        self.order: list[int] = []
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self.receive, args=(n,)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def receive(self, number: int) -> None:
        """Wait for the update of one worker."""
        dist.recv(self.buffers[number], number + 1)
        with self.changed:
            self.order.append(number)
            self.changed.notify()

    def enough(self, quorum: int, grace: float) -> list[int]:
        """Return the workers whose updates arrived until the end of the round."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.order) >= quorum)
            everyone = len(self.buffers)
            self.changed.wait_for(lambda: len(self.order) == everyone, timeout=grace or 1e-9)
            return list(self.order)


def serve(case: Case, size: int, count: int) -> tuple[float, int]:
    """Do the rounds of the server; return seconds and merged updates."""
    flat, merged = torch.zeros(size), 0
    begin = time.perf_counter()
    for _ in range(case.rounds):
        for number in range(count):
            dist.send(flat, number + 1)
        arrivals = Arrivals(size, count)
        among = arrivals.enough(int(np.ceil(case.quorum * count)), case.grace)
        merged += len(among)
        flat -= 0.7 * torch.stack([arrivals.buffers[number] for number in among]).mean(0)
        for number in range(count):
            dist.send(torch.zeros(1), number + 1, tag=1)
        for thread in arrivals.threads:
            thread.join()
    return time.perf_counter() - begin, merged


def process(rank: int, repeats: int, only: str, out: str) -> None:
    """Go through all cases; rank 0 is the server and writes the results."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS + 1)
    groups = {n: dist.new_group(list(range(1, n + 1))) for n in (2, 3, 4)}
    job = Job()
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for case in CASES:
            if only not in case.name:
                continue
            count = len(case.pads)
            dist.barrier()
            rows_here = one_run(job, case, rank, groups[count], count)
            if rank == 0:
                rows.append({"case": case.name, "repeat": repeat, **rows_here})
                write_atomic(out, json.dumps(summary(rows, job.parameters), indent=2) + "\n")
                shown = {k: v for k, v in rows[-1].items() if k not in ("profile", "record")}
                print(json.dumps(shown), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def one_run(job: Job, case: Case, rank: int, group: Any, count: int) -> dict[str, Any]:
    """Measure, run, and on rank 0 predict."""
    measured: list[Any] = [None] * (WORKERS + 1)
    mine = None
    if 0 < rank <= count:
        mine = profile(job, case, rank, group, count)
    elif rank == 0 and case.exchange == "server":
        # The other end of the workers' transfers.
        threads = [threading.Thread(target=echo, args=(n + 1, job.parameters))
                   for n in range(count)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    dist.all_gather_object(measured, mine)
    seconds = 0.0
    job.reset()
    dist.barrier()
    begin = time.perf_counter()
    merged = 0
    if rank == 0 and case.exchange == "server":
        seconds, merged = serve(case, job.parameters, count)
    elif 0 < rank <= count:
        work(job, case, rank, group, count)
        seconds = time.perf_counter() - begin
    took: list[Any] = [None] * (WORKERS + 1)
    dist.all_gather_object(took, seconds)
    recorded: list[Any] = [None] * (WORKERS + 1)
    dist.all_gather_object(recorded, job.record(mine) if mine else None)
    if rank:
        return {}
    actual = took[0] if case.exchange == "server" else max(took[1:])
    before, during = ([m for m in found if m] for found in (measured, recorded))
    ahead, after = (predicted(case, found, job.parameters) for found in (before, during))
    return {
        "seconds": actual, "predicted_before": ahead, "error_before": ahead / actual - 1.0,
        "predicted_from_record": after, "error_from_record": after / actual - 1.0,
        "merged": merged, "profile": before, "record": during, "load": os.getloadavg()[0],
    }  # fmt: skip


def echo(rank: int, parameters: int) -> None:
    """Send back what a worker sends while it measures its connection."""
    for size in (1000, parameters):
        message = torch.empty(size)
        for _ in range(5):
            dist.recv(message, rank)
            dist.send(message, rank)


def summary(rows: list[dict[str, Any]], parameters: int) -> dict[str, Any]:
    """Return all runs, and mean errors with intervals by case and of all."""

    def errors(of: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {"runs": len(of)}
        for key in ("seconds", "predicted_before", "predicted_from_record", "load"):
            found[key] = float(np.mean([row[key] for row in of]))
        for key in ("error_before", "error_from_record"):
            values = [row[key] for row in of]
            ones = [(value, abs(value), 1.0) for value in values]
            found[key] = {
                "mean": as_data(score_sums(ones, lambda s: s[:, 0] / s[:, 2])),
                "absolute": as_data(score_sums(ones, lambda s: s[:, 1] / s[:, 2])),
                "largest": float(np.max(np.abs(values))),
                "within_10_percent": float(np.mean(np.abs(values) <= 0.1)),
            }
        return found

    names = list(dict.fromkeys(row["case"] for row in rows))
    paced = [row for row in rows if "full speed" not in row["case"]]
    return {
        "parameters": parameters,
        "cases": [asdict(case) for case in CASES],
        "by_case": {name: errors([r for r in rows if r["case"] == name]) for name in names},
        **({"all_but_full_speed": errors(paced)} if paced else {}),
        "runs": rows,
        "environment": environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--port", default="29611")
    parser.add_argument(
        "--out", default=str(Path(__file__).parent / "results" / "edge_calibration.json")
    )
    args = parser.parse_args()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": args.port}
    mp.start_processes(
        process, (args.repeats, args.only, args.out), WORKERS + 1, start_method="fork"
    )


if __name__ == "__main__":
    main()
