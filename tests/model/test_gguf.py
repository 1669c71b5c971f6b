"""A model as GGUF: its file as gguf's own reader sees it, and its numbers as llama.cpp does."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.model.gguf import pre_tokenizer, write_gguf
from lacy.model.io import Loaded
from lacy.sources.text import TokenText
from lacy.testing import byte_tokenizer

pytest.importorskip("gguf", reason="needs the extra gguf")
import gguf

LLAMA = sys.executable if find_spec("llama_cpp") else os.environ.get("LACY_LLAMA_PYTHON", "")
"""A Python with llama-cpp-python: this one, or that of the environment."""

needs_llama = pytest.mark.skipif(
    not LLAMA, reason="needs llama-cpp-python here or behind LACY_LLAMA_PYTHON"
)

TEXTS = [
    "Ada Lovelace was born on 10 December 1815 in London, and didn't like it.",
    "The café in Zürich opened on 12 March 1879, cost $1,234.50 — naïve?\n\n\tIndented  text",
    "東京 и Москва 😀 e\u0301 ﬁ\r\n x_y/z",
    "   lead", "trail   ", "a\n\n\n b", "١٢٣ ½ ² Ⅷ", "\u00a0nbsp \u3000wide",
    "'s 'S 'tis I'm WE'LL don’t", "x  1  2   3 y 1990s 3rd", "\x00\x01 <CALL", "", " ", "7",
]  # fmt: skip

SCRIPT = """
import json, sys
from llama_cpp import Llama
jobs = json.load(open(sys.argv[1]))
m = Llama(jobs["model"], n_ctx=96, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
tokens = [m.tokenize(t.encode(), add_bos=False, special=False) for t in jobs["texts"]]
m.eval(jobs["ids"])
logits = m.scores[: len(jobs["ids"])].tolist()
call = m.detokenize([m.n_vocab() - 1]).decode()
print(json.dumps({"tokens": tokens, "logits": logits, "call": call}))
"""


def model_of(size, *, tied=False, **shape):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96, bos_token_id=0,
        eos_token_id=0, pad_token_id=None, tie_word_embeddings=tied, **shape,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    return model


def trained(**how):
    return train_tokenizer(TEXTS * 20, 400, **how)


@pytest.fixture(scope="module")
def loaded():
    tokenizer = trained()
    return Loaded(model_of(len(tokenizer)), tokenizer)


def fields(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_the_file_says_what_the_model_is(loaded, tmp_path):
    found = fields(write_gguf(loaded, tmp_path / "m.gguf", "f32"))
    size = len(loaded.tokenizer)
    assert found["general.architecture"] == "llama"
    assert found["llama.context_length"] == 96
    assert (found["llama.attention.head_count"], found["llama.attention.head_count_kv"]) == (4, 2)
    assert found["llama.rope.dimension_count"] == 16
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "smollm"
    assert found["tokenizer.ggml.add_bos_token"] is True
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert tokens == loaded.tokenizer.convert_ids_to_tokens(range(size))
    assert (tokens[0], kinds[0]) == ("<|endoftext|>", gguf.TokenType.CONTROL)
    assert (tokens[-1], kinds[-1]) == ("<CALL>", gguf.TokenType.USER_DEFINED)
    assert set(kinds[1:-1]) == {gguf.TokenType.NORMAL}
    merges = found["tokenizer.ggml.merges"]
    assert len(merges) > 10
    assert all(len(merge.split(" ")) == 2 for merge in merges)


@pytest.mark.parametrize(("precision", "error"), [("f32", 0.0), ("f16", 1e-3), ("q8_0", 1e-2)])
def test_weights_are_there_at_their_precision(loaded, tmp_path, precision, error):
    found = tensors(write_gguf(loaded, tmp_path / "m.gguf", precision))
    wanted = gguf.GGMLQuantizationType[precision.upper()]
    state = loaded.model.state_dict()
    keys = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
    }
    for name, key in keys.items():
        tensor = found[name]
        assert tensor.tensor_type == wanted
        kept = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.abs(kept - state[key].numpy()).max() <= error
    assert found["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert len(found) == len(state)
    rotated = found["blk.0.attn_q.weight"]
    q = gguf.quants.dequantize(rotated.data, rotated.tensor_type)
    true = state["model.layers.0.self_attn.q_proj.weight"].numpy()
    assert np.abs(q[0::2][:8] - true[:8]).max() <= error  # the first head's first half
    assert np.abs(q[1::2][:8] - true[8:16]).max() <= error


def test_shared_tables_are_written_once(tmp_path):
    tokenizer = byte_tokenizer()
    found = tensors(
        write_gguf(Loaded(model_of(258, tied=True), tokenizer), tmp_path / "m.gguf", "f16")
    )
    assert "output.weight" not in found
    assert "token_embd.weight" in found


def test_rows_that_fill_no_block_stay_halved(tmp_path):
    config = LlamaConfig(
        vocab_size=258, hidden_size=48, intermediate_size=96, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    odd = Loaded(LlamaForCausalLM(config), byte_tokenizer())
    found = tensors(write_gguf(odd, tmp_path / "m.gguf", "q8_0"))
    assert found["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    assert found["blk.0.ffn_up.weight"].tensor_type == gguf.GGMLQuantizationType.F16


def test_how_texts_are_cut_has_a_name():
    assert pre_tokenizer(trained()) == "smollm"
    assert pre_tokenizer(trained(split_digits=False)) == "gpt-2"
    assert pre_tokenizer(byte_tokenizer()) == "gpt-2"
    with pytest.raises(LacyError, match=r"E90.*Unigram"):
        pre_tokenizer(trained(kind="unigram"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lacy_gate": "sigmoid"}, "gate"),
        ({"model_type": "gpt2"}, "gpt2"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "linear"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(loaded, tmp_path, change, why):
    model = model_of(len(loaded.tokenizer))
    for name, value in change.items():
        setattr(type(model.config), name, value) if name == "model_type" else setattr(
            model.config, name, value
        )
    try:
        with pytest.raises(LacyError, match=f"E90.*{why}"):
            write_gguf(Loaded(model, loaded.tokenizer), tmp_path / "m.gguf")
    finally:
        type(model.config).model_type = "llama"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_precision_is_named(loaded, tmp_path):
    with pytest.raises(LacyError, match=r"E12.*q2"):
        write_gguf(loaded, tmp_path / "m.gguf", "q2")


def test_a_missing_package_is_an_extra(loaded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(LacyError, match=r"(?s)E11.*lacy\[gguf\]"):
        write_gguf(loaded, tmp_path / "m.gguf")


@needs_llama
@pytest.mark.parametrize(("precision", "error"), [("f32", 1e-3), ("f16", 0.05), ("q8_0", 1.0)])
@pytest.mark.parametrize("split_digits", [True, False])
def test_llama_cpp_reads_the_same_model(tmp_path, precision, error, split_digits):
    tokenizer = trained(split_digits=split_digits)
    loaded = Loaded(model_of(len(tokenizer)), tokenizer)
    text = TokenText(tokenizer)
    ids = [0, *text.encode(" ".join(TEXTS[:2]))][:90]
    path = write_gguf(loaded, tmp_path / "m.gguf", precision)
    jobs = tmp_path / "jobs.json"
    jobs.write_text(json.dumps({"model": str(path), "texts": TEXTS, "ids": ids}))
    made = subprocess.run(
        [LLAMA, "-c", SCRIPT, str(jobs)], capture_output=True, text=True, timeout=600,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    told = json.loads(made.stdout.splitlines()[-1])
    assert told["tokens"] == [text.encode(t) for t in TEXTS]
    assert told["call"] == "<CALL>"
    with torch.inference_mode():
        mine = loaded.model(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(mine - np.array(told["logits"])).max() < error
