"""A small real tokenizer and models built on it."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def make_tokenizer(extra: int = 0, call: bool = True) -> PreTrainedTokenizerFast:
    """Bytes as tokens, end-of-text first, ``extra`` unused tokens, ``<CALL>`` last."""
    names = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"<extra{i}>" for i in range(extra)] + (["<CALL>"] if call else [])
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    if call:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": ["<CALL>"]}, replace_extra_special_tokens=False
        )
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()
