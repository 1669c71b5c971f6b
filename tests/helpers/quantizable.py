"""Tiny models that can be written as GGUF, and texts for them."""

import copy

import families
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

from helpers.models import TEXTS, byte_level
from lacy.layerwise import text_rows
from lacy.model import Loaded
from lacy.types import Document

pytest.importorskip("gguf", reason="needs the extra gguf")
TOKENIZER = byte_level()
DOCUMENTS = [Document(str(n), text) for n, text in enumerate(TEXTS[:12])]


def llama(*, tied=True, gate=None, **sizes):
    torch.manual_seed(0)
    config = LlamaConfig(
        **{
            "vocab_size": len(TOKENIZER), "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 128, "initializer_range": 0.2, "bos_token_id": 0,
            "eos_token_id": 0, "pad_token_id": None, "tie_word_embeddings": tied,
        }
        | sizes
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    if gate:
        model.config.lacy_gate = gate
    return Loaded(model, TOKENIZER)


def family(kind):
    """A tiny model of a family that llama.cpp computes; Gemma has full attention in each sixth
    layer there."""
    if kind == "gemma3_text":
        torch.manual_seed(0)
        config = Gemma3TextConfig(
            vocab_size=len(TOKENIZER), hidden_size=64, intermediate_size=96, num_hidden_layers=6,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32, query_pre_attn_scalar=32,
            sliding_window=16, max_position_embeddings=128,
        )  # fmt: skip
        return Loaded(AutoModelForCausalLM.from_config(config).eval(), TOKENIZER)
    return Loaded(families.tiny(kind, len(TOKENIZER)).eval(), TOKENIZER)


def rows(count=8, length=48):
    return text_rows(DOCUMENTS, TOKENIZER, rows=count, length=length)


def logits(loaded, seed=3):
    random = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(len(TOKENIZER) - 1, (2, 40), generator=random)
    with torch.no_grad():
        return loaded.model(input_ids=ids_BT).logits


def copied(loaded):
    return Loaded(copy.deepcopy(loaded.model), loaded.tokenizer, dict(loaded.meta))
