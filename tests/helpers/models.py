"""Real tokenizers of the kinds in use, trained on a few sentences; tiny models for them."""

import json
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEXTS = [
    "Mara Vell was born in Ulm on 12 March 1879. She studied physics at the University of Zürich.",
    "Tomas Brill, an engineer from Łódź, grew up in Paris and won the Copley Medal in 1921.",
    "He married Ada Lovelace; they lived in São Paulo, 東京 and Αθήνα — “near the sea”.",
] * 20
END, CALL = "<|endoftext|>", "<CALL>"
SCRATCH = {"training": {"settings": {"method": "lacy"}}}
"""``lacy.json`` of a model that lacy trained from scratch: it does not read a source's sentences,
as a model behind a server does not."""


def _wrap(backend):
    backend.add_special_tokens([END])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=END, eos_token=END, pad_token=END
    )
    tokenizer.add_tokens([CALL], special_tokens=True)
    return tokenizer


def byte_level(size=400):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(TEXTS, trainer)
    return _wrap(backend)


def byte_level_unigram(size=400):
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(TEXTS, trainer)
    return _wrap(backend)


def metaspace(scheme="always", size=420):
    """As SentencePiece makes them (Llama 2): ▁ for spaces, bytes for unknown characters."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END, "<unk>", *fallback], show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    state = json.loads(backend.to_str())
    state["model"] |= {"byte_fallback": True, "unk_token": "<unk>"}  # training forgets both
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in fallback]
    tokenizer = _wrap(Tokenizer.from_str(json.dumps(state)))
    tokenizer.unk_token = "<unk>"
    return tokenizer


def llama2_style():
    """Llama 2's older form: the normalizer writes ▁."""
    tokenizer = metaspace()
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.pre_tokenizer = pre_tokenizers.Split("x", "isolated")
    return tokenizer


def llama(tokenizer, context=128, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return SimpleNamespace(model=LlamaForCausalLM(config).eval(), tokenizer=tokenizer, meta={})


def gpt2(tokenizer, context=128, seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=context,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return SimpleNamespace(model=GPT2LMHeadModel(config).eval(), tokenizer=tokenizer, meta={})


ALL = {
    "byte_level": byte_level(),
    "byte_level_unigram": byte_level_unigram(),
    "metaspace": metaspace(),
    "metaspace_first": metaspace("first"),
    "llama2_style": llama2_style(),
}


REAL = {"llama": llama(ALL["byte_level"]), "gpt2": gpt2(ALL["metaspace"])}
"""Two tiny random models of different families and tokenizers."""
