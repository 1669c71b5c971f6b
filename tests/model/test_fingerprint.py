"""The fingerprint of a model's weights: equal where the weights are, apart from ``<CALL>``."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from helpers.raw import raw_llama, save_raw
from lacy.errors import LacyError
from lacy.model import FINGERPRINT, load_model, model_fingerprint, save_model


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("padding", [0, 40])
def test_the_call_row_and_padding_do_not_count(tmp_path, tied, padding):
    plain = raw_llama(tied=tied, padding=padding)
    place = save_raw(tmp_path / "raw", plain)
    wanted = model_fingerprint(plain)
    loaded = load_model(place)
    assert model_fingerprint(place) == wanted == model_fingerprint(loaded.model)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight[-1] += 1
    save_model(tmp_path / "ours", loaded.model, loaded.tokenizer)
    assert model_fingerprint(tmp_path / "ours") == wanted
    AutoModelForCausalLM.from_pretrained(place).save_pretrained(place, max_shard_size="60KB")
    assert model_fingerprint(place) == wanted


def test_the_dtype_of_equal_numbers_does_not_count(tmp_path):
    model = raw_llama().to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert model_fingerprint(tmp_path) == model_fingerprint(model.float())


def test_names_without_the_prefix_of_the_class_do_not_count(tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=300))
    model.transformer.save_pretrained(tmp_path)  # as gpt2 lies on the Hub
    assert model_fingerprint(tmp_path) == model_fingerprint(model)


@pytest.mark.parametrize(
    "name",
    ["model.layers.1.mlp.down_proj.weight", "model.norm.weight", "model.embed_tokens.weight"],
)
def test_other_weights_count(name):
    model, other = raw_llama(), raw_llama()
    with torch.no_grad():
        other.get_parameter(name).mul_(1.001)
    assert model_fingerprint(model) != model_fingerprint(other)


def test_a_row_tuned_for_other_weights_is_refused(tmp_path):
    loaded = load_model(save_raw(tmp_path / "raw", raw_llama()))
    meta = {FINGERPRINT: model_fingerprint(loaded.model)}
    place = save_model(tmp_path / "tuned", loaded.model, loaded.tokenizer, meta)
    assert load_model(place).meta[FINGERPRINT] == meta[FINGERPRINT]
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.up_proj.weight.mul_(1.01)
    loaded.model.save_pretrained(place)
    with pytest.raises(LacyError) as caught:
        load_model(place)
    assert caught.value.code == "E155" and f"lacy tune {place}" in str(caught.value)
    assert load_model(place, verify=False).calls is False
