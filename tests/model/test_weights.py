"""Model folders from elsewhere: loaded completely or refused with the reason; no code is run."""

import io
import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
)

from lacy.errors import LacyError
from lacy.model import build_model, load_model, save_model
from lacy.model.building import from_checkpoint
from lacy.model.weights import read_model
from lacy.sources import LanguageModel
from lacy.testing import byte_tokenizer

SIZE = 257
"""Tokens without ``<CALL>``."""
SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def foreign_tokenizer():
    """Bytes and an end token."""
    state = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    del state["model"]["vocab"]["<CALL>"]
    state["added_tokens"].pop()
    backend = Tokenizer.from_str(json.dumps(state))
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end)


@pytest.fixture
def theirs(tmp_path):
    """A small Llama not written by lacy, in two shards, with its tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=SIZE, tie_word_embeddings=False, **SHAPE)
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="60KB")
    foreign_tokenizer().save_pretrained(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) >= 2
    return tmp_path / "theirs"


def one_file(folder):
    """Write all weights into one file and return its path."""
    state = {k: v for f in folder.glob("*.safetensors") for k, v in load_file(f).items()}
    for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        file.unlink()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def change(folder, edit):
    """Rewrite the weights of a folder as one file."""
    file = one_file(folder)
    state = load_file(file)
    edit(state)
    save_file(state, file, {"format": "pt"})


def lacking(folder):
    change(folder, lambda s: s.pop("model.layers.1.mlp.up_proj.weight"))


def lacking_head(folder):
    change(folder, lambda s: s.pop("lm_head.weight"))


def other_shape(folder):
    change(folder, lambda s: s.update({"model.norm.weight": torch.ones(7)}))


def third_layer(folder):
    name = "model.layers.2.mlp.up_proj.weight"
    change(folder, lambda s: s.update({name: torch.ones(48, 32)}))


def empty_shard(folder):
    sorted(folder.glob("*.safetensors"))[0].write_bytes(b"")


def no_tensors(folder):
    save_file({}, one_file(folder), {"format": "pt"})


def cut_shard(folder):
    file = sorted(folder.glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-50])


def gone_shard(folder):
    sorted(folder.glob("*.safetensors"))[1].unlink()


def pointer(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
    sorted(folder.glob("*.safetensors"))[0].write_text(text)


def index_lacks(folder):
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    last = sorted(set(index["weight_map"].values()))[-1]
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v != last}
    file.write_text(json.dumps(index))


def index_outside(folder):
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"] = {k: f"../{v}" for k, v in index["weight_map"].items()}
    file.write_text(json.dumps(index))


def index_empty(folder):
    (folder / "model.safetensors.index.json").write_text("{}")


def not_a_number(folder):
    change(folder, lambda s: s["model.norm.weight"].fill_(float("nan")))


def infinite(folder):
    change(folder, lambda s: s["lm_head.weight"][3, :1].fill_(float("-inf")))


def integers(folder):
    name = "model.layers.1.mlp.up_proj.weight"
    change(folder, lambda s: s.update({name: (s[name] * 100).to(torch.int8)}))


def eights(folder):
    name = "model.layers.1.mlp.up_proj.weight"
    change(folder, lambda s: s.update({name: s[name].to(torch.float8_e4m3fn)}))


def renamed(folder):
    one_file(folder).rename(folder / "model.fp16.safetensors")


def index_gone(folder):
    (folder / "model.safetensors.index.json").unlink()


def generation_is(text):
    return lambda folder: (folder / "generation_config.json").write_text(text)


def set_config(**values):
    def edit(folder):
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return edit


def config_is(text):
    return lambda folder: (folder / "config.json").write_text(text)


def quantised(**settings):
    return set_config(quantization_config=settings)


def adapter(folder):
    (folder / "config.json").unlink()
    one_file(folder).unlink()
    settings = {"peft_type": "LORA", "base_model_name_or_path": "meta/base"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")


def gguf(folder):
    (folder / "config.json").unlink()
    one_file(folder).unlink()
    (folder / "m.gguf").write_bytes(b"GGUF\x03\0\0\0")


def pickled(folder):
    one_file(folder).rename(folder / "pytorch_model.bin")


BROKEN = [
    (lacking, "E56", "model.layers.1.mlp.up_proj.weight"),
    (lacking_head, "E56", "lm_head.weight"),
    (other_shape, "E56", "model.norm.weight is of shape (7,), config.json wants (32,)"),
    (third_layer, "E56", "model.layers.2"),
    (empty_shard, "E56", "safetensors"),
    (no_tensors, "E56", "weights missing"),
    (cut_shard, "E56", "safetensors"),
    (gone_shard, "E56", "is missing"),
    (pointer, "E56", "git lfs pull"),
    (index_lacks, "E56", "weights missing"),
    (index_outside, "E56", "names no files of this folder"),
    (index_empty, "E56", "names no files"),
    (not_a_number, "E133", "model.norm.weight"),
    (infinite, "E133", "lm_head.weight"),
    (quantised(quant_method="bitsandbytes", load_in_4bit=True), "E130", "bitsandbytes"),
    (quantised(quant_method="bitsandbytes", load_in_8bit=True), "E130", "bitsandbytes"),
    (quantised(quant_method="gptq", bits=4), "E130", "gptq"),
    (quantised(quant_method="awq", bits=4), "E130", "awq"),
    (quantised(quant_method="fp8"), "E130", "fp8"),
    (quantised(), "E130", "unknown method"),
    (adapter, "E131", "meta/base"),
    (gguf, "E134", "GGUF"),
    (pickled, "E55", "save_pretrained"),
    (set_config(model_type="nomodel"), "E58", "nomodel"),
    (set_config(model_type="vit"), "E58", "no causal language model"),
    (set_config(model_type=None), "E56", "model_type"),
    (set_config(hidden_size="wide"), "E56", "config.json"),
    (set_config(num_attention_heads=0), "E56", "config.json"),
    (set_config(num_attention_heads=5), "E56", ""),
    (set_config(num_hidden_layers=1), "E56", "model.layers.1"),
    (set_config(vocab_size=300), "E56", "wants (300, 32)"),
    (set_config(vocab_size=10**9), "E56", "wants (1000000000, 32)"),
    (set_config(model_type=["llama"]), "E56", "model_type"),
    (set_config(hidden_act="nothing"), "E56", "config.json"),
    (integers, "E130", "up_proj.weight holds I8"),
    (eights, "E130", "up_proj.weight holds F8_E4M3"),
    (renamed, "E56", "there is model.fp16.safetensors"),
    (index_gone, "E56", "model.safetensors.index.json is missing"),
    (generation_is("{"), "E56", "generation_config.json"),
    (generation_is("[]"), "E56", "generation_config.json"),
    (config_is("[1]"), "E56", "not an object"),
    (config_is("[" * 100_000), "E56", "config.json"),
]  # fmt: skip


def name_of(case):
    return getattr(case, "__name__", None) or repr(case)


@pytest.mark.parametrize(("break_it", "code", "says"), BROKEN, ids=map(str, range(len(BROKEN))))
@pytest.mark.parametrize("opened", [from_checkpoint, LanguageModel], ids=["train", "partner"])
def test_errors_name_a_broken_or_foreign_folder(theirs, break_it, code, says, opened):
    break_it(theirs)
    with pytest.raises(LacyError) as caught:
        opened(theirs)
    allowed = {"E55": {"E55", "E69"}}.get(code, {code})
    assert caught.value.code in allowed, caught.value
    assert says in str(caught.value)


def test_constants_and_foreign_heads_are_no_error(theirs):
    more = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "v_head.summary.weight": torch.ones(1, 32),
    }
    change(theirs, lambda state: state.update(more))
    assert read_model(theirs).config.vocab_size == SIZE


def test_a_file_given_as_a_model(tmp_path, theirs):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF\x03\0\0\0")
    for path in (file, theirs / "model.safetensors.index.json"):
        with pytest.raises(LacyError) as caught:
            load_model(path)
        assert caught.value.code == ("E134" if path == file else "E55")


@pytest.mark.parametrize("known", [True, False], ids=["known-kind", "unknown-kind"])
@pytest.mark.parametrize("opened", [from_checkpoint, LanguageModel, read_model, load_model])
def test_code_beside_a_model_is_never_run(theirs, monkeypatch, opened, known):
    ran = theirs / "ran"
    code = f"open({str(ran)!r}, 'w').close()\nfrom transformers import LlamaConfig as C\n"
    code += "from transformers import LlamaForCausalLM as M\n"
    (theirs / "own.py").write_text(code)
    names = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", 0]}
    set_config(auto_map=names, **({} if known else {"model_type": "own"}))(theirs)
    settings = json.loads((theirs / "tokenizer_config.json").read_text())
    (theirs / "tokenizer_config.json").write_text(json.dumps({**settings, "auto_map": names}))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    if known:
        opened(theirs)
    else:
        with pytest.raises(LacyError) as caught:
            opened(theirs)
        assert caught.value.code == "E132"
    assert not ran.exists()
    if known and opened is from_checkpoint:
        save_model(theirs.parent / "ours", *from_checkpoint(theirs))
        for name in ("config.json", "tokenizer_config.json"):
            assert "auto_map" not in (theirs.parent / "ours" / name).read_text()


def test_a_model_that_looks_ahead_is_refused(tmp_path):
    config = BertConfig(
        vocab_size=SIZE, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    BertLMHeadModel(config).save_pretrained(tmp_path)
    foreign_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(LacyError, match="E58"):
        from_checkpoint(tmp_path)
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(LacyError, match="no causal language model"):
        from_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.9, "top_p": 0.6},
        {"do_sample": False, "temperature": 0.9, "top_k": 5},
        {"do_sample": False, "temperature": 1e-6},
        {"do_sample": True, "temperature": 0.7, "top_p": 0.9},
        {"typical_p": 0.5, "min_p": 0.1, "epsilon_cutoff": 1e-4, "eta_cutoff": 1e-4},
        {"num_beams": 1, "length_penalty": 2.0, "early_stopping": True},
        {"pad_token_id": -1},
        {"cache_implementation": "hybrid"},
    ],
    ids=str,
)
def test_settings_of_generate_never_prevent_saving(theirs, tmp_path, settings):
    full = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": [0, 5], **settings}
    (theirs / "generation_config.json").write_text(json.dumps(full))
    save_model(tmp_path / "ours", *from_checkpoint(theirs))
    kept = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert kept["eos_token_id"] == [0, 5]
    if settings.get("do_sample"):
        assert kept["temperature"] == 0.7
    load_model(tmp_path / "ours")
    AutoModelForCausalLM.from_pretrained(tmp_path / "ours")


def test_a_separate_head_stays_separate_although_the_config_ties_it(theirs, tmp_path):
    set_config(tie_word_embeddings=True)(theirs)
    head = AutoModelForCausalLM.from_pretrained(theirs).lm_head.weight
    model, tokenizer = from_checkpoint(theirs)
    save_model(tmp_path / "ours", model, tokenizer)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    for opened in (model, load_model(tmp_path / "ours").model, plain):
        assert torch.equal(opened.lm_head.weight[:SIZE], head)
        assert not torch.equal(opened.lm_head.weight, opened.get_input_embeddings().weight)


def test_a_single_file_is_used_despite_an_index(theirs):
    whole = AutoModelForCausalLM.from_pretrained(theirs)
    index = (theirs / "model.safetensors.index.json").read_text()
    one_file(theirs)
    (theirs / "model.safetensors.index.json").write_text(index)
    assert torch.equal(read_model(theirs).lm_head.weight, whole.lm_head.weight)


def test_a_larger_model_keeps_the_dtype_of_its_file(theirs):
    LlamaForCausalLM(LlamaConfig(vocab_size=SIZE, **SHAPE)).to(torch.bfloat16).save_pretrained(
        theirs.parent / "half"
    )
    foreign_tokenizer().save_pretrained(theirs.parent / "half")
    assert LanguageModel(theirs.parent / "half").model.dtype == torch.bfloat16
    assert from_checkpoint(theirs.parent / "half")[0].dtype == torch.float32


def test_our_own_model_with_a_nan_weight(tmp_path):
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=32)
    model.model.norm.weight.data[3] = float("nan")
    save_model(tmp_path / "m", model, tokenizer)
    with pytest.raises(LacyError, match="E133"):
        load_model(tmp_path / "m")


def test_a_name_on_the_hub(theirs, tmp_path, monkeypatch):
    """Downloaded models load without a network; lacy's own models keep their <CALL> row."""
    from huggingface_hub import constants

    kept = tmp_path / "hub" / "models--owner--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a" * 40)
    model, tokenizer = from_checkpoint(theirs)
    model.lm_head.weight.data[-1] = 7.0
    save_model(kept / "snapshots" / ("a" * 40), model, tokenizer)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found, own = from_checkpoint("owner/name")
    assert torch.equal(found.lm_head.weight, model.lm_head.weight)
    assert len(own) == len(tokenizer)
    assert LanguageModel("owner/name").name == "name"
    with pytest.raises(LacyError) as caught:
        from_checkpoint("owner/other")
    assert caught.value.code == "E55"
