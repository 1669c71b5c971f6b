"""A killed run resumes as if nothing had happened."""

import signal

import pytest

from helpers.processes import running
from helpers.waiting import until
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
