"""A document in a packed row is the document alone: values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM

from lacy.errors import LacyError
from lacy.model import build_model, head_weight, hidden_states
from lacy.model.forward import positions, require_trainable, separates_documents
from lacy.testing import byte_tokenizer

SMALL = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 2, "ffn": 64}
FAMILIES = {
    "llama": ("tiny", SMALL | {"kv_heads": 1}),
    "gpt2": ("334m", SMALL),
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    name, shape = FAMILIES[request.param]
    return build_model(name, byte_tokenizer(), context=32, **shape)


layouts = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=3)


def rows(layout, width):
    """Segments of each row: documents of these lengths, then padding."""
    segments = torch.zeros(len(layout), width, dtype=torch.int32)
    for row, lengths in enumerate(layout):
        first = 0
        for number, length in enumerate(lengths, 1):
            segments[row, first : first + length] = number
            first += length
    return segments


@settings(deadline=None, max_examples=15, derandomize=True)
@given(layout=layouts, seed=st.integers(0, 99))
def test_packed_equals_alone(model, layout, seed):
    width = max(sum(lengths) for lengths in layout) + 2
    segments = rows(layout, width)
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 250, segments.shape, generator=chance)
    weights = torch.randn(*segments.shape, 32, generator=chance)
    parameters = [p for p in model.parameters() if p.requires_grad]

    packed = hidden_states(model, ids, segments)
    real = (segments != 0)[..., None]
    together = torch.autograd.grad((packed * weights * real).sum(), parameters, allow_unused=True)

    alone_sum = 0.0
    for row, lengths in enumerate(layout):
        first = 0
        for length in lengths:
            part = slice(first, first + length)
            first += length
            alone = hidden_states(model, ids[row : row + 1, part])
            torch.testing.assert_close(packed[row : row + 1, part], alone, rtol=1e-4, atol=1e-5)
            alone_sum = alone_sum + (alone * weights[row : row + 1, part]).sum()
    apart = torch.autograd.grad(alone_sum, parameters, allow_unused=True)
    for one, other in zip(together, apart, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_without_segments_documents_do_see_each_other(model):
    segments = rows([[5, 6]], 11)
    ids = torch.arange(11)[None] + 3
    apart = hidden_states(model, ids, segments)[:, 5:]
    joined = hidden_states(model, ids)[:, 5:]
    assert (apart - joined).abs().max() > 1e-3


@given(layout=layouts)
def test_positions_count_from_each_start(layout):
    segments = rows(layout, max(sum(lengths) for lengths in layout) + 2)
    for row, found in zip(segments.tolist(), positions(segments).tolist(), strict=True):
        expected, last = [], None
        for segment in row:
            expected.append(0 if segment != last else expected[-1] + 1)
            last = segment
        assert found == expected


def test_the_probe_accepts_our_families_and_refuses_a_model_that_ignores_positions(model):
    assert separates_documents(model)
    assert model.training
    config = BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2)
    assert not separates_documents(BloomForCausalLM(config).eval())


@pytest.mark.parametrize("extra", ["bias", "cap"])
def test_a_head_that_is_more_than_a_matrix_is_refused(extra):
    model = build_model("tiny", byte_tokenizer(), context=32, **SMALL)
    assert head_weight(model).shape == (258, 32)
    if extra == "bias":
        model.lm_head.bias = torch.nn.Parameter(torch.zeros(258))
    else:
        model.config.final_logit_softcapping = 30.0
    with pytest.raises(LacyError, match="is not supported") as caught:
        head_weight(model)
    assert caught.value.code == "E58"


@pytest.mark.parametrize("what", ["scaled", "capped", "shifted"])
def test_logits_that_are_more_than_hidden_times_head_are_refused(what):
    """Settings that scale or cap logits have many names, so they are measured."""
    model = build_model("tiny", byte_tokenizer(), context=32, **SMALL)
    require_trainable(model)
    change = {
        "scaled": lambda logits: logits * 0.5,
        "capped": lambda logits: torch.tanh(logits),
        "shifted": lambda logits: logits + 1.0,
    }
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: change[what](logits))
    with pytest.raises(LacyError, match="logits are more than its hidden states") as caught:
        require_trainable(model)
    assert caught.value.code == "E58"
