"""Signals against slow references, one by one and over whole documents."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lacy.cascade import teacher_forced_signals
from lacy.cascade.signals import read_signal, step_signals
from lacy.testing import byte_tokenizer
from lacy.types import Document, Mark, MarkFlag

TOKENIZER = byte_tokenizer()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=9),
    st.booleans(),
)
def test_signals_equal_their_definitions(logits, last):
    call = len(logits) - 1 if last else 0
    tensor = torch.tensor([logits, logits[::-1]], dtype=torch.float32)
    for row, values in enumerate((logits, logits[::-1])):
        own = [x for n, x in enumerate(values) if n != call]
        total = math.log(sum(math.exp(x) for x in own))
        p = [math.exp(x - total) for x in own]
        best = sorted(own, reverse=True)
        everything = sum(math.exp(x) for x in values)
        expected = {
            "margin": values[call] - best[0],
            "p_call": math.exp(values[call]) / everything,
            "entropy": -sum(q * math.log(q) for q in p if q > 0),
            "top2": best[0] - best[1],
        }
        for name, value in expected.items():
            got = read_signal(tensor, call, name)[row]
            assert got == pytest.approx(value, abs=1e-4, rel=1e-4), name


def test_without_call_and_unknown_names():
    logits = torch.randn(2, 5)
    assert np.all(np.isneginf(read_signal(logits, None, "margin")))
    assert np.all(read_signal(logits, None, "p_call") == 0)
    signals = step_signals(logits, 4, [0, 1], lambda row: "")
    assert np.allclose(signals.read("top2"), -read_signal(logits, 4, "top2"))
    with pytest.raises(ValueError, match="mood"):
        read_signal(logits, 4, "mood")


def model(kind):
    torch.manual_seed(0)
    size = len(TOKENIZER)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=48)
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_teacher_forced_signals_equal_one_document_at_a_time(kind):
    loaded = SimpleNamespace(model=model(kind), tokenizer=TOKENIZER)
    documents = [
        Document("a", "Ada was born in Ulm.", marks=(Mark(16, 19, "VALUE", "place"),)),
        Document("b", "é"),
        Document("long", "x" * 100),
    ]
    results = list(teacher_forced_signals(loaded, documents))
    assert [r.id for r in results] == ["a", "b", "long"]
    assert [r.truncated for r in results] == [False, False, True]
    for result, document in zip(results, documents, strict=True):
        ids = [0, *TOKENIZER.encode(document.text, add_special_tokens=False), 0][:49]
        assert result.targets.tolist() == ids[1:]
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids[:-1]])).logits[0]
        own = logits[:, :-1]
        assert result.margin == pytest.approx((logits[:, -1] - own.amax(-1)).numpy(), abs=1e-3)
        logp = torch.log_softmax(own, -1)[torch.arange(len(ids) - 1), ids[1:]]
        assert result.logprob == pytest.approx(logp.numpy(), abs=1e-3)
        for array in (result.marks, result.p_call, result.entropy, result.top2):
            assert len(array) == len(result.targets)
    first = results[0]
    starts = np.flatnonzero(first.marks & MarkFlag.START)
    # The marked token is "U" (or the space before it, where alignment takes it along).
    assert len(starts) == 1 and starts[0] in (15, 16)
