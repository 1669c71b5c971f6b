"""Adapters of ``peft``: opened merged into their base, or refused with another one."""

import json
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers.raw import raw_llama, raw_tokenizer, save_raw
from lacy.cascade import Engine
from lacy.errors import LacyError
from lacy.model import load_model, model_fingerprint, save_model
from lacy.model.building import from_checkpoint

PROMPT = "Ada Lovelace was"


def adapter_of(place, base, model, **settings):
    """Save a LoRA adapter with random weights; return the adapted model."""
    settings = {"target_modules": ["q_proj", "down_proj"]} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, **settings))
        torch.manual_seed(1)
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if "lora_" in name:
                    weight.normal_(0, 0.2)
        adapted.peft_config["default"].base_model_name_or_path = str(base)
        adapted.save_pretrained(place)
    return adapted


@pytest.fixture
def base(tmp_path):
    return save_raw(tmp_path / "base", raw_llama())


@pytest.mark.parametrize("named", ["absolute", "beside"])
def test_an_adapter_is_merged_into_its_base(tmp_path, base, named):
    adapted = adapter_of(tmp_path / "lora", base if named == "absolute" else "base", raw_llama())
    loaded = load_model(tmp_path / "lora")
    assert not loaded.calls and loaded.name == str(tmp_path / "lora")
    ids = torch.tensor([[0, *raw_tokenizer()(PROMPT).input_ids]])
    with torch.no_grad():
        wanted = adapted(ids).logits
        torch.testing.assert_close(loaded.model(ids).logits[..., :257], wanted)
        assert (raw_llama()(ids).logits - wanted).abs().max() > 0.1
    answer = Engine(loaded, max_new_tokens=10).generate([PROMPT])[0]
    text = adapted.generate(input_ids=ids, max_new_tokens=10, do_sample=False)
    assert answer.text == raw_tokenizer().decode(text[0], skip_special_tokens=True)
    save_model(tmp_path / "merged", loaded.model, loaded.tokenizer)
    with torch.no_grad():
        again = load_model(tmp_path / "merged").model(ids).logits[..., :257]
    torch.testing.assert_close(again, wanted)


def test_an_adapter_with_whole_tables_and_its_own_tokenizer(tmp_path, base):
    tokenizer = raw_tokenizer(additional_special_tokens=["<a>", "<b>"])
    model = raw_llama(tied=False)
    save_raw(base, model)
    model.resize_token_embeddings(259, mean_resizing=False)
    place = tmp_path / "lora"
    adapted = adapter_of(place, base, model, modules_to_save=["embed_tokens", "lm_head"])
    tokenizer.save_pretrained(place)
    loaded = load_model(place)
    assert loaded.call_id == 259
    ids = torch.tensor([[0, 5, 257, 9]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits[..., :259], adapted(ids).logits)


def test_an_adapter_of_lacy_keeps_its_call_row_and_gate(tmp_path, base):
    ours = load_model(base)
    ours.model.config.lacy_gate = "sigmoid"
    ours.model.get_output_embeddings().weight.data[-1] = 0.5
    save_model(tmp_path / "ours", ours.model, ours.tokenizer)
    place = tmp_path / "lora"
    adapted = adapter_of(place, base, ours.model, trainable_token_indices={"lm_head": [257]})
    meta = json.loads((tmp_path / "ours" / "lacy.json").read_text())
    meta |= {"base": {"place": str(base), "weights": model_fingerprint(base)}, "gate": "sigmoid"}
    (place / "lacy.json").write_text(json.dumps(meta))
    ours.tokenizer.save_pretrained(place)
    loaded = load_model(place)
    assert loaded.calls and loaded.model.config.lacy_gate == "sigmoid"
    ids = torch.tensor([[0, 70, 71, 72]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, adapted(ids).logits)
    save_raw(base, raw_llama(seed=5))
    with pytest.raises(LacyError, match="trained on other weights") as caught:
        load_model(place)
    assert caught.value.code == "E156"


def test_an_adapter_of_another_base_is_refused(tmp_path, base):
    place = tmp_path / "lora"
    adapter_of(place, tmp_path / "gone", raw_llama())
    with pytest.raises(LacyError, match="is not on this machine") as caught:
        load_model(place)
    assert caught.value.code == "E156" and "base_model_name_or_path" in str(caught.value)

    import families

    other = families.tiny("gpt2", 257)
    save_raw(tmp_path / "other", other)
    adapter_of(place, tmp_path / "other", raw_llama())
    with pytest.raises(LacyError, match="does not fit its base") as caught:
        load_model(place)
    assert caught.value.code == "E156"

    wide = families.tiny("llama", 257)
    assert wide.config.intermediate_size != raw_llama().config.intermediate_size
    adapter_of(place, base, wide)
    with pytest.raises(LacyError, match="does not fit its base") as caught:
        load_model(place)
    deep = raw_llama()
    deep.model.layers.append(raw_llama().model.layers[0])
    adapter_of(place, base, deep)
    with pytest.raises(LacyError, match="do not exist in the base"):
        load_model(place)


def test_a_damaged_adapter_is_refused(tmp_path, base):
    place = tmp_path / "lora"
    adapter_of(place, base, raw_llama())
    file = place / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(LacyError) as caught:
        load_model(place)
    assert caught.value.code == "E56"
    file.unlink()
    with pytest.raises(LacyError) as caught:
        load_model(place)
    assert caught.value.code == "E56"


def test_training_wants_a_complete_model(tmp_path, base):
    adapter_of(tmp_path / "lora", base, raw_llama())
    with pytest.raises(LacyError) as caught:
        from_checkpoint(tmp_path / "lora")
    assert caught.value.code == "E131" and "save_model('MERGED'" in str(caught.value)
