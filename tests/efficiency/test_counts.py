"""Sizes, operations, prices, energy and privacy: numbers that can be computed by hand."""

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from helpers.raw import raw_llama, save_raw
from lacy.efficiency import (
    EnergyMeter,
    PrivacyBudget,
    RateCard,
    bits_per_weight,
    compression_ratio,
    count_operations,
    file_sizes,
    memory_sizes,
    parameter_counts,
    privacy_of,
)
from lacy.errors import LacyError
from lacy.model import load_model, save_model

WIDTH, VOCABULARY = 32, 257
ATTENTION = 32 * 32 + 2 * 32 * 16 + 32 * 32  # queries, shared keys and values, output
LAYERS = 2 * (ATTENTION + 3 * 32 * 48)
NORMS = 5 * 32


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_counts_once(tied):
    counts = parameter_counts(raw_llama(tied=tied))
    assert counts.non_embedding == LAYERS + NORMS
    assert counts.distinct == LAYERS + NORMS + (1 if tied else 2) * VOCABULARY * WIDTH
    assert counts.untied == LAYERS + NORMS + 2 * VOCABULARY * WIDTH
    assert counts.tied == tied


@pytest.mark.parametrize("tied", [True, False])
def test_the_row_of_a_raw_model_is_not_counted(tied, tmp_path):
    model = raw_llama(tied=tied)
    loaded = load_model(save_raw(tmp_path, model))
    assert parameter_counts(loaded.model, added_rows=1) == parameter_counts(model)
    assert parameter_counts(loaded.model).distinct > parameter_counts(model).distinct


def test_positions_are_embeddings():
    counts = parameter_counts(gpt2())
    assert counts.distinct - counts.non_embedding == 300 * 32 + 128 * 32


@pytest.mark.parametrize("tied", [True, False])
def test_files_have_the_bytes_of_the_distinct_weights(tied, tmp_path):
    model = raw_llama(tied=tied)
    folder = save_raw(tmp_path / "model", model)
    sizes, counts = file_sizes(folder), parameter_counts(model)
    assert sizes.weights == pytest.approx(4 * counts.distinct, rel=0.1)  # and names and shapes
    assert sizes.weights == sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    assert sizes.all > sizes.weights
    assert bits_per_weight(sizes.weights, counts.distinct) == pytest.approx(32, rel=0.1)
    one = file_sizes(folder / "config.json")
    assert one.weights == one.all == (folder / "config.json").stat().st_size
    half = save_raw(tmp_path / "half", raw_llama(tied=tied).to(torch.bfloat16))
    assert compression_ratio(sizes.weights, file_sizes(half).weights) == pytest.approx(2, rel=0.1)
    with pytest.raises(LacyError):
        file_sizes(tmp_path / "nothing")


@pytest.mark.parametrize("context", [1, 8, 64])
@pytest.mark.parametrize("make", [raw_llama, gpt2])
def test_counted_operations_equal_the_formula(make, context):
    found = count_operations(make(), context)
    assert found.counted == found.formula
    assert found.context == context


def test_two_n_leaves_out_attention():
    found = count_operations(raw_llama(), 16)
    assert found.two_n == 2 * (LAYERS + VOCABULARY * WIDTH)
    assert found.formula - found.two_n == 4 * 2 * WIDTH * 16


def test_memory_of_weights_and_cache():
    model = raw_llama()
    found = memory_sizes(model)
    assert found.cache_per_token == 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert found.weights == 4 * parameter_counts(model).distinct + buffers
    half = memory_sizes(model.to(torch.bfloat16))
    assert half.cache_per_token == found.cache_per_token / 2


def zone(folder, name, label, energy=0, limit=1000):
    place = folder / name
    place.mkdir(parents=True)
    (place / "name").write_text(label + "\n")
    (place / "energy_uj").write_text(f"{energy}\n")
    (place / "max_energy_range_uj").write_text(f"{limit}\n")
    return place / "energy_uj"


def test_energy_is_the_difference_of_the_counters(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000, 10_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1, 10)  # part of its package
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000, 10_000_000)
    meter = EnergyMeter(powercap=tmp_path)
    assert meter.available and meter.why == ""
    assert meter.name == "RAPL package-0, RAPL dram"
    meter.start()
    first.write_text("7000000")
    memory.write_text("500000")  # wrapped
    assert meter.joules() == pytest.approx(2.0 + 9.5)


def test_energy_that_cannot_be_read_is_not_guessed(tmp_path):
    meter = EnergyMeter(powercap=tmp_path / "none")
    assert not meter.available and "no" in meter.why and "intel-rapl" in meter.why
    zone(tmp_path, "intel-rapl:0", "package-0")
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    meter = EnergyMeter(powercap=tmp_path)
    assert not meter.available and "root" in meter.why


def test_prices():
    card = RateCard(hour=3.6)
    assert card.machine(1000) == pytest.approx(1.0)
    assert card.per_thousand_tokens(10.0) == pytest.approx(0.1)
    assert card.per_thousand_tokens(10.0, sources=0.001) == pytest.approx(1.1)
    assert card.per_right(1000.0, 0.5, 3) == pytest.approx(0.5)
    assert card.per_right(1000.0, 0.5, 0) == math.inf
    with pytest.raises(LacyError):
        RateCard(hour=-1)


def test_the_privacy_budget_is_that_of_the_training(tmp_path):
    assert privacy_of(None) is None
    assert privacy_of({"training": {"settings": {"lr": 1}}}) is None
    stated = {"epsilon": 3.0, "delta": 1e-5, "noise": 0.8}
    loaded = load_model(save_raw(tmp_path / "raw", raw_llama()))
    meta = {"training": {"settings": {"privacy": stated}}}
    save_model(tmp_path / "taught", loaded.model, loaded.tokenizer, meta)
    read = privacy_of(load_model(tmp_path / "taught").meta)
    assert read == PrivacyBudget(3.0, 1e-5, 0.8)
    assert math.isnan(privacy_of({"privacy": {"epsilon": 1}}).noise)
