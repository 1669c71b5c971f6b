"""Training with several processes: the numbers of one, resuming, lost processes, clear errors."""

import json
import os
import re
import signal
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from helpers.processes import ended, running
from helpers.ranks import codes_of, in_ranks, ranks, torchrun, train_each
from helpers.waiting import PATIENCE, until
from lacy.cli import main
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.run import read_metrics
from lacy.train import MicroBatch, train
from lacy.train.checkpoint import newest, set_random_state
from lacy.train.fitting import _by_micro, _of_process
from lacy.train.processes import (
    Processes,
    naming_lost,
    require_devices,
    require_rows,
    rows_at_once,
)

CPU = torch.device("cpu")
MEASURED = ("loss", "text_loss", "call_loss", "token_loss", "call_rate", "grad_norm", "valid_loss",
            "valid_fact_loss", "valid_other_loss", "turnover")  # fmt: skip


def seen_by(rank, count):
    """The processes of a run, as one of them sees them."""
    return Processes(CPU, SimpleNamespace(process_index=rank, num_processes=count))


def rows_of(config):
    return read_metrics(config.out / "metrics.jsonl")


def assert_same_run(found, expected, within=1e-5):
    """The same rows of metrics, each once, up to rounding, which grows from step to step."""
    found, expected = rows_of(found), rows_of(expected)
    steps = [row["step"] for row in found if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys() and row["step"] == other["step"]
        for name in row.keys() & set(MEASURED):
            assert row[name] == pytest.approx(other[name], abs=within, rel=within), name
        assert row.get("call_rate") == other.get("call_rate")


def assert_same_weights(found, expected, within=1e-5):
    found, expected = (load_file(c.out / "model" / "model.safetensors") for c in (found, expected))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=within, msg=name)


# ------------------------------------------------------------------------------- parts of a batch


@given(rows=st.integers(1, 40), count=st.integers(1, 9))
def test_parts_are_the_rows_in_order_and_equally_long(rows, count):
    parts = [seen_by(rank, count).part(rows) for rank in range(count)]
    assert np.concatenate([own for own, _ in parts]).tolist() == list(range(rows))
    assert len({len(own) + added for own, added in parts}) == 1
    assert max(added for _, added in parts) <= 1
    if rows >= count:
        assert all(len(own) for own, _ in parts)


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), count=st.integers(1, 4))
def test_gathered_rows_are_sorted_by_micro_batch(sizes, count):
    named = [[(m, r, row) for m, size in enumerate(sizes) for row in range(size)]
             for r in range(count)]  # fmt: skip
    gathered = torch.tensor([name for rank in named for name in rank])
    ordered = _by_micro(gathered, sizes)
    assert ordered.tolist() == sorted(ordered.tolist()) == sorted(gathered.tolist())
    for rank in range(count):
        own = _of_process(ordered, sizes, rank).tolist()
        assert [[m, rank, row] for m, rank, row in named[rank]] == own


def test_added_rows_have_no_targets():
    ids = torch.arange(12).view(3, 4)
    whole = MicroBatch.of({"input_ids": ids, "marks": torch.full_like(ids, 5)}, CPU)
    micro = whole.without_targets(1)
    assert micro.valid_BT.sum(1).tolist() == [3, 3, 0] and not micro.marks_BT[2].any()
    assert torch.equal(micro.targets_BT[:2], whole.targets_BT[:2]) and whole.valid_BT[2].any()


def test_rows_at_once(config, monkeypatch):
    assert rows_at_once(config(batch_rows=12, grad_accum=2)) == 6
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert rows_at_once(config(batch_rows=12, grad_accum=2)) == 2


def test_a_process_that_is_new_has_random_numbers_of_its_own():
    torch.manual_seed(3)
    state = {"cpu": torch.get_rng_state()}
    drawn = []
    for rank in (0, 1, 2):
        set_random_state(state, rank, seed=7)
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] != drawn[1] != drawn[2]
    set_random_state({**state, "cpu.1": state["cpu"]}, 1, seed=7)
    assert torch.rand(4).tolist() == drawn[0]


# ---------------------------------------------------------------------------------------- errors


