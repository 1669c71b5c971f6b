from dataclasses import replace

import pytest
import torch

from lacy.errors import LacyError
from lacy.model.building import build_model
from lacy.model.presets import PRESETS, get_preset, preset_names, training_memory


@pytest.mark.parametrize("name", preset_names())
def test_counts_are_those_of_the_built_model(name, tokenizer):
    with torch.device("meta"):
        model = build_model(name, tokenizer, context=64)
    built = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert built == PRESETS[name].parameters(len(tokenizer), 64)


@pytest.mark.parametrize(
    ("name", "vocabulary", "published"),
    # SmolLM2 and Llama-3.2: their model cards; the paper's 334M as computed from its shape.
    [("135m", 49_152, 134.5e6), ("360m", 49_152, 361.8e6), ("1b", 128_256, 1235.8e6),
     ("334m", 32_001, 334.8e6)],
)  # fmt: skip
def test_parameter_counts_equal_the_published_ones(name, vocabulary, published):
    preset = PRESETS[name]
    without_positions = preset.parameters(vocabulary, context=0)
    assert without_positions == pytest.approx(published, rel=3e-4)


def test_small_presets_are_as_small_as_they_say():
    assert PRESETS["tiny"].parameters(512, 128) == pytest.approx(0.2e6, rel=0.1)
    assert 0.3e6 < PRESETS["demo"].body < 0.5e6


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(LacyError, match="did you mean '135m'") as caught:
        get_preset("135M")
    assert caught.value.code == "E12"


@pytest.mark.parametrize("name", ["tiny", "334m"])
def test_activations_are_about_what_autograd_keeps(name, tokenizer):
    shape = replace(PRESETS[name], width=64, layers=3, heads=4, ffn=192,
                    kv_heads=2 if name == "tiny" else 4)  # fmt: skip
    model = build_model(shape, tokenizer, context=64)
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    ids = torch.randint(0, 250, (4, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(input_ids=ids, use_cache=False).last_hidden_state.sum()
    measured = sum(size for place, size in kept.items() if place not in weights)
    estimate = training_memory(shape, vocabulary=258, context=64, rows=4)
    assert 0.6 < estimate.activations / measured < 1.7
    assert estimate.total > estimate.activations
