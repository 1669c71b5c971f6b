"""Real processes over gloo: equal to one process, workers that are killed, and those that join."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file

from helpers.processes import running
from helpers.waiting import until
from lacy.diloco import DilocoSettings, join, meeting_store, prepare_together, pretrain, work_for
from lacy.diloco.distributed import ServerLoop
from lacy.diloco.running import _work
from lacy.errors import LacyError

EXCHANGE = {"workers": 2, "sync_every": 2, "codec": "int4", "timeout": 300.0}


def weights(out):
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.parametrize("exchange", [{}, {"codec": "topk", "down": "relay"}, {"overlap": 1}])
def test_workers_over_gloo_equal_workers_in_turn(together, finish, exchange):
    """Threads instead of processes, which start at once; the bytes travel over gloo as well."""
    prepared = together({"steps": 4}, **{**EXCHANGE, **exchange})
    here, _, rows = finish(prepared)
    server = prepared.server(prepared.make_model())
    store = meeting_store("127.0.0.1:0", server=True, seconds=60)
    workers = [prepared.worker(number) for number in range(2)]
    place = f"127.0.0.1:{store.port}"  # a store is not shared by threads: one may wait in it
    stores = [meeting_store(place, server=False, seconds=60) for _ in workers]
    threads = [
        threading.Thread(target=work_for, args=pair) for pair in zip(stores, workers, strict=True)
    ]
    for thread in threads:
        thread.start()
    found = []
    ServerLoop(server, store, lambda row: bool(found.append(row))).run()
    for thread in threads:
        thread.join()
    for worker in workers:
        assert all(torch.equal(here.outer.weights[n], t) for n, t in worker.base.weights.items())
    assert [row["loss"] for row in found] == [row["loss"] for row in rows]
    for name in ("bytes_up", "bytes_down"):
        start = found[0][name] - rows[0][name]  # here, the first weights are sent as well
        assert [row[name] - start for row in found] == [row[name] for row in rows]


@pytest.mark.slow
def test_processes_and_one_process_give_equal_models(config, tmp_path):
    settings = DilocoSettings(**EXCHANGE)
    here = pretrain(config(out=tmp_path / "here"), settings)
    apart = pretrain(config(out=tmp_path / "apart"), settings, processes=True)
    assert here.finished and apart.finished
    first, second = weights(here.out), weights(apart.out)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("bytes_up", "bytes_down", "valid_loss", "tokens", "call_rate"):
        assert here.metrics[name] == apart.metrics[name], name


@pytest.mark.slow
def test_a_killed_worker_is_left_out_and_can_join_again(config):
    settings = DilocoSettings(**EXCHANGE)
    run = config(steps=400)
    prepared = prepare_together(run, settings)
    server = prepared.server(prepared.make_model())
    store = meeting_store("127.0.0.1:0", server=True, seconds=60)
    place = f"127.0.0.1:{store.port}"
    rows, end = [], threading.Event()
    loop = ServerLoop(server, store, lambda row: rows.append(row) or end.is_set())
    thread = threading.Thread(target=loop.run)
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(running(_work, run, settings, place, number)) for number in range(2)
        ]
        thread.start()
        try:
            until(lambda: len(rows) >= 2)
            os.kill(children[1].pid, signal.SIGKILL)
            until(lambda: rows[-1]["workers"] == 1)
            assert "worker 1 is gone" in server.reasons
            alone = len(rows)
            until(lambda: len(rows) >= alone + 2)  # the other one goes on
            stack.enter_context(running(_work, run, settings, place, 1))
            until(lambda: rows[-1]["workers"] == 2)
        finally:
            end.set()
            thread.join()
    assert all(torch.isfinite(t).all() for t in server.outer.weights.values())


def test_a_worker_with_other_settings_is_refused(config):
    settings = DilocoSettings(**EXCHANGE)
    prepared = prepare_together(config(), settings)
    store = meeting_store("127.0.0.1:0", server=True, seconds=60)
    loop = ServerLoop(prepared.server(prepared.make_model()), store, lambda row: False)
    admit = threading.Thread(target=until, args=(lambda: loop._admit() or loop._joined == 2,))
    admit.start()
    with pytest.raises(LacyError, match=r"E360.*other settings"):
        other = DilocoSettings(**{**EXCHANGE, "codec": "f32"})
        join(config(), other, f"127.0.0.1:{store.port}", 0)
    worker = prepared.worker(0)
    worker.number = 9
    with pytest.raises(LacyError, match=r"E360.*worker 9 is taken"):
        work_for(meeting_store(f"127.0.0.1:{store.port}", server=False, seconds=60), worker)
    admit.join()


def test_without_a_server_or_with_a_bad_address_there_is_an_error(config):
    for address in ("127.0.0.1", "nowhere:x", "127.0.0.1:9"):
        with pytest.raises(LacyError, match="E360"):
            meeting_store(address, server=False, seconds=0.2)


def test_workers_that_never_come_end_the_wait(config):
    settings = DilocoSettings(**{**EXCHANGE, "timeout": 0.2})
    prepared = prepare_together(config(), settings)
    store = meeting_store("127.0.0.1:0", server=True, seconds=60)
    loop = ServerLoop(prepared.server(prepared.make_model()), store, lambda row: False)
    with pytest.raises(LacyError, match=r"E360.*0 of 2 workers"):
        loop.run()


SCRIPT = """
import sys
from pathlib import Path
from lacy.diloco import DilocoSettings, meeting_store, prepare_together, serve
from lacy.diloco import torchrun_place, work_for
from lacy.train import TrainConfig
data, out = map(Path, sys.argv[1:])
config = TrainConfig(data=data, out=out, model="tiny", steps=4,
                     batch_rows=4, hold_out=0.1, threads=1, quiet=True, eval_rows=8)
settings = DilocoSettings(workers=1, sync_every=2, codec="int8", timeout=300.0)
rank, address, hosts = torchrun_place()
store = meeting_store(address, server=hosts, seconds=60)
if rank == 0:
    serve(config, settings, store)
else:
    work_for(store, prepare_together(config, settings).worker(rank - 1))
"""


@pytest.mark.slow
def test_torchrun_starts_server_and_worker(data, tmp_path):
    script = tmp_path / "together.py"
    script.write_text(SCRIPT)
    words = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
        str(script), str(data), str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