def test_what_cannot_work_is_refused(config, monkeypatch):
    require_devices(2, None)
    require_devices(2, 2)
    with pytest.raises(LacyError, match=r"E51.*2 processes .* 1 GPU.*\n.*--nproc-per-node 1"):
        require_devices(2, 1)
    require_rows(5, 1, 4)
    with pytest.raises(LacyError, match=r"E51.*1 row.*2 processes\n.*--batch-rows 4"):
        require_rows(2, 2, 2)
    for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with monkeypatch.context() as patch:
        patch.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(LacyError, match=r"E51.*FSDP.*\n.*torchrun"):
            train(config())
    with pytest.raises(LacyError, match=r"E51.*RANK and MASTER_ADDR.*\n.*torchrun"):
        train(config())


def test_only_the_first_process_prints_a_mistake(monkeypatch, capsys):
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "--batch-rows", "0"]) == 2
        assert ("[E45]" in capsys.readouterr().err) == (rank == "0")
    monkeypatch.setenv("WORLD_SIZE", "2")  # E51 may be the mistake of one machine
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for local in "01":
        monkeypatch.setenv("LOCAL_RANK", local)
        assert main(["train", "--data", "packed"]) == 2
        assert ("[E51]" in capsys.readouterr().err) == (local == "0")


def test_a_process_that_does_not_answer_ends_the_others_in_time(monkeypatch):
    """Gloo itself, with two ranks as threads; the second one never takes part in the exchange."""
    from torch.distributed import HashStore, ProcessGroupGloo

    monkeypatch.setenv("WORLD_SIZE", "2")
    store, groups = HashStore(), {}

    def join(rank):
        groups[rank] = ProcessGroupGloo(store, rank, 2, timedelta(seconds=PATIENCE))

    threads = [threading.Thread(target=join, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    options = torch.distributed.AllreduceOptions()
    options.timeout = timedelta(seconds=0.2)
    with pytest.raises(LacyError, match=r"E52.*imed out.*\n.*--max-restarts"), naming_lost():
        groups[0].allreduce([torch.zeros(1)], options).wait()


def test_other_errors_are_not_taken_for_a_lost_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="shapes"), naming_lost():
        raise RuntimeError("shapes do not match")


@pytest.mark.slow
def test_an_error_of_one_process_is_the_error_of_all(config, data, tmp_path):
    """And the processes can go on together after it."""
    busy = config(out=tmp_path / "busy")
    configs = [busy, config(batch_rows=1), config(data=tmp_path / "none"),
               config(seed=1, out=tmp_path / "seeds"),
               config(out=tmp_path / "good", steps=1)]  # fmt: skip
    with lock(busy.out):
        assert in_ranks(codes_of, configs, tmp_path) == [0, 0]
    errors = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert errors[0] == errors[1]
    assert [error[:4].strip() for error in errors[0]] == ["E150", "E51", "E13", "E51", ""]
    assert errors[0][3].endswith("they disagree about the seed: 0 and 1")
    assert (tmp_path / "good" / "model").is_dir() and not (tmp_path / "seeds" / "model").exists()


# ----------------------------------------------------------------------------- the numbers of one

CASES = {
    "plain": {"method": "none"},
    "exact": {},
    "two_pass": {"grad_accum": 2, "batch_rows": 6, "steps": 3},  # 3 rows for two processes
    "running": {"rate_control": "running", "grad_accum": 2, "steps": 3},
    "odd": {"batch_rows": 5, "steps": 3},
    "random": {"method": "random", "rate_control": "running", "steps": 3},
    "shard": {"grad_accum": 2, "steps": 3},
    "values": {"delegate": "value", "rank_within": "sequence", "steps": 2},
}


@pytest.mark.slow
def test_two_processes_equal_one(config, tmp_path):
    """Losses and weights of the same global batch; 13 rows of validation for two processes."""
    shared = {"steps": 4, "eval_every": 2, "hold_out": 0.15}
    ones = {n: config(**{**shared, **case}, out=tmp_path / f"{n}-1") for n, case in CASES.items()}
    twos = {
        name: replace(one, out=tmp_path / f"{name}-2", shard=name == "shard")
        for name, one in ones.items()
    }
    assert in_ranks(train_each, list(twos.values())) == [0, 0]
    train_each(ones.values())
    for name, one in ones.items():
        assert_same_run(twos[name], one)
        assert_same_weights(twos[name], one, within=1e-4 if name in ("random", "values") else 1e-5)
    environment = json.loads((twos["plain"].out / "environment.json").read_text())
    assert environment["processes"] == 2


@pytest.mark.slow
def test_parts_of_a_model_are_trained_by_two_processes(config, tmp_path):
    train(config(out=tmp_path / "base", steps=1))
    shared = {"model": str(tmp_path / "base"), "steps": 2}
    ones = [config(**shared, depth=d, out=tmp_path / f"{d}-1") for d in ("row", "lora", "last=1")]
    twos = [replace(one, out=tmp_path / f"{one.depth}-2") for one in ones]
    assert in_ranks(train_each, twos) == [0, 0]
    train_each(ones)
    for one, two in zip(ones, twos, strict=True):
        assert_same_run(two, one)
        assert_same_weights(two, one)


# ---------------------------------------------------------------------- stopping, resuming, killing


def stopped_at(config):
    """The step of the newest checkpoint."""
    return int(newest(config.out).name.removeprefix("step-"))


@pytest.mark.slow
def test_one_then_two_then_one_process_is_the_run_of_one(config, tmp_path):
    """A signal to any process stops all; the same command goes on with another number of them."""
    steps = {"steps": 60, "rate_control": "two_pass"}
    whole = config(**steps, out=tmp_path / "whole")
    parts = config(**steps, out=tmp_path / "parts", grad_accum=2)
    with running(train, parts) as process:
        until(lambda: len(rows_of(parts)) >= 5, process)
        os.kill(process.pid, signal.SIGTERM)
        assert ended(process, PATIENCE) == 0
    first = stopped_at(parts)
    parts = replace(parts, grad_accum=1, shard=True)
    with ranks(train, parts) as processes:
        until(lambda: len(rows_of(parts)) >= first + 5, processes[0])
        os.kill(processes[1].pid, signal.SIGTERM)
        assert [ended(process, PATIENCE) for process in processes] == [0, 0]
    assert first < stopped_at(parts) < 60
    parts = replace(parts, shard=False)
    assert train(parts).finished and train(whole).finished
    assert_same_run(parts, whole, within=1e-4)


def argv_of(config, *more):
    return ["train", "--data", str(config.data), "--out", str(config.out), "--model", "tiny",
            "--steps", str(config.steps), "--batch-rows", "4", "--call-rate", "0.1",
            "--log-every", "1", "--save-every", "3", "--dtype", "fp32", *more]  # fmt: skip


@pytest.mark.slow
def test_a_killed_process_ends_the_others_with_a_message(config, tmp_path):
    run = config(steps=400)
    errors = [tmp_path / "0.txt", tmp_path / "1.txt"]
    with ranks(main, argv_of(run, "--quiet"), stderr=errors) as processes:
        until(lambda: len(rows_of(run)) >= 8, processes[0])
        processes[1].kill()
        assert ended(processes[0], PATIENCE) == 4
    said = errors[0].read_text()
    assert said.startswith("[E52] another process of this run has ended")
    assert "Traceback" not in said and len(said.splitlines()) == 2
    assert stopped_at(run) >= 6


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again(config, tmp_path):
    """From the last checkpoint, with each step once in the metrics, and one process printing."""
    run, whole = config(steps=30), config(steps=30, out=tmp_path / "one")
    with running(torchrun, argv_of(run), 1, str(tmp_path)) as agent:
        until(lambda: len(rows_of(run)) >= 8, agent)
        os.kill(int((tmp_path / "1-0.pid").read_text()), signal.SIGKILL)
        assert ended(agent, PATIENCE) == 0
    assert (tmp_path / "1-1.pid").exists()
    train(whole)
    assert_same_run(run, whole, within=1e-4)
    assert_same_weights(run, whole, within=1e-3)
    said = (tmp_path / "stdout").read_text()
    assert len(re.findall(r"resuming at step \d+", said)) == 1
    assert said.count("done in") == said.count("Next: lacy generate") == 1
