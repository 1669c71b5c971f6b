"""Tiny random models as other tools save them: without ``<CALL>``."""

import json

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lacy.testing import byte_tokenizer

END = "<|endoftext|>"


def raw_tokenizer(**settings):
    """A tokenizer of bytes and an end token (257 tokens)."""
    state = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    del state["model"]["vocab"]["<CALL>"]
    state["added_tokens"].pop()
    backend = Tokenizer.from_str(json.dumps(state))
    settings = {"bos_token": END, "eos_token": END} | settings
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)


def raw_llama(*, tied=True, padding=0, seed=0, context=128):
    """A random Llama for ``raw_tokenizer``, with this many rows beyond its tokens."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257 + padding, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
        bos_token_id=0, eos_token_id=0, pad_token_id=None, tie_word_embeddings=tied,
        initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def save_raw(folder, model, tokenizer=None):
    """Save a model and its tokenizer as plain ``transformers`` files."""
    model.save_pretrained(folder)
    (tokenizer or raw_tokenizer()).save_pretrained(folder)
    return folder
