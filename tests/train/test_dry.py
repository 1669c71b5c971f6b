"""``--dry-run``: the arithmetic of a run, its GPU hours, and what is reported without data."""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lacy.cli import main
from lacy.cli.data.mark import MarkConfig
from lacy.errors import LacyError
from lacy.model import build_model
from lacy.model.presets import PRESETS, get_preset
from lacy.testing import byte_tokenizer
from lacy.train import dry_run
from lacy.train.dry import DEFAULTS
from lacy.train.flops import GPUS, UTILISATION, Work, gpu_hours, gpu_lines

GPT2 = replace(get_preset("334m"), width=48, layers=2, heads=3, kv_heads=3, ffn=96)
CONTEXT = 32


def test_the_arithmetic_of_a_tiny_llama_by_hand():
    """Width 64, 3 layers, 4 heads of 16 with 2 of keys, MLP of 192; 500 tokens, context 100."""
    layer = 64 * 64 + 64 * 32 + 64 * 32 + 64 * 64 + 64 * 192 + 64 * 192 + 192 * 64
    attention = 2 * (100 * 64) + 2 * (100 * 64)  # scores, then values, each times each
    forward = 3 * (2 * layer + attention) + 2 * 64 * 500
    work = Work.of_preset(get_preset("tiny"), 500, 100)
    assert work.forward == forward
    assert work.training("exact") == work.training("running") == 3 * forward
    assert work.training("two_pass") == 4 * forward
    assert work.training("two_pass", delegating=0.5) == 3.5 * forward


def test_the_paper_s_model_costs_six_per_parameter_and_attention():
    preset = get_preset("334m")
    work = Work.of_preset(preset, 32_001, 1024)
    attention = 12 * 24 * 1024 * 1024
    matrices = work.training("exact") - attention
    assert matrices == pytest.approx(6 * preset.parameters(32_001, 1024), rel=0.01)
    assert matrices == 6 * (24 * 12 * 1024**2 + 32_001 * 1024)
    assert attention / matrices == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("shape", [get_preset("tiny"), get_preset("demo"), GPT2])
def test_torch_counts_the_same(shape):
    """Forward and backward as torch sees the products; rotary angles are its only extra."""
    model = build_model(shape, byte_tokenizer(), context=CONTEXT)
    model.set_attn_implementation("eager")
    ids_BT = torch.randint(1, 200, (2, CONTEXT))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids_BT, use_cache=False).logits.sum().backward()
    counted = counter.get_total_flops() / ids_BT.numel()
    work = Work.of_model(model, CONTEXT)
    assert work.training("exact") == pytest.approx(counted, rel=0.002)


@pytest.mark.parametrize("shape", [*(PRESETS[n] for n in ("tiny", "demo", "1m")), GPT2])
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_and_its_preset_agree(shape, tied):
    shape = replace(shape, tied=tied)
    tokenizer = byte_tokenizer()
    model = build_model(shape, tokenizer, context=CONTEXT)
    of_preset = Work.of_preset(shape, len(tokenizer), CONTEXT)
    assert Work.of_model(model, CONTEXT).head == of_preset.head
    assert Work.of_model(model, CONTEXT) == of_preset


def test_gpu_hours_are_operations_over_speed():
    gpu = {gpu.name: gpu for gpu in GPUS}["H200-SXM"]
    assert gpu_hours(989e12 * UTILISATION * 7200, gpu) == pytest.approx(2.0)
    few, _ = gpu_lines(1e20, int(5e9))
    much, _ = gpu_lines(1e20, int(41e9))
    assert "if 24 GB were enough" in much and "enough" not in few
    assert few.startswith("A100-80GB 223, H100-SXM 70, H200-SXM 70, RTX-4090 421")


def test_with_data_the_report_adds_up(config):
    report = dry_run(config(steps=50, method="none"))
    preset = get_preset("tiny")
    forward = Work.of_preset(preset, len(byte_tokenizer()), 48).forward
    assert report.flops == 3 * forward * 50 * 4 * 48
    assert report.seconds_per_step is not None and "TFLOP/s, measured" in str(report)
    assert "ask for fp32" in str(report) and "cannot use a GPU fully" in str(report)


def test_steps_that_a_cpu_would_take_long_for_are_not_timed(config):
    report = dry_run(config(steps=10, batch_rows=20_000, grad_accum=200))
    assert report.seconds_per_step is None
    assert "not measured: 4 steps would take this CPU about" in str(report)


def test_without_data_the_rest_is_reported(config, tmp_path):
    missing = tmp_path / "nothing"
    report = dry_run(config(data=missing, steps=None, tokens=1_000_000, batch_rows=16))
    text = str(report)
    assert f"{missing} is missing" in text and "not measured: the data are missing" in text
    assert f"lacy data mark TEXTS --vocab-size 4096 --context 256 --out {missing}" in text
    assert "assumed: 4,096 tokens of vocabulary, 256 per row (defaults of lacy data mark)" in text
    assert report.parameters == get_preset("tiny").parameters(4096, 256)
    assert report.steps == 245 and report.tokens == 245 * 16 * 256
    assert report.epochs is None and report.trained_rows is None


def test_the_assumed_sizes_are_the_defaults_of_data_mark():
    defaults = {field.name: field.default for field in fields(MarkConfig)}
    assert (defaults["vocab_size"], defaults["context"]) == DEFAULTS


@pytest.mark.parametrize("changes", [{"steps": None, "epochs": 2.0}, {"model": "nowhere/x"}])
def test_settings_that_depend_on_data_still_need_them(config, tmp_path, changes):
    with pytest.raises(LacyError) as caught:
        dry_run(config(data=tmp_path / "nothing", **changes))
    assert caught.value.code == "E13"


def test_a_broken_data_folder_does_not_count_as_missing(config, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(LacyError) as caught:
        dry_run(config(data=tmp_path / "data"))
    assert caught.value.code == "E25"


def test_as_a_user_types_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "train --data packed --model 1m --steps 100 --dry-run"
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line[:12].strip() for line in lines if line[0] != " "]
    assert heads == ["data", "model", "run", "memory", "compute", "GPU hours", "time"]
    assert not list(tmp_path.iterdir())
