"""Estimates of memory and compute for models of any family, without loading them."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from helpers import models
from lacy.model import from_checkpoint, hidden_states, save_model
from lacy.train import TrainConfig, dry_run
from lacy.train.memory import trace
from lacy.train.trained import freeze

SHAPES = {
    "llama": {}, "qwen3": {"head_dim": 8}, "qwen2": {}, "mistral": {}, "phi3": {"pad_token_id": 0},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16}, "gpt2": {},
}  # fmt: skip


def shape_of(family):
    if family == "gpt2":
        return AutoConfig.for_model("gpt2", vocab_size=400, n_embd=32, n_layer=2, n_head=4,
                                    n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0,
                                    attn_pdrop=0.0)  # fmt: skip
    return AutoConfig.for_model(
        family, vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        **SHAPES[family],
    )  # fmt: skip


def kept_by_autograd(model, rows, context):
    """Sum the bytes that a real forward pass of unpacked rows keeps."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    segments_BT = torch.ones(rows, context, dtype=torch.int64)
    segments_BT[:, context // 2 :] = 2
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_states(model, torch.ones_like(segments_BT), segments_BT)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("depth", ["full", "lora", "last=1", "norms", "row"])
def test_activations_are_what_autograd_keeps(tmp_path, family, depth):
    shape = shape_of(family)
    shape.save_pretrained(tmp_path)
    config = TrainConfig(model=str(tmp_path), depth=depth, batch_rows=3)
    found = trace(tmp_path, config, vocabulary=400, context=24, bf16=False)
    model = AutoModelForCausalLM.from_config(shape, attn_implementation="sdpa")
    whole = sum(p.numel() for p in model.parameters())
    freeze(model, config, "here")
    assert found.memory.activations == pytest.approx(
        kept_by_autograd(model, 3, 24), rel=0.03, abs=3000
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (found.parameters, found.trained) == (whole, trained)
    assert found.memory.weights == 4 * whole and found.memory.optimizer == 8 * trained


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = models.gpt2(models.ALL["byte_level"])
    return save_model(tmp_path_factory.mktemp("m") / "gpt2", made.model, made.tokenizer)


@pytest.fixture
def settings(place, tmp_path):
    from lacy.annotate import encode
    from lacy.corpus import PackedData
    from lacy.world import make_world

    tokenizer = models.ALL["byte_level"]
    documents = make_world(12, 0).documents("train")
    PackedData.write([encode(d, tokenizer) for d in documents][:6], tokenizer, 48, tmp_path / "d")
    return {"data": tmp_path / "d", "out": tmp_path / "run", "model": str(place), "steps": 5,
            "call_rate": 0.05, "batch_rows": 2, "device": "cpu", "dtype": "fp32"}  # fmt: skip


def test_the_report_of_a_trained_model(settings):
    reports = {depth: dry_run(TrainConfig(**settings, depth=depth))
               for depth in ("full", "lora", "last=1", "row")}  # fmt: skip
    totals = [report.memory.total for report in reports.values()]
    assert totals == sorted(totals, reverse=True)
    flops = {depth: report.flops_per_token for depth, report in reports.items()}
    assert flops["row"] < flops["last=1"] < flops["lora"] < flops["full"]
    assert flops["lora"] == pytest.approx(flops["full"] * 2 / 3, rel=0.1)
    text = str(reports["row"])
    assert "not estimated" not in text and "33 of them trained" not in text
    assert "32 of them trained" in text and "learning rate" in text
    assert not settings["out"].exists()


def test_a_model_that_does_not_fit_is_not_loaded(settings, monkeypatch):
    from lacy.train import dry

    monkeypatch.setattr(dry, "_available", lambda config: 1000)
    monkeypatch.setattr(dry, "prepare_session", None)
    text = str(dry_run(TrainConfig(**settings)))
    assert "the weights do not fit into memory" in text and " free" in text


def test_a_broken_shape_gives_no_estimate(tmp_path, place):
    shape = json.loads((place / "config.json").read_text()) | {"n_head": 5}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    config = TrainConfig(model=str(tmp_path), batch_rows=1)
    assert trace(tmp_path, config, vocabulary=400, context=8, bf16=False) is None
    assert from_checkpoint(place)[0] is not None
