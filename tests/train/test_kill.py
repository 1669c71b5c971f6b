"""A killed run resumes as if nothing had happened; several processes equal one."""

import signal
import socket

import pytest

from helpers.processes import ended, running
from helpers.waiting import PATIENCE, until
from lacy.run import read_metrics
from lacy.train import train
from lacy.train.checkpoint import newest

pytestmark = pytest.mark.slow


def losses(out):
    return [
        (row["step"], row["loss"], row["grad_norm"]) for row in read_metrics(out / "metrics.jsonl")
    ]


def test_killed_in_the_middle_and_resumed(config, tmp_path):
    whole = config(steps=60, out=tmp_path / "whole", save_every=7)
    killed = config(steps=60, out=tmp_path / "killed", save_every=7)
    with running(train, killed) as process:
        until(lambda: len(read_metrics(killed.out / "metrics.jsonl")) >= 25, process, pause=0.003)
    assert process.exitcode == -signal.SIGKILL
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
              "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    ranks = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    with running(train, two, env=ranks[0]) as first, running(train, two, env=ranks[1]) as second:
        assert [ended(process, PATIENCE) for process in (first, second)] == [0, 0]
    train(one)
    found, expected = (
        read_metrics(two.out / "metrics.jsonl"),
        read_metrics(one.out / "metrics.jsonl"),
    )
    assert len(found) == 5
    for row, other in zip(found, expected, strict=True):
        for name in ("loss", "text_loss", "call_loss", "call_rate", "grad_norm", "tokens"):
            assert row[name] == pytest.approx(other[name], rel=1e-4), (row["step"], name)
