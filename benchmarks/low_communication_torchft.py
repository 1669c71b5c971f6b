"""DiLoCo of torchft on the same data, model and steps as ``low_communication.py``.

    pip install --target torchft --no-deps torchft==0.2.0
    pip install --target torchft opentelemetry-exporter-otlp-proto-http
    PYTHONPATH=torchft python benchmarks/low_communication_torchft.py data/wiki --steps 800
    PYTHONPATH=torchft python benchmarks/low_communication_torchft.py data/wiki --kill

Replicas are threads of one process with a lighthouse, as in torchft's own tests, and train with
``lacy.train.fit`` on the rows of our workers. torchft averages deltas with an all-reduce in float32
(its quantized one needs Triton and a GPU). Bytes are those of a ring: a replica sends
2 (k-1)/k of its payload and receives as much. With ``--kill``, replicas are processes; one is
killed after three exchanges, and the others report what they do.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import TCPStore

from lacy.diloco import DilocoSettings, held_out_losses, prepare_together
from lacy.disk import write_atomic
from lacy.run import environment
from lacy.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "low-communication-torchft.json"
WORKERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--sync-every", type=int, default=50)
    parser.add_argument("--batch-rows", type=int, default=8)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outer-lr", type=float, default=0.7)
    parser.add_argument("--outer-momentum", type=float, default=0.9)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--replica", type=int)
    parser.add_argument("--lighthouse")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    if args.replica is not None:
        replica(args, args.replica, args.lighthouse, print_steps=True)
        return
    names = ("steps", "sync_every", "model", "seed", "outer_lr", "outer_momentum", "kill")
    key = {name: getattr(args, name) for name in names}
    row = {**key, **(kill(args) if args.kill else train(args))}
    found = json.loads(args.results.read_text()) if args.results.exists() else {"runs": []}
    found["runs"] = [r for r in found["runs"] if not key.items() <= r.items()] + [row]
    found["conditions"] = {**environment(), "torchft": "0.2.0", "threads": 1}
    write_atomic(args.results, json.dumps(found, indent=1) + "\n")
    print(json.dumps(row))


def prepared(args: argparse.Namespace):
    config = TrainConfig(
        data=args.data, out=Path("unused"), model=args.model, steps=args.steps, seed=args.seed,
        batch_rows=args.batch_rows, hold_out=0.02, eval_rows=256, threads=1, quiet=True,
    )  # fmt: skip
    return prepare_together(config, DilocoSettings(workers=WORKERS, sync_every=args.sync_every))


def lighthouse(least: int):
    from torchft._torchft import LighthouseServer

    return LighthouseServer(
        bind="[::]:0", min_replicas=least, join_timeout_ms=10_000, heartbeat_timeout_ms=10_000
    )


def replica(args: argparse.Namespace, number: int, address: str, *, print_steps=False, worker=None):
    """Train one replica; return its model, its bytes, and the seconds of each exchange."""
    from torchft import Manager, ProcessGroupGloo
    from torchft.local_sgd import DiLoCo

    class Counting(ProcessGroupGloo):
        payload, calls = 0, 0

        def allreduce(self, tensors, opts):
            self.payload += sum(t.numel() * t.element_size() for t in tensors)
            self.calls += 1
            return super().allreduce(tensors, opts)

    worker = worker or prepared(args).worker(number)
    state, data = worker.state, worker.data
    group = Counting(timeout=timedelta(seconds=120))
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    manager = Manager(
        pg=group, min_replica_size=2, use_async_quorum=False, replica_id=f"replica-{number}",
        load_state_dict=state.model.load_state_dict, state_dict=state.model.state_dict,
        store_addr="localhost", store_port=store.port, rank=0, world_size=1,
        lighthouse_addr=address, timeout=timedelta(seconds=120),
        quorum_timeout=timedelta(seconds=120), init_sync=False,
    )  # fmt: skip
    outer = torch.optim.SGD(
        state.model.parameters(), lr=args.outer_lr, momentum=args.outer_momentum,
        nesterov=args.outer_momentum > 0,
    )  # fmt: skip
    batches = (data.batch(step) for step in range(args.steps))
    seen = time.monotonic()
    try:
        with DiLoCo(manager, [state.model], state.optimizers[0], outer, sync_every=args.sync_every):
            for done in fit(
                state, batches, lambda step: data.objective(step), lr=data.lr, clip=data.clip,
                seed=data.seed,
            ):  # fmt: skip
                if print_steps and done.step % args.sync_every == 0:
                    now = time.monotonic()
                    print(json.dumps({
                        "replica": number, "step": done.step, "loss": done.loss,
                        "replicas": manager.num_participants(), "seconds": round(now - seen, 2),
                    }), flush=True)  # fmt: skip
                    seen = now
    finally:
        manager.shutdown(wait=False)
    return state.model, group.payload, group.calls


def train(args: argparse.Namespace) -> dict:
    """Train four replicas as threads; return loss and bytes."""
    house, together = lighthouse(WORKERS), prepared(args)
    found: dict[int, tuple] = {}
    # Made one after another: first weights come from torch's generator, which threads share.
    workers = [together.worker(number) for number in range(WORKERS)]

    def one(number: int) -> None:
        found[number] = replica(args, number, house.address(), worker=workers[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.shutdown()
    model, payload, calls = found[0]
    sent = 2 * (WORKERS - 1) / WORKERS * payload
    return {
        **held_out_losses(model, together.valid, together.valid_rows, 32),
        "payload": payload, "calls": calls, "bytes": round(2 * sent * WORKERS),
    }  # fmt: skip


def kill(args: argparse.Namespace) -> dict:
    """Kill one of three processes with SIGKILL; return what all of them printed."""
    house = lighthouse(2)
    words = [sys.executable, __file__, *sys.argv[1:], "--lighthouse", house.address()]
    children = [
        subprocess.Popen(
            [*words, "--replica", str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "RUST_LOG": "error"},
        )
        for number in range(3)
    ]  # fmt: skip
    last = children[2]
    seen = [last.stdout.readline() for _ in range(3)]
    last.send_signal(signal.SIGKILL)
    outputs = [child.communicate(timeout=600) for child in children]
    house.shutdown()
    return {
        "killed": seen, "others": [out.splitlines() for out, _ in outputs[:2]],
        "codes": [child.returncode for child in children],
        "errors": [err.splitlines()[-3:] for _, err in outputs[:2]],
    }  # fmt: skip


if __name__ == "__main__":
    main()
