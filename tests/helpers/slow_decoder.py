"""Tiny models, and their next tokens and scores by full forward passes without a cache."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

V, CONTEXT = 61, 48
CALL = V - 1


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, initializer_range=0.3
    )
    return GPT2LMHeadModel(config).eval()


MODELS = {"llama": llama(), "gpt2": gpt2()}


@torch.no_grad()
def slow_next(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0, -1]


@torch.no_grad()
def slow_score(model, ids, candidate, call_id=CALL):
    logits = model(input_ids=torch.tensor([ids + candidate])).logits[0]
    if call_id is not None:
        logits[:, call_id] = -torch.inf
    logp = torch.log_softmax(logits, -1)
    return sum(float(logp[len(ids) + n - 1, token]) for n, token in enumerate(candidate))


def random_ids(seed, rows, length):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, CALL, (rows, length), generator=generator).tolist()


def close(a, b):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=2e-4, rtol=1e-4)
