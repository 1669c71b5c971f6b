"""Run folders: resumed runs equal whole ones, damaged checkpoints, finished runs."""

import pytest
import torch
from safetensors.torch import load_file

from lacy.diloco import DilocoSettings, pretrain
from lacy.errors import LacyError
from lacy.model import load_model

VARIANTS = {
    "int4": {"codec": "int4"},
    "topk, relay": {"codec": "topk/0.1", "down": "relay"},
    "streaming": {"codec": "int8", "sync_every": 4, "fragments": 2, "overlap": 1},
    "shared threshold": {"threshold": "shared"},
}


def after(rounds):
    """Stops a run after so many rounds of this call."""
    seen = []
    return lambda row: bool(seen.append(row)) or len(seen) == rounds


def weights(out):
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_equals_a_whole_one(config, tmp_path, name):
    settings = DilocoSettings(**{"workers": 2, "sync_every": 2, **VARIANTS[name]})
    whole = pretrain(config(out=tmp_path / "whole"), settings)
    part = pretrain(config(out=tmp_path / "parts"), settings, on_round=after(2))
    assert not part.finished and 0 < part.progress < 8
    rest = pretrain(config(out=tmp_path / "parts"), settings)
    assert rest.finished
    first, second = weights(whole.out), weights(rest.out)
    assert all(torch.equal(first[key], second[key]) for key in first)
    rows = [(tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in ("whole", "parts")]
    assert len(rows[0]) == len(rows[1])
    for key in ("loss", "bytes_up", "bytes_down", "valid_loss", "tokens", "call_rate"):
        assert whole.metrics.get(key) == rest.metrics.get(key), key


@pytest.mark.slow
def test_processes_resume_what_one_process_began(config, tmp_path):
    settings = DilocoSettings(workers=2, sync_every=2)
    whole = pretrain(config(out=tmp_path / "whole"), settings)
    pretrain(config(out=tmp_path / "parts"), settings, on_round=after(1))
    pretrain(config(out=tmp_path / "parts"), settings, on_round=after(1), processes=True)
    rest = pretrain(config(out=tmp_path / "parts"), settings)
    first, second = weights(whole.out), weights(rest.out)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_finished_run_stays_as_it_is_and_opens(config):
    run = config(steps=2)
    settings = DilocoSettings(workers=2, sync_every=1)
    done = pretrain(run, settings)
    assert load_model(done.out).model.num_parameters() > 0
    before = (done.out / "metrics.jsonl").read_bytes()
    assert pretrain(run, settings).finished
    assert (done.out / "metrics.jsonl").read_bytes() == before
    with pytest.raises(LacyError, match="E17"):
        pretrain(run, DilocoSettings(workers=2, sync_every=2))


def test_a_damaged_checkpoint_is_named(config):
    settings = DilocoSettings(workers=2, sync_every=2)
    part = pretrain(config(), settings, on_round=after(1))
    (newest,) = (part.out / "checkpoints").iterdir()
    (newest / "outer.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(LacyError, match="E49"):
        pretrain(config(), settings)
