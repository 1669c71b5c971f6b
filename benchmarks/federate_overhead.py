"""Compare a federation in one process with Flower's own strategies: time, memory, results.

    ENV/bin/python benchmarks/federate_overhead.py --out benchmarks/results/federate_overhead.json

ENV is an environment with Flower (``make federate``). Both sides run the same clients, whose
training is a small computation on a million numbers: 4 clients, 3 rounds. Overhead is everything
but the clients' own time. Flower's multi-Krum weights by samples, so there all have equally many.
Flower's side is its ``FedAvg`` on a ``Grid`` in this process, without
Ray and without a network, which is the fastest way to run it. Memory is the peak of a fresh process
with 50 clients, above that of a process with a state and no clients.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
import torch

from lacy.federate import FederateSettings, FederationServer, InProcess, derived_seed
from lacy.run import environment
from lacy.types import Update

VALUES, TENSORS = 1_000_000, 10
STRATEGIES = {
    "mean": {}, "median": {}, "trimmed-mean": {"malicious": 1}, "krum": {"malicious": 1},
    "multi-krum": {"malicious": 1, "equal": True},
}  # fmt: skip


def begin():
    return {f"w{n}": torch.zeros(VALUES // TENSORS) for n in range(TENSORS)}


class Numbers:
    """A client whose training takes milliseconds; it adds up its own seconds."""

    seconds = cpu = 0.0

    def __init__(self, number, equal=False):
        self.number, self.samples = number, 100 if equal else 100 + 10 * number

    def train(self, state, round):
        """Move half of the way to one, with noise."""
        start, cpu = time.perf_counter(), time.process_time()
        random = np.random.default_rng(derived_seed(0, round, self.number))
        delta = {
            name: (1.0 - tensor) / 2
            + 0.1 * torch.from_numpy(random.standard_normal(len(tensor), dtype=np.float32))
            for name, tensor in state.items()
        }
        Numbers.seconds += time.perf_counter() - start
        Numbers.cpu += time.process_time() - cpu
        return Update(delta, self.samples, round, "m")


def ours(clients, rounds, equal=False, **settings):
    """Return seconds, seconds of the clients, and the state."""
    Numbers.seconds = Numbers.cpu = 0.0
    start = time.perf_counter()
    server = FederationServer(begin(), FederateSettings(rounds=rounds, **settings), model="m")
    transport = InProcess({f"c{n:02}": Numbers(n, equal) for n in range(clients)})
    while not server.finished:
        server.run_round(transport)
        assert server.rounds[-1].changed
    return time.perf_counter() - start, Numbers.seconds, dict(server.state)


def flowers(clients, rounds, strategy="mean", malicious=0, equal=False):
    """The same with Flower's strategy."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp import Grid
    from flwr.serverapp import strategy as strategies
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1

    class OneProcess(Grid):
        """Answers messages in this process."""

        run = None

        def set_run(self, run):
            pass

        def create_message(self, *args, **how):
            return Message(*args, **how)

        def get_node_ids(self):
            return list(range(1, clients + 1))

        # Abstract in Grid, and not called by strategies, which use send_and_receive.
        def push_messages(self, messages):
            raise NotImplementedError

        def pull_messages(self, message_ids):
            raise NotImplementedError

        def send_and_receive(self, messages, *, timeout=None):
            replies = []
            for message in messages:
                number = message.metadata.dst_node_id - 1
                round = int(message.content["config"]["server-round"])
                arrays = message.content["arrays"]
                state = {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}
                update = Numbers(number, equal).train(state, round)
                new = ArrayRecord({n: Array((state[n] + d).numpy())
                                   for n, d in update.delta.items()})  # fmt: skip
                metrics = MetricRecord({"num-examples": update.samples})
                reply = Message(RecordDict({"arrays": new, "metrics": metrics}), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = number + 1
                replies.append(reply)
            return replies

    everyone = {"fraction_evaluate": 0.0, "min_available_nodes": clients}
    chosen = {
        "mean": lambda: strategies.FedAvg(**everyone),
        "median": lambda: strategies.FedMedian(**everyone),
        "trimmed-mean": lambda: strategies.FedTrimmedAvg(
            beta=malicious / clients + 1e-9, **everyone
        ),
        "krum": lambda: strategies.Krum(num_malicious_nodes=malicious, **everyone),
        "multi-krum": lambda: strategies.MultiKrum(
            num_malicious_nodes=malicious, num_nodes_to_select=clients - malicious, **everyone
        ),
    }[strategy]()
    Numbers.seconds = Numbers.cpu = 0.0
    start = time.perf_counter()
    arrays = ArrayRecord({name: Array(tensor.numpy()) for name, tensor in begin().items()})
    result = chosen.start(OneProcess(), arrays, num_rounds=rounds)
    seconds = time.perf_counter() - start
    state = {name: torch.from_numpy(array.numpy()) for name, array in result.arrays.items()}
    return seconds, Numbers.seconds, state


def apart(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def peak(clients, strategy):
    """Peak memory of a fresh process in bytes."""
    code = f"import federate_overhead as f; f.inner({clients}, {strategy!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return int(done.stdout.split()[-1])


def inner(clients, strategy):
    if clients:
        ours(clients, 1, strategy=strategy)
    else:
        begin()
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    timed = {}
    for name, run in (("lacy", ours), ("flower", flowers)):
        run(4, 1)  # warm-up
        overheads = []
        for _ in range(arguments.repeats):
            cpu = time.process_time()
            seconds, own, _ = run(4, 3)
            overheads.append((seconds - own, time.process_time() - cpu - Numbers.cpu))
        timed[name] = {
            "overhead_s": round(statistics.median(o for o, _ in overheads), 3),
            "overhead_s_min": round(min(o for o, _ in overheads), 3),
            "overhead_cpu_s_min": round(min(c for _, c in overheads), 3),
        }
    equal = {
        name: apart(ours(5, 3, strategy=name, **how)[2], flowers(5, 3, name, **how)[2])
        for name, how in STRATEGIES.items()
    }
    base = peak(0, "mean")
    memory = {
        f"{count} clients, {name}": peak(count, name)
        for count, name in ((4, "mean"), (50, "mean"), (50, "median"))
    }
    found = {
        "clients": 4, "rounds": 3, "parameters": VALUES, "repeats": arguments.repeats,
        "time": timed, "difference": equal, "memory_process": base, "memory_peak": memory,
        "load": os.getloadavg()[0], "threads": 1, "environment": environment(),
    }  # fmt: skip
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
