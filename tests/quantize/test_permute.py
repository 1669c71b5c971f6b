"""Channels in another order: the same logits, but blocks of other weights."""

import pytest
import torch

from helpers.quantizable import copied, family, llama, logits, rows
from lacy.errors import LacyError
from lacy.quantize import grid_share, permute_channels, quantize
from lacy.quantize.parts import matrices_of, tables_of

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3", "gpt2"]


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_stay_equal(kind):
    loaded = family(kind)
    with torch.no_grad():
        for parameter in loaded.model.parameters():  # norms and biases are constant at first
            parameter += torch.randn_like(parameter) * 0.1
    before = logits(loaded)
    assert permute_channels(loaded, seed=1) is loaded
    after = logits(loaded)
    assert (before - after).abs().max() < 1e-4 * before.abs().max()


@pytest.mark.parametrize("tied", [True, False])
def test_no_matrix_stays_on_a_grid(tied):
    one_head = {"num_attention_heads": 1, "num_key_value_heads": 1}  # of 64 channels: two blocks
    loaded = quantize(llama(tied=tied, **one_head), rows(), "q4_1", method="search").loaded
    before = logits(loaded)
    permute_channels(loaded)
    assert torch.allclose(logits(loaded), before, atol=1e-4)
    for matrix in matrices_of(loaded.model).values():
        assert grid_share(matrix.weight_OI, "q4_1") < 0.05
    for weight in tables_of(loaded.model).values():
        assert grid_share(weight, "q8_0") < 0.05


def test_the_seed_determines_the_order():
    first, second, other = (permute_channels(copied(llama()), seed) for seed in (1, 1, 2))
    weights = [loaded.model.get_input_embeddings().weight for loaded in (first, second, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_other_architectures_are_refused():
    with pytest.raises(LacyError, match="E90"):
        permute_channels(family("gpt_neox"))
