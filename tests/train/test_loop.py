import json
import os
import shutil
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM

from lacy.cascade import Engine
from lacy.corpus import PackedData
from lacy.corpus.packed import DataInfo
from lacy.errors import LacyError
from lacy.model import load_model
from lacy.run import read_metrics
from lacy.train import dry_run, loop, train
from lacy.train.checkpoint import checkpoints, newest, resume_candidates
from lacy.train.choices import check_rate

TIMES = ("seconds", "tokens_per_second")


def metrics(result):
    """Return all rows without the entries that depend on the clock."""
    rows = read_metrics(result.out / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def weights(path):
    return load_model(path).model.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def refused(config, code):
    with pytest.raises(LacyError) as caught:
        train(config)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def test_a_run_learns_text_and_calls(config):
    result = train(config(steps=60, batch_rows=8, lr=1e-2, hold_out=0.1, eval_every=30, valid=None))
    rows = metrics(result)
    trained = [row for row in rows if "loss" in row]
    assert [row["step"] for row in trained] == list(range(1, 61))
    assert trained[-1]["text_loss"] < 0.6 * trained[0]["text_loss"]
    assert trained[-1]["call_loss"] < 0.6 * trained[0]["call_loss"]
    rates = [row["call_rate"] for row in trained]
    assert max(rates) < 0.102  # a small batch may hold fewer marks, never more calls
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.005)
    measured = [row for row in rows if "valid_loss" in row]
    assert [row["step"] for row in measured] == [30, 60]
    assert measured[1]["valid_other_loss"] < measured[0]["valid_other_loss"]
    assert 0 <= measured[1]["turnover"] <= 1 and "turnover" not in measured[0]

    assert result.finished and result.metrics["step"] == 60
    loaded = load_model(result.out)
    assert loaded.meta["training"]["settings"]["call_rate"] == 0.1
    plain = AutoModelForCausalLM.from_pretrained(result.out / "model")
    assert same(plain.state_dict(), loaded.model.state_dict())
    assert "library_name: transformers" in (result.out / "README.md").read_text()
    assert json.loads((result.out / "environment.json").read_text())["reasons"]


def test_log_lines_are_means_of_their_steps(config, tmp_path):
    every = metrics(train(config(steps=6)))
    thirds = metrics(train(config(steps=6, log_every=4, out=tmp_path / "thirds")))
    assert [row["step"] for row in thirds] == [4, 6]
    assert thirds[0]["grad_norm"] == pytest.approx(
        sum(row["grad_norm"] for row in every[:4]) / 4, rel=1e-6
    )
    assert thirds[1]["loss"] == pytest.approx(sum(row["loss"] for row in every[4:]) / 2, rel=1e-2)


def stop_after(step):
    """Simulate a signal in this step; the next step sees it."""

    def due(self):
        if self.session.state.step == step:
            self.received.append("a signal")
        return False

    return due


