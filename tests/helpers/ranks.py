"""The processes of one training run, as ``torchrun`` starts them, but forked at once."""

import contextlib
import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

from helpers.processes import ended, running
from helpers.waiting import PATIENCE


@contextlib.contextmanager
def ranks(function, *args, count=2, stderr=()):
    """``function(*args)`` in ``count`` processes that find each other; killed when the block ends.

    ``stderr`` are files for their standard errors. Yields the processes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        started = []
        for rank in range(count):
            env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            where = {"stderr": stderr[rank]} if stderr else {}
            started.append(stack.enter_context(running(function, *args, env=env, **where)))
        yield started


def in_ranks(function, *args, count=2):
    """Run ``function(*args)`` in ``count`` processes, and return their exit codes."""
    with ranks(function, *args, count=count) as processes:
        return [ended(process, PATIENCE) for process in processes]


def train_each(configs):
    """Train one run after the other, as a script may do."""
    from lacy.train import train

    for config in configs:
        train(config)


def codes_of(configs, folder):
    """Try several runs, and write their errors; a run with a seed takes the rank as its seed."""
    from lacy.errors import LacyError
    from lacy.train import train

    rank, codes = int(os.environ["RANK"]), []
    for config in configs:
        try:
            train(replace(config, seed=rank) if config.seed else config)
            codes.append("")
        except LacyError as error:
            codes.append(f"{error.code} {error.what}")
    Path(folder, f"{rank}.json").write_text(json.dumps(codes), encoding="utf-8")


def torchrun(argv, restarts, folder):
    """``torchrun --nproc-per-node 2 --max-restarts RESTARTS -m lacy ARGV``, with forked workers.

    ``folder`` receives ``stdout``, and ``RANK-RESTART.pid`` of each worker.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.update({"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"})
    with open(Path(folder, "stdout"), "ab") as file:
        os.dup2(file.fileno(), 1)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, start_method="fork", max_restarts=restarts,
        rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", monitor_interval=0.1, run_id="test",
    )  # fmt: skip
    elastic_launch(config, _worker)(argv, folder)


def _worker(argv, folder):
    from lacy.cli import main

    name = f"{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}.pid"
    Path(folder, name).write_text(str(os.getpid()), encoding="utf-8")
    if code := main(argv):
        sys.exit(code)
