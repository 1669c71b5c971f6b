"""A killed run resumes as if nothing had happened; several processes equal one."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lacy.config import dump_commented
from lacy.run import read_metrics
from lacy.train import train
from lacy.train.checkpoint import newest

pytestmark = pytest.mark.slow

RUN = """import sys
from lacy.config import load
from lacy.train import TrainConfig, train

train(load(TrainConfig, sys.argv[1]))
"""


def losses(out):
    return [
        (row["step"], row["loss"], row["grad_norm"]) for row in read_metrics(out / "metrics.jsonl")
    ]


def start(config, tmp_path, env=None):
    settings = tmp_path / f"{config.out.name}.yaml"
    settings.write_text(dump_commented(config))
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(settings)]
    return subprocess.Popen(command, env={**os.environ, **(env or {})})


def test_killed_in_the_middle_and_resumed(config, tmp_path):
    whole = config(steps=60, out=tmp_path / "whole", save_every=7)
    killed = config(steps=60, out=tmp_path / "killed", save_every=7)
    process = start(killed, tmp_path)
    try:
        deadline = time.monotonic() + 300
        while len(read_metrics(killed.out / "metrics.jsonl")) < 25:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    done = len(read_metrics(killed.out / "metrics.jsonl"))
    assert 25 <= done < 60 and not (killed.out / "model").exists()
    assert newest(killed.out) is not None
    assert train(killed).finished and train(whole).finished
    assert losses(killed.out) == losses(whole.out)
    assert len(losses(whole.out)) == 60
    names = ("model/model.safetensors", "stable/model.safetensors")
    assert all((killed.out / n).read_bytes() == (whole.out / n).read_bytes() for n in names)


def test_two_processes_equal_one(config, tmp_path):
    """Gathered losses, one choice, averaged gradients: the numbers of one process."""
    one = config(steps=5, out=tmp_path / "one")
    two = config(steps=5, out=tmp_path / "two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2",
              "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}  # fmt: skip
    ranks = [
        start(two, tmp_path, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in ranks] == [0, 0]
    train(one)
    found, expected = (
        read_metrics(two.out / "metrics.jsonl"),
        read_metrics(one.out / "metrics.jsonl"),
    )
    assert len(found) == 5
    for row, other in zip(found, expected, strict=True):
        for name in ("loss", "text_loss", "call_loss", "call_rate", "grad_norm", "tokens"):
            assert row[name] == pytest.approx(other[name], rel=1e-4), (row["step"], name)
