"""Every architecture that is written as GGUF has the same log-probabilities in llama.cpp."""

import httpx
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from helpers.llama_server import llama_server, needs_llama
from helpers.models import TEXTS, byte_level
from helpers.waiting import PATIENCE
from lacy.errors import LacyError
from lacy.model import load_model
from lacy.model.gguf import write_gguf
from lacy.model.io import Loaded
from lacy.testing import byte_tokenizer

pytest.importorskip("gguf", reason="needs the extra gguf")

SHAPE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": None,
}  # fmt: skip
CONFIGS = {
    "llama": lambda **kw: LlamaConfig(**SHAPE, **kw),
    "mistral": lambda **kw: MistralConfig(**SHAPE, sliding_window=None, head_dim=32, **kw),
    "qwen2": lambda **kw: Qwen2Config(**SHAPE, tie_word_embeddings=True, **kw),
    "qwen3": lambda **kw: Qwen3Config(**SHAPE, head_dim=32, **kw),
    # Seven layers, so that one of them has full attention; the window is shorter than the text.
    "gemma3": lambda **kw: Gemma3TextConfig(
        **{**SHAPE, "num_hidden_layers": 7}, head_dim=32, sliding_window=16,
        query_pre_attn_scalar=32, **kw,
    ),
    "phi3": lambda **kw: Phi3Config(**{**SHAPE, "pad_token_id": 0}, sliding_window=None, **kw),
    "gpt2": lambda **kw: GPT2Config(
        n_positions=64, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, **kw
    ),
}  # fmt: skip


def random_model(make):
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    model = AutoModelForCausalLM.from_config(make(vocab_size=len(tokenizer))).eval().float()
    for parameter in model.parameters():  # norms and biases, too
        parameter.data += torch.randn_like(parameter) * 0.05
    return Loaded(model, tokenizer)


def reported(url, ids, size):
    """Return llama.cpp's log-probabilities after each beginning of ``ids``."""
    body = {"n_predict": 1, "n_probs": size, "logit_bias": [[5, 1000.0]]}
    told = []
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for end in range(1, len(ids) + 1):
            answer = client.post("/completion", json={"prompt": ids[:end], **body})
            (first,) = answer.raise_for_status().json()["completion_probabilities"]
            by_id = {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}
            told.append([by_id[token] for token in range(size)])
    return np.array(told)


@needs_llama
@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_computes_the_same(name, tmp_path):
    loaded = random_model(CONFIGS[name])
    ids = [0, *(n * 37 % 250 + 1 for n in range(39))]
    with torch.inference_mode():
        mine = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1).numpy()
    with llama_server(write_gguf(loaded, tmp_path / "m.gguf", "f32"), 64) as url:
        theirs = reported(url, ids, len(loaded.tokenizer))
    # GPT-2's and Gemma's activation comes from a table in half precision there.
    assert np.abs(mine - theirs).max() < (0.02 if name in ("gpt2", "gemma3") else 1e-3)
    assert np.ptp(mine, axis=1).min() > 0.5  # the numbers differ from token to token


ODD = {
    "qwen2": {"head_dim": 24}, "qwen3": {"head_dim": 24}, "llama": {"head_dim": 24},
    "mistral": {"head_dim": 24}, "gpt2": {"n_inner": 96}, "gemma3": {}, "phi3": {},
}  # fmt: skip
"""Sizes that no published model has."""


@pytest.mark.parametrize("name", CONFIGS)
def test_a_written_file_is_read_again(name, tmp_path, monkeypatch):
    tokenizer = byte_level()
    config = CONFIGS[name](vocab_size=len(tokenizer))
    fields = config.to_dict() | ODD[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(type(config).from_dict(fields)).eval()
    loaded = Loaded(model, tokenizer)
    monkeypatch.setenv("LACY_CACHE", str(tmp_path))
    back = load_model(write_gguf(loaded, tmp_path / "m.gguf", "f32"))
    text = " ".join(TEXTS[:3])
    mine, theirs = (t.encode(text, add_special_tokens=False) for t in (tokenizer, back.tokenizer))
    assert theirs == mine
    ids_BT = torch.tensor([[0, *(n * 37 % 250 + 1 for n in range(39))]])
    with torch.inference_mode():
        mine, theirs = (one.model(ids_BT).logits for one in (loaded, back))
    torch.testing.assert_close(theirs, mine, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("qwen2", {"use_sliding_window": True}, "a sliding window"),
        ("mistral", {"sliding_window": 16}, "a sliding window"),
        ("phi3", {"sliding_window": 16}, "a sliding window"),
        ("gemma3", {"query_pre_attn_scalar": 64}, "attention scale 64"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "attention layers"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "capped logits"),
        ("gpt2", {"activation_function": "relu"}, "activation relu"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scaled by layer"),
    ],
)
def test_settings_that_are_not_written_are_refused(name, change, why, tmp_path):
    loaded = random_model(CONFIGS[name])
    for key, value in change.items():
        setattr(loaded.model.config, key, value)
    with pytest.raises(LacyError, match=f"E90.*{why}"):
        write_gguf(loaded, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


def test_other_architectures_are_refused_by_name(tmp_path):
    def make(**kw):
        return OPTConfig(hidden_size=32, num_hidden_layers=1, ffn_dim=64, num_attention_heads=2,
                         word_embed_proj_dim=32, **kw)  # fmt: skip

    with pytest.raises(LacyError, match=r"E90.*opt.*qwen3"):
        write_gguf(random_model(make), tmp_path / "m.gguf")
