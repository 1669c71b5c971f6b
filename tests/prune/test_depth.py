"""Removing blocks: the smaller model, whatever its family, and which blocks are chosen."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from helpers import models
from helpers.deep import SHAPES, deep, logits
from lacy.errors import LacyError
from lacy.layerwise import find_blocks
from lacy.model import Loaded, decodes_from_cache, layer_states, load_model, save_model
from lacy.prune import DEPTH_CHOICES, prune_depth
from lacy.prune.refit import _fit
from lacy.testing import byte_tokenizer


@pytest.mark.parametrize("family", SHAPES)
def test_a_smaller_model_of_any_family_is_saved_opened_and_decodes(family, tmp_path):
    loaded = deep(family)
    tied = loaded.model.config.tie_word_embeddings
    ids_BT = torch.randint(0, 250, (2, 40))
    found = prune_depth(loaded, [ids_BT], count=2, by="influence")
    smaller = found.loaded.model
    assert len(find_blocks(smaller)) == smaller.config.num_hidden_layers == 3
    assert found.parameters[1] < found.parameters[0]
    assert smaller.config.lacy_gate == "sigmoid"
    head = smaller.get_output_embeddings().weight
    assert torch.equal(head, loaded.model.get_output_embeddings().weight)
    assert (head is smaller.get_input_embeddings().weight) == tied
    assert torch.equal(switched_off(loaded.model, found.removed, ids_BT),
                       logits(smaller, ids_BT))  # fmt: skip

    save_model(tmp_path / "m", smaller, found.loaded.tokenizer, found.loaded.meta)
    again = load_model(tmp_path / "m")
    assert torch.equal(logits(again.model.eval(), ids_BT), logits(smaller, ids_BT))
    assert decodes_from_cache(again.model)


def switched_off(model, removed, ids_BT):
    """Logits of the model whose removed blocks return their input; slow and obvious."""

    def identity(module, args, named, output):
        states = args[0] if args else named["hidden_states"]
        return (states, *output[1:]) if isinstance(output, tuple) else states

    hooks = [find_blocks(model)[n].module.register_forward_hook(identity, with_kwargs=True)
             for n in removed]  # fmt: skip
    try:
        return logits(model, ids_BT)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_blocks_are_removed_one_by_one_by_the_loss_without_them(family):
    loaded = deep(family)
    rows = [torch.randint(0, 250, (2, 24)), torch.randint(0, 250, (1, 9))]
    found = prune_depth(loaded, rows, count=2)

    removed, scores = [], []
    for _ in range(2):
        losses = {}
        for n in set(range(5)) - set(removed):
            total, tokens = 0.0, 0
            for ids_BT in rows:
                own = switched_off(loaded.model, [*removed, n], ids_BT)[:, :-1, :-1].flatten(0, 1)
                total += float(cross_entropy(own, ids_BT[:, 1:].flatten(), reduction="sum"))
                tokens += ids_BT[:, 1:].numel()
            losses[n] = total / tokens
        removed.append(min(losses, key=losses.get))
        scores.append(losses[removed[-1]])
    assert list(found.removed) == removed
    assert found.scores == pytest.approx(scores, rel=1e-4)


def test_influence_is_one_minus_the_mean_cosine():
    loaded = deep("llama")
    rows = [torch.randint(0, 250, (2, 24)), torch.randint(0, 250, (1, 9))]
    found = prune_depth(loaded, rows, count=4, by="influence")
    turns = []
    for n in range(4):  # transformers' last state is normalised, so the last block is left out
        parts = []
        for ids_BT in rows:
            with torch.no_grad():
                states = layer_states(loaded.model, ids_BT)
            parts.append(1 - cosine_similarity(states[n], states[n + 1], dim=-1).flatten())
        turns.append(float(torch.cat(parts).mean()))
    by_block = dict(zip(found.removed, found.scores, strict=True))
    assert list(found.scores) == sorted(found.scores)
    assert {n: turns[n] for n in by_block if n < 4} == pytest.approx(
        {n: score for n, score in by_block.items() if n < 4}, rel=1e-3)  # fmt: skip


def test_the_last_blocks_need_no_texts_and_the_original_stays_as_it_is():
    loaded = deep("qwen3")
    before = {name: t.clone() for name, t in loaded.model.state_dict().items()}
    said = []
    found = prune_depth(loaded, by="last", share=0.5, notify=said.append)
    assert found.removed == (3, 4) and found.blocks == 5
    assert said == ["The last 2 of 5 blocks removed."]
    after = loaded.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not any("forward" in vars(module) for module in loaded.model.modules())


def test_entries_that_are_no_longer_true_are_dropped():
    made = models.llama(byte_tokenizer())
    meta = {"fingerprint": "x", "parameters": 5, "preset": "1m", "gate": "sigmoid"}
    found = prune_depth(Loaded(made.model, made.tokenizer, meta), by="last", count=1)
    assert found.loaded.meta == {"preset": "1m", "gate": "sigmoid"}  # it began with new weights


@pytest.mark.parametrize("settings", [
    {"count": 0}, {"count": 5}, {"share": 0.1}, {"count": 1}, {"count": 1, "by": "influence"},
])  # fmt: skip
def test_impossible_requests_are_refused(settings):
    with pytest.raises(LacyError, match="E290"):
        prune_depth(deep("llama"), **settings)


@pytest.mark.parametrize("settings", [{"by": "lost"}, {"share": 1.5}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(LacyError, match="E12"):
        prune_depth(deep("llama"), **settings)


def test_an_architecture_whose_config_cannot_express_it_is_refused():
    # Attention depends on the number of the block, which changes if one before it is removed.
    loaded = deep("gpt2", scale_attn_by_inverse_layer_idx=True)
    first = loaded.model.transformer.h[0]
    with torch.no_grad():
        for layer in (first.attn.c_proj, first.mlp.c_proj):
            layer.weight.zero_()
            layer.bias.zero_()
    with pytest.raises(LacyError, match="E291"):
        prune_depth(loaded, [torch.randint(0, 250, (1, 9))], count=1, by="influence")


def test_choices_are_listed():
    assert DEPTH_CHOICES == ("loss", "influence", "last")


# ----------------------------------------------------------------------------------- refit


def texts(seed=0):
    """Eight texts of a few tokens, so that states can be predicted from one another."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 12, (6, 40), generator=generator),
            torch.randint(0, 12, (2, 17), generator=generator)]  # fmt: skip


