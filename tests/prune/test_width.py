"""Narrower models: equal to the original with parts switched off, and what makes up for them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from helpers.deep import deep, logits
from lacy.errors import LacyError
from lacy.layerwise import find_blocks, walk_blocks
from lacy.model import decodes_from_cache, load_model, save_model
from lacy.prune import check_width, prune_width, width_of_shares
from lacy.prune.cuts import compensated
from lacy.prune.width import _number

WITH_HEADS = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "smollm3"]
WITH_NEURONS = [*WITH_HEADS, "phi3", "olmo2", "gpt2", "gpt_neox", "gpt_neo"]
WITH_CHANNELS = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]
SIZE = 8


def rows_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 250, (3, 24), generator=generator),
            torch.randint(0, 250, (1, 9), generator=generator)]  # fmt: skip


def with_zeroed_inputs(model, kept_by_module):
    """Hooks that set all but the kept inputs of modules to zero."""

    def hook_of(kept):
        def hook(module, args):
            inputs = torch.zeros_like(args[0])
            inputs[..., kept] = args[0][..., kept]
            return (inputs, *args[1:])

        return hook  # fmt: skip

    modules = dict(model.named_modules())
    for name, kept in kept_by_module.items():
        modules[name].register_forward_pre_hook(hook_of(list(kept)))
    return model


def reader(block, *names):
    return next(m.name for m in block.matrices if m.name.endswith(names))


@pytest.mark.parametrize("family", WITH_NEURONS)
def test_without_neurons_a_model_is_the_original_with_these_neurons_at_zero(family):
    loaded, original = deep(family), deep(family).model
    found = prune_width(loaded, rows_of(), neurons=29, compensate=False)
    blocks = find_blocks(original)
    names = ("down_proj", "mlp.c_proj", "dense_4h_to_h")
    kept = {reader(b, *names): found.neurons[b.index] for b in blocks}
    expected = logits(with_zeroed_inputs(original, kept), rows_of()[0])
    torch.testing.assert_close(logits(found.loaded.model, rows_of()[0]), expected)
    assert all(len(set(own)) == 29 for own in found.neurons)
    assert found.parameters[1] < found.parameters[0]


@pytest.mark.parametrize(("heads", "kv_heads", "kept"), [
    (2, None, (2, 1)), (2, 2, (2, 2)), (3, 3, None), (1, None, None), (1, 1, (1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("family", WITH_HEADS)
def test_without_heads_a_model_is_the_original_with_these_heads_at_zero(
    family, heads, kv_heads, kept
):
    loaded, original = deep(family), deep(family).model
    if kept is None:
        with pytest.raises(LacyError, match="E294"):
            prune_width(loaded, rows_of(), heads=heads, kv_heads=kv_heads)
        return
    found = prune_width(loaded, rows_of(), heads=heads, kv_heads=kv_heads, compensate=False)
    assert {(len(q), len(k)) for q, k in zip(found.heads, found.kv_heads, strict=True)} == {kept}
    columns = {
        reader(b, "o_proj"): [h * SIZE + n for h in found.heads[b.index] for n in range(SIZE)]
        for b in find_blocks(original)
    }
    expected = logits(with_zeroed_inputs(original, columns), rows_of()[0])
    torch.testing.assert_close(logits(found.loaded.model, rows_of()[0]), expected)
    config = found.loaded.model.config
    assert (config.num_attention_heads, config.num_key_value_heads) == kept
    for q, k in zip(found.heads, found.kv_heads, strict=True):  # groups keep their own head
        assert sorted({head // 2 for head in q}) == list(k)


@pytest.mark.parametrize("family", WITH_CHANNELS)
def test_channels_of_states_close_to_zero_can_be_removed(family):
    loaded = deep(family)
    table = loaded.model.get_input_embeddings().weight
    with torch.no_grad():
        table *= 0.003 / table.std()  # squares near the epsilon of the norms
    before = loaded.model.config.rms_norm_eps
    found = prune_width(loaded, rows_of(), channels=8, compensate=False)  # checks the logits
    assert found.loaded.model.config.rms_norm_eps == pytest.approx(4 * before)


@pytest.mark.parametrize("family", WITH_CHANNELS)
@pytest.mark.parametrize("tied", [True, False])
def test_without_channels_a_model_is_the_original_with_these_channels_at_zero(family, tied):
    loaded = deep(family, tie_word_embeddings=tied)
    original = deep(family, tie_word_embeddings=tied).model
    found = prune_width(loaded, rows_of(), channels=24, compensate=False)
    gone = sorted(set(range(32)) - set(found.channels))
    with torch.no_grad():
        original.get_input_embeddings().weight[:, gone] = 0
        for block in find_blocks(original):
            for matrix in block.matrices:
                if matrix.name.endswith(("o_proj", "down_proj")):
                    matrix.module.weight[gone] = 0
                    if matrix.module.bias is not None:
                        matrix.module.bias[gone] = 0
    expected = logits(original, rows_of()[0])
    torch.testing.assert_close(
        logits(found.loaded.model, rows_of()[0]), expected, atol=1e-4, rtol=1e-3
    )
    model = found.loaded.model
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is table) == tied and head.shape == (258, 24)
    whole = deep(family, tie_word_embeddings=tied).model.get_output_embeddings().weight
    assert torch.equal(head[-1], whole[-1, list(found.channels)])  # the row of <CALL>


@pytest.mark.parametrize("family", WITH_CHANNELS)
def test_everything_at_once_is_saved_and_opened_by_lacy_and_plain_transformers(family, tmp_path):
    said = []
    found = prune_width(deep(family), rows_of(), heads=2, neurons=40, channels=24,
                        notify=said.append)  # fmt: skip
    model = found.loaded.model
    save_model(tmp_path / "m", model, found.loaded.tokenizer, found.loaded.meta)
    expected = logits(model, rows_of()[0])
    again = load_model(tmp_path / "m").model.eval()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    assert torch.equal(logits(again, rows_of()[0]), expected)
    assert torch.equal(logits(plain, rows_of()[0]), expected)
    assert again.config.lacy_gate == "sigmoid" and decodes_from_cache(again)
    assert sum(p.numel() for p in plain.parameters()) == found.parameters[1]
    assert "Block 5 of 5 is narrower." in said
    assert "40 neurons are no multiple of 32: GGUF cannot quantize such rows." in said


# --------------------------------------------------------------------------- compensation


@pytest.mark.parametrize("seed", range(3))
def test_kept_inputs_make_up_for_removed_ones_as_least_squares_would(seed):
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(200, 3)) @ random.normal(size=(3, 12))  # highly correlated
    inputs += 0.1 * random.normal(size=inputs.shape)
    weight = random.normal(size=(5, 12))
    kept = np.sort(random.permutation(12)[:8])
    hessian = torch.from_numpy(inputs.T @ inputs)
    found = compensated(torch.from_numpy(weight), hessian, torch.from_numpy(kept)).numpy()
    # The same as ridge regression of the missing output on the kept inputs.
    ridge = 0.01 * np.diag(hessian.numpy()).mean()
    stacked = np.concatenate([inputs[:, kept], np.sqrt(ridge) * np.eye(8)])
    missing = inputs @ weight.T - inputs[:, kept] @ weight[:, kept].T
    change = np.linalg.lstsq(stacked, np.concatenate([missing, np.zeros((8, 5))]), rcond=None)[0]
    np.testing.assert_allclose(found, weight[:, kept] + change.T, rtol=1e-6, atol=1e-8)
    before = np.square(missing).sum()
    after = np.square(inputs @ weight.T - inputs[:, kept] @ found.T).sum()
    assert after < 0.5 * before


@pytest.mark.parametrize("what", [{"heads": 2}, {"neurons": 24}, {"channels": 24}])
def test_compensation_brings_the_last_states_closer(what):
    rows = [ids_BT % 9 for ids_BT in rows_of()]  # few tokens, so that inputs are correlated
    with torch.no_grad():
        expected = logits(deep("llama").model, rows[0])
    errors = {}
    for compensate in (True, False):
        found = prune_width(deep("llama"), rows, compensate=compensate, **what)
        errors[compensate] = float((logits(found.loaded.model, rows[0]) - expected).square().mean())
    assert errors[True] < errors[False]


def test_neurons_with_the_largest_contribution_remain():
    original = deep("qwen3").model
    found = prune_width(deep("qwen3"), rows_of(), neurons=10, compensate=False)
    visit = next(iter(walk_blocks(original, rows_of())))
    module = visit.block.module.mlp.down_proj
    seen = []
    hook = module.register_forward_pre_hook(lambda module, args: seen.append(args[0].flatten(0, 1)))
    list(visit.outputs())
    hook.remove()
    inputs_NI = torch.cat(seen)
    weight_OI = module.weight.detach()
    score = [float((inputs_NI[:, n, None] * weight_OI[:, n]).square().sum()) for n in range(48)]
    assert found.neurons[0] == tuple(sorted(sorted(range(48), key=lambda n: -score[n])[:10]))


# --------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("family", "what"), [
    ("gpt2", {"heads": 2}), ("gpt_neox", {"heads": 2}), ("phi3", {"heads": 2}),
    ("gpt2", {"channels": 24}), ("gemma3_text", {"channels": 24}), ("gemma2", {"channels": 24}),
    ("phi3", {"channels": 24}), ("olmo2", {"heads": 2}),
])  # fmt: skip
def test_architectures_whose_config_cannot_express_it_are_refused(family, what):
    loaded = deep(family)
    with pytest.raises(LacyError, match="E291"):
        check_width(loaded.model, **what)
    with pytest.raises(LacyError, match="E291"):
        prune_width(loaded, rows_of(), **what)
    assert torch.equal(logits(loaded.model, rows_of()[0]), logits(deep(family).model, rows_of()[0]))


def test_what_would_have_to_shrink_too_is_named():
    with pytest.raises(LacyError, match=r"self_attn.*_norm.* would have the size"):
        check_width(deep("olmo2").model, heads=2)


@pytest.mark.parametrize("family", WITH_HEADS)
def test_the_structure_of_a_narrower_model_is_known_beforehand(family):
    what = {"heads": 2, "neurons": 40} | ({"channels": 24} if family in WITH_CHANNELS else {})
    loaded = deep(family)
    structure = check_width(loaded.model, **what)
    found = prune_width(loaded, rows_of(), **what, compensate=False).loaded.model
    assert {name: t.shape for name, t in structure.state_dict().items()} == {
        name: t.shape for name, t in found.state_dict().items()
    }
    assert all(parameter.is_meta for parameter in structure.parameters())
    check_width(structure, neurons=8)  # a later step


@given(share=st.floats(0.01, 0.99), whole=st.integers(2, 300), multiple=st.sampled_from([1, 3, 32]))
def test_a_share_is_always_a_possible_number(share, whole, multiple):
    number = _number(share, whole, multiple)
    assert 0 < number < whole
    assert number % multiple == 0 or whole <= multiple
    nearest = min(range(1, whole), key=lambda n: abs(n - share * whole))
    assert abs(number - nearest) <= multiple


@pytest.mark.parametrize("family", WITH_NEURONS)
def test_shares_become_numbers_that_a_model_can_have(family):
    model = deep(family).model
    many = family in ("gpt2", "gpt_neo")  # four times the width
    assert width_of_shares(model, neurons=0.7) == {"neurons": 96 if many else 32}
    if family in WITH_HEADS:
        assert width_of_shares(model, heads=0.9) == {"heads": 2}  # two groups of two
    if family in WITH_CHANNELS:
        assert width_of_shares(model, channels=0.5) == {"channels": 16}  # fewer than 32


@pytest.mark.parametrize("what", [
    {}, {"heads": 4}, {"heads": 0}, {"neurons": 48}, {"channels": 33}, {"heads": 2, "kv_heads": 0},
])  # fmt: skip
def test_impossible_numbers_are_refused_before_anything_changes(what):
    loaded = deep("llama")
    with pytest.raises(LacyError, match="E294"):
        prune_width(loaded, rows_of(), **what)
    assert torch.equal(
        logits(loaded.model, rows_of()[0]), logits(deep("llama").model, rows_of()[0])
    )


def test_texts_are_needed():
    with pytest.raises(LacyError, match="E294"):
        prune_width(deep("llama"), [], neurons=24)
