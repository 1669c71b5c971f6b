"""Packed biographies of a small made-up world, and runs of a tiny model on them."""

import dataclasses
from pathlib import Path

import pytest
import torch

from helpers.packed import write_packed
from lacy.diloco import DilocoSettings, prepare_together, run_in_process
from lacy.train import TrainConfig

CONTEXT = 32


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "data"
    return write_packed(folder, texts=12, context=CONTEXT)


@pytest.fixture
def config(data, tmp_path):
    """Settings of a quick run; ``config(steps=5)`` changes some."""

    def make(**changes) -> TrainConfig:
        quick = {
            "data": data, "out": tmp_path / "run", "model": "tiny", "steps": 8, "batch_rows": 4,
            "call_rate": 0.1, "hold_out": 0.1, "threads": 1, "quiet": True, "eval_rows": 8,
        }  # fmt: skip
        return TrainConfig(**{**quick, **changes})

    return make


@pytest.fixture
def together(config):
    """Prepare a run; settings of the exchange by name, others of training in ``train``."""

    def make(train=None, **exchange):
        settings = DilocoSettings(**{"workers": 2, "sync_every": 2, "codec": "f32", **exchange})
        return prepare_together(config(**(train or {})), settings)

    return make


@pytest.fixture
def finish():
    """Run a prepared training in this process; returns the server, its workers and the figures."""

    def run(prepared, stop=None):
        server = prepared.server(prepared.make_model())
        workers = [prepared.worker(number) for number in range(prepared.settings.workers)]
        for worker in workers:
            worker.welcome(server.welcome(counted=False), server.outer.state_dict())
        rows = []

        def on_round(row):
            rows.append(row)
            return len(rows) == stop

        run_in_process(server, workers, on_round)
        return server, workers, rows

    return run


def equal(first, second):
    """True if two sets of tensors are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def changed(settings, **changes):
    return dataclasses.replace(settings, **changes)