def relative_distances(model, original, kept, rows):
    """Mean squared distance of each block's output to the original's state, by hidden states."""
    found = []
    for place, following in enumerate([*kept[1:], 5]):
        total, tokens = 0.0, 0
        for ids_BT in rows:
            with torch.no_grad():
                own, due = layer_states(model, ids_BT), layer_states(original, ids_BT)
            error = (own[place + 1] - due[following]).square().sum(-1)
            total += float((error / due[following].square().sum(-1)).sum())
            tokens += ids_BT.numel()
        found.append(total / tokens)
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt"])
def test_remaining_blocks_learn_what_the_removed_ones_added(family):
    loaded = deep(family)
    plain = prune_depth(loaded, texts(), count=2, by="influence")
    fitted = prune_depth(loaded, texts(), count=2, by="influence", refit=texts())
    kept = [n for n in range(5) if n not in fitted.removed]
    first_gap = next(n for n, index in enumerate([*kept[1:], 5]) if index != n + 1)
    assert [fit.block for fit in fitted.fits] == list(range(first_gap, 3))
    assert all(after <= before for before, after in (fit.errors for fit in fitted.fits))
    before = relative_distances(plain.loaded.model, loaded.model, kept, texts(1))
    after = relative_distances(fitted.loaded.model, loaded.model, kept, texts(1))
    if kept[-1] == 4:  # the last hidden state is after the final norm
        before, after = before[:-1], after[:-1]
    assert sum(after) < 0.9 * sum(before)


def test_a_fit_is_weighted_ridge_regression():
    loaded = deep("llama")
    found = prune_depth(loaded, by="last", count=2, refit=texts())
    (fit,) = found.fits
    assert fit.block == 2 and fit.penalty is not None
    module = loaded.model.model.layers[2].mlp.down_proj
    inputs, is_now, due = [], [], []
    layers = loaded.model.model.layers
    module.register_forward_pre_hook(lambda module, args: inputs.append(args[0].flatten(0, 1)))
    layers[2].register_forward_hook(lambda module, args, output: is_now.append(output))
    layers[4].register_forward_hook(lambda module, args, output: due.append(output))
    for ids_BT in texts():
        logits(loaded.model, ids_BT)
    due = [states_BTD.flatten(0, 1) for states_BTD in due]
    missing = [d - i.flatten(0, 1) for d, i in zip(due, is_now, strict=True)]
    weights = [1 / states_ND.square().sum(-1) for states_ND in due]
    a, r, w = (torch.cat(parts).double() for parts in (inputs, missing, weights))
    root = w.sqrt()[:, None]
    penalty = fit.penalty * float((a * root).square().sum(0).mean())
    stacked = torch.cat([a * root, penalty**0.5 * torch.eye(48, dtype=torch.float64)])
    wanted = torch.cat([r * root, torch.zeros(48, 32, dtype=torch.float64)])
    change_IO = torch.linalg.lstsq(stacked, wanted).solution
    actual_OI = found.loaded.model.model.layers[2].mlp.down_proj.weight - module.weight
    torch.testing.assert_close(actual_OI.detach().double(), change_IO.T, atol=1e-4, rtol=1e-3)


def test_a_block_whose_output_is_not_linear_is_left_alone_or_improved():
    loaded = deep("gemma2")  # a norm follows the last matrix
    found = prune_depth(loaded, texts(), count=2, by="influence", refit=texts())
    assert all(after <= before for before, after in (fit.errors for fit in found.fits))


@pytest.mark.parametrize("calls", [0, 2])
def test_a_matrix_that_does_not_see_every_token_is_left_alone(calls):
    layer = torch.nn.Linear(32, 32 if calls else 5)  # an expert, or what chooses the experts
    states = [torch.randn(3, 7, 32) for _ in range(4)]

    def outputs():
        for own in states:
            for part in own.split(2)[:calls]:
                layer(part)
            yield own

    visit = SimpleNamespace(
        block=SimpleNamespace(index=1), outputs=outputs,
        matrices=[SimpleNamespace(module=layer, weight_OI=layer.weight.detach())],
    )  # fmt: skip
    fit = _fit(visit, [own + 1 for own in states])
    assert (fit.block, fit.penalty) == (1, None)
    assert fit.errors[0] == fit.errors[1] > 0


def test_a_fit_needs_some_texts():
    with pytest.raises(LacyError, match="E290"):
        prune_depth(deep("llama"), by="last", count=1, refit=[texts()[1]])


def test_in_bfloat16_the_same_blocks_go_and_the_fit_is_as_good():
    loaded = deep("llama")
    exact = prune_depth(loaded, texts(), count=2, by="influence", refit=texts())
    fast = prune_depth(loaded, texts(), count=2, by="influence", refit=texts(), bf16=True)
    assert fast.removed == exact.removed
    for own, other in zip(exact.fits, fast.fits, strict=True):
        assert other.errors == pytest.approx(own.errors, rel=0.1)
    own, other = (logits(found.loaded.model, texts()[0]) for found in (exact, fast))
    assert float((own - other).square().mean() / own.square().mean()) < 0.02