@pytest.mark.parametrize(
    "changes",
    [{}, {"log_every": 4}, {"optimizer": "muon"}, {"method": "random"}, {"call_warmup": 0.5},
     {"grad_accum": 2}, {"grad_accum": 2, "rate_control": "running"},
     {"delegate": "value", "grad_accum": 2}, {"delegate": "start", "eval_every": 2},
     {"rank_within": "sequence", "delegate": "value"},
     {"hold_out": 0.1, "eval_every": 2}],
    ids=str,
)  # fmt: skip
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(config, tmp_path, monkeypatch, changes):
    whole = train(config(**changes, steps=8, out=tmp_path / "whole"))
    stopping = config(**changes, steps=8, out=tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_save_is_due", stop_after(4))
        first = train(stopping)
    assert not first.finished and first.step == 5
    torch.manual_seed(123)  # whatever else the process did in between
    second = train(stopping)
    assert second.finished
    assert metrics(second) == metrics(whole)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_saves_and_stops(config, monkeypatch, name):
    before = signal.getsignal(getattr(signal, name))
    steps = []

    def count(self, row):
        steps.append(row["step"])
        if len(steps) == 3:
            os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(loop.Console, "metrics", count)
    result = train(config(steps=50))
    assert (result.finished, result.stopped) == (False, name)
    assert newest(result.out).name == f"step-{result.step:08d}"
    assert result.step < 8 and not (result.out / "model").exists()
    assert signal.getsignal(getattr(signal, name)) is before
    assert load_model(result.out).meta["training"]["step"] == result.step


def test_checkpoints_are_kept_pruned_and_opened(config):
    result = train(config(steps=9, save_every=2, keep=2))
    assert [path.name for path in checkpoints(result.out)] == ["step-00000006", "step-00000008"]
    assert load_model(newest(result.out)).meta["training"]["step"] == 8
    hidden = [p for p in (result.out / "checkpoints").iterdir() if p.name.startswith(".")]
    assert hidden == []


def test_a_finished_run_is_not_trained_again(config, capsys):
    result = train(config(quiet=False))
    stamp = (result.out / "model" / "model.safetensors").stat().st_mtime_ns
    again = train(config(quiet=False))
    assert again.finished and again.metrics["loss"] == result.metrics["loss"]
    assert (result.out / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    assert "is finished" in capsys.readouterr().out


def test_a_fork_decays_the_stable_checkpoint(config, tmp_path):
    base = train(config(steps=10, decay=0.2))
    assert (base.out / "stable").is_dir()
    fork = config(steps=3, fork=base.out, decay_shape="linear", out=tmp_path / "fork")
    result = train(fork)
    assert (result.step, result.finished) == (11, True)
    rates = [row["lr"] for row in metrics(result)]
    assert rates == sorted(rates, reverse=True) and rates[0] < 3e-3
    assert rates == pytest.approx([3e-3 * left for left in (5 / 6, 3 / 6, 1 / 6)])


def test_fork_with_the_same_decay_is_the_run_itself(config, tmp_path):
    base = train(config(steps=10, decay=0.2, decay_shape="linear"))
    fork = train(config(steps=2, fork=base.out, decay_shape="linear", out=tmp_path / "fork"))
    assert metrics(fork) == metrics(base)[8:]
    assert same(weights(fork.out), weights(base.out))
    preset = load_model(base.out).meta["preset"]
    assert preset is not None and load_model(fork.out).meta["preset"] == preset


def test_from_another_checkpoint_without_its_optimizer(config, tmp_path):
    base = train(config())
    result = train(config(model=str(base.out), steps=2, lr=1e-9, out=tmp_path / "second"))
    assert result.step == 2
    for name, value in weights(result.out).items():
        torch.testing.assert_close(value, weights(base.out)[name], atol=1e-6, rtol=0)


def test_the_warm_up_of_calls_trains_a_plain_model(config, tmp_path):
    late = metrics(train(config(call_warmup=0.5)))
    plain = metrics(train(config(method="none", out=tmp_path / "plain")))
    assert [row["call_rate"] > 0 for row in late] == [False] * 3 + [True] * 3
    assert late[:3] == plain[:3]


def test_too_few_marks_in_the_batches_are_reported(config, capsys):
    train(config(call_rate=0.17, quiet=False))
    assert "fewer marks" in capsys.readouterr().out


def test_other_settings_in_the_same_folder_are_refused(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_save_is_due", stop_after(2))
        assert not train(config()).finished
    assert "adamw" in refused(config(optimizer="muon"), "E17")
    assert train(config()).finished
    assert "lr" in refused(config(lr=1e-4), "E17")
    assert train(config(log_every=3, keep=1)).finished


def test_more_calls_than_marks(config, data):
    info = PackedData.load(data).info
    share = info.flags["FACT"] / (info.tokens - info.segments)
    assert f"only {share:.1%} of the targets" in refused(config(call_rate=0.3), "E46")
    assert not config().out.exists()
    train(config(call_rate=0.3, method="loss_top", steps=1))


def test_fewer_values_than_the_rate_are_normal(config, data, tmp_path, capsys):
    info = PackedData.load(data).info
    share = info.flags["START"] / (info.tokens - info.segments)
    last = train(config(call_rate=0.17, delegate="start", quiet=False)).metrics
    said = capsys.readouterr().out
    assert f"{share:.1%} of the targets begin a value; all are delegated" in said
    assert "fewer marks" not in said and 0 < last["call_rate"] < 2 * share < 0.17
    large = config(delegate="value", batch_rows=32, quiet=False, out=tmp_path / "value")
    train(large)
    assert "contained" not in capsys.readouterr().out
    changes = {"rank_within": "sequence", "delegate": "value", "out": tmp_path / "short"}
    train(config(**changes, quiet=False))
    assert "some sequences contained no more values that fit completely" in capsys.readouterr().out
    assert "only" in refused(config(call_rate=0.3, delegate="value", out=tmp_path / "o"), "E46")


def test_data_without_a_start_has_none_to_delegate(config):
    info = DataInfo(48, "x", 300, tokens=100, flags={"FACT": 50})
    with pytest.raises(LacyError, match="starts of values") as caught:
        check_rate(config(delegate="start"), info)
    assert caught.value.code == "E46"
    assert check_rate(config(), info) == ""


def test_a_nan_loss_leaves_the_last_good_checkpoint(config, monkeypatch):
    good = config(steps=20, save_every=4)
    step = loop.Session.batch

    def poisoned(self, number):
        if number == 9:
            next(self.state.model.parameters()).data.fill_(float("nan"))
        return step(self, number)

    monkeypatch.setattr(loop.Session, "batch", poisoned)
    message = refused(good, "E47")
    assert "step-00000008 is intact" in message
    assert [path.name for path in checkpoints(good.out)] == ["step-00000004", "step-00000008"]
    assert all(torch.isfinite(value).all() for value in weights(good.out).values())
    monkeypatch.setattr(loop.Session, "batch", step)
    assert train(good).finished


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_too_little_memory(config, monkeypatch, error):
    def fail(self, *args, **kwargs):
        raise error

    monkeypatch.setattr("lacy.train.fitting.FitState.gradients", fail)
    assert "--grad-accum 2" in refused(config(), "E48")


def test_changed_data_and_damaged_state(config, data, tmp_path, monkeypatch):
    quick = config(steps=6, save_every=2)
    monkeypatch.setattr(loop._Loop, "_finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(quick)
    monkeypatch.undo()
    place = newest(quick.out)
    info = json.loads((place / "trainer.json").read_text())
    changed = {**info, "data": {**info["data"], "rows": 1}}
    (place / "trainer.json").write_text(json.dumps(changed))
    assert "data have changed" in refused(quick, "E49")
    (place / "trainer.json").write_text(json.dumps(info))
    assert train(quick).finished
    assert "no checkpoint" in refused(config(fork=tmp_path, out=tmp_path / "f"), "E49")


DAMAGE = {
    "cut weights": ("model.safetensors", lambda data: data[: len(data) // 2]),
    "no weights": ("model.safetensors", None),
    "empty weights": ("model.safetensors", lambda data: b""),
    "cut state": ("trainer.safetensors", lambda data: data[:-7]),
    "cut numbers": ("trainer.json", lambda data: data[:9]),
    "deep numbers": ("trainer.json", lambda data: b"[" * 100_000),
    "cut config": ("config.json", lambda data: data[:5]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_put_aside_for_an_older_one(config, tmp_path, damage, capsys):
    whole = train(config(steps=8, out=tmp_path / "whole"))
    quick = config(steps=8, save_every=3, out=tmp_path / "parts", quiet=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "_finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(quick)
    old, new = checkpoints(quick.out)
    name, change = DAMAGE[damage]
    content = (new / name).read_bytes()
    (new / name).unlink() if change is None else (new / name).write_bytes(change(content))
    capsys.readouterr()
    again = train(quick)
    said = capsys.readouterr().out
    assert f"{new} cannot be read and was renamed" in said
    assert f"resuming at step 3, from {old}" in said
    assert (new.parent / f"unreadable-{new.name}").is_dir()
    assert metrics(again) == metrics(whole)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("left", [0, 0.9])
def test_a_model_is_loaded_from_the_newest_complete_checkpoint(
    config, monkeypatch, caplog, name, left
):
    parts = config(steps=6, save_every=2)
    monkeypatch.setattr(loop._Loop, "_finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(parts)
    older, cut = checkpoints(parts.out)
    content = (cut / name).read_bytes()
    (cut / name).write_bytes(content[: int(left * len(content))])
    assert load_model(parts.out).meta["training"]["step"] == 4
    assert str(cut) in caplog.text and str(older) in caplog.text
    for damaged in (cut, older):
        (damaged / name).write_bytes(b"")
        with pytest.raises(LacyError, match="damaged"):
            load_model(cut)
    with pytest.raises(LacyError, match=cut.name):
        load_model(parts.out)


def test_without_a_readable_checkpoint_nothing_is_trained(config, monkeypatch):
    quick = config(steps=6, save_every=2, decay=0.0)
    monkeypatch.setattr(loop._Loop, "_finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(quick)
    monkeypatch.undo()
    for place in resume_candidates(quick.out):
        (place / "trainer.safetensors").write_bytes(b"")
    names = sorted(path.name for path in (quick.out / "checkpoints").iterdir())
    assert "damaged" in refused(quick, "E49")
    assert sorted(path.name for path in (quick.out / "checkpoints").iterdir()) == names


def test_two_runs_never_share_a_folder(config, monkeypatch):
    """The second run changes nothing, not even a line that the first is writing."""
    quick, inside = config(steps=6, quiet=False), []
    step = loop.Session.batch

    def second(self, number):
        if number == 3:
            before = (quick.out / "metrics.jsonl").read_bytes()
            inside.append(refused(quick, "E150"))
            assert (quick.out / "metrics.jsonl").read_bytes() == before
        return step(self, number)

    monkeypatch.setattr(loop.Session, "batch", second)
    result = train(quick)
    assert result.finished and len(metrics(result)) == 6
    assert f"(process {os.getpid()})" in inside[0]
    assert not (quick.out / ".lock").exists()
    assert train(quick).finished


def test_a_closed_output_stops_a_run_with_a_checkpoint(config, monkeypatch):
    """``lacy train | head``: when the reader exits, the run saves and stops."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        os.close(read)
        result = train(config(steps=50, quiet=False))
        assert (result.finished, result.stopped) == (False, "the output was closed")
        assert newest(result.out).name == f"step-{result.step:08d}"
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_for_the_log_does_not_stop_a_run(config, monkeypatch):
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert train(config(quiet=False)).finished
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_a_nan_loss_is_noticed_however_rarely_it_is_logged(config, monkeypatch):
    step = loop.Session.batch

    def poisoned(self, number):
        if number == 4:
            next(self.state.model.parameters()).data.fill_(float("nan"))
        return step(self, number)

    monkeypatch.setattr(loop.Session, "batch", poisoned)
    monkeypatch.setattr(loop, "FINITE_EVERY", 3)
    message = refused(config(steps=40, log_every=40), "E47")
    assert "by step 6 (last finite at step 3)" in message


def test_data_that_were_changed_at_equal_size_are_not_trained_on(config, data, tmp_path):
    changed = tmp_path / "data"
    shutil.copytree(data, changed)
    arrow = next(changed.glob("*.arrow"))
    content = bytearray(arrow.read_bytes())
    content[len(content) // 2] ^= 1
    arrow.write_bytes(content)
    assert "was changed after it was packed" in refused(config(data=changed), "E25")
    assert "was changed after it was packed" in refused(config(valid=changed), "E25")


def test_a_reference_model_ranks(config, tmp_path):
    reference = train(config(method="none", out=tmp_path / "reference"))
    result = train(config(method="rho", reference=reference.out, out=tmp_path / "rho"))
    assert (result.out / "reference.safetensors").exists()
    assert result.metrics["call_rate"] == pytest.approx(0.1, abs=0.01)


def test_a_dry_run_measures_and_writes_nothing(config):
    settings = config(steps=1000, grad_accum=2, quiet=False)
    report = dry_run(settings)
    assert report.parameters == 164_416 and report.steps == 1000
    assert report.tokens == 1000 * 4 * 48
    assert 0 < report.seconds_per_step < 5
    text = str(report)
    for word in ("marks: FACT ", "164,416 parameters", "tokens/s", "two_pass", "optimizer 1 MB"):
        assert word in text, word
    assert not settings.out.exists()


def test_plain_lines_and_reasons(config, capsys):
    train(config(quiet=False))
    out = capsys.readouterr().out
    for word in (
        "164,416 parameters",
        "precision fp32",
        "rate control exact",
        "step 6/6",
        "done in",
    ):
        assert word in out, word


def test_trackers(config, monkeypatch):
    pytest.importorskip("tensorboard")
    result = train(config(trackers=("tensorboard",)))
    (events,) = (result.out / "lacy").glob("events*")
    assert b"text_loss" in events.read_bytes()


def test_unknown_and_missing_trackers(config, monkeypatch):
    assert "choose one of" in refused(config(trackers=("nothing",)), "E12")
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    assert "lacy[trackers]" in refused(config(trackers=("tensorboard",)), "E11")


def test_a_new_model_that_delegates_nothing_is_not_taught_to_call(config, tmp_path):
    run = train(config(method="none", out=tmp_path / "plain"))
    plain = load_model(run.out)
    assert not plain.calls
    with pytest.raises(LacyError, match="E152"):
        Engine(plain, policy="threshold=0")
    assert Engine(plain, policy="budget=0.2,by=entropy").generate(["a"], max_new_tokens=2)
    assert load_model(train(config(out=tmp_path / "lacy")).out).calls
