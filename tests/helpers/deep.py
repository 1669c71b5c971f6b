"""Tiny random models of several blocks, of the families that people prune."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lacy.model import Loaded
from lacy.testing import byte_tokenizer

_GPT2 = {"n_embd": 32, "n_head": 4, "n_positions": 64}
_LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
_NEO = {"hidden_size": 32, "num_heads": 4, "max_position_embeddings": 64, "window_size": 8}
_NEOX = {name: value for name, value in _LLAMA.items() if name != "num_key_value_heads"}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"] * 2
SHAPES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 8},
    "gemma2": _LLAMA | {"head_dim": 8, "sliding_window": 8, "layer_types": KINDS[:5]},
    "gemma3_text": _LLAMA | {"head_dim": 8, "sliding_window": 8, "layer_types": KINDS[:5]},
    "phi3": _LLAMA | {"pad_token_id": 0},
    "smollm3": _LLAMA | {"no_rope_layers": [1, 1, 0, 1, 0], "pad_token_id": None},
    "olmo2": _LLAMA,
    "gpt2": _GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt_neox": _NEOX,
    "opt": _NEOX | {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": None, "dropout": 0.0},
    "mixtral": _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_neo": _NEO | {"attention_types": [[["global", "local"], 2], [["local"], 1]]},
}
"""Sizes by family; lists with an entry per block are for five blocks."""


def deep(family, *, seed=0, **shape):
    """A tiny random model of five blocks, with a tokenizer of bytes and ``<CALL>`` as a gate."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    own = {"bos_token_id": 0, "eos_token_id": 0, **SHAPES[family], **shape}
    layers = "num_layers" if family == "gpt_neo" else "num_hidden_layers"
    own.setdefault(layers, 5)
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **own)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.config.lacy_gate = "sigmoid"
    return Loaded(model, tokenizer)


def logits(model, ids_BT):
    """The model's logits_BTV."""
    with torch.no_grad():
        return model.eval()(input_ids=ids_BT, use_cache=False).logits
