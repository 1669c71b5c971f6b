"""A folder with a tiny BERT of random weights."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog sat on mat how to ##s ##ed run walk , ."


def write_tokenizer(folder, words=WORDS):
    numbers = {word: number for number, word in enumerate(words.split())}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_bert(folder, words=WORDS, positions=24):
    """Write a BERT of 3 layers and width 32 with its tokenizer; return the model."""
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(words.split()), hidden_size=32, num_hidden_layers=3,
            num_attention_heads=4, intermediate_size=48, max_position_embeddings=positions,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        model.embeddings.token_type_embeddings.weight[1] = 5.0  # never used
    model.save_pretrained(folder)
    write_tokenizer(folder, words)
    return model
