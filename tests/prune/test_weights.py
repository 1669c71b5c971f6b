"""Unstructured and N:M pruning against slow references; masks are kept during training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.deep import deep, logits
from lacy.errors import LacyError
from lacy.layerwise import find_blocks, walk_blocks
from lacy.model import load_model, save_model
from lacy.objective import Objective
from lacy.prune import WEIGHT_CHOICES, holding_zeros, prune_weights, sparse_masks
from lacy.train import FitState, fit


def rows_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 250, (3, 24), generator=generator),
            torch.randint(0, 250, (1, 9), generator=generator)]  # fmt: skip


def matrices_of(model):
    return {m.name: m.weight_OI.clone() for block in find_blocks(model) for m in block.matrices}


# ---------------------------------------------------------------------- slow references


def magnitude_slow(weight, share, kept, of_every):
    """Zero the smallest weights of a matrix, or of each group, one by one."""
    weight = weight.copy()
    if not of_every:
        flat = weight.reshape(-1)
        for n in sorted(range(flat.size), key=lambda n: abs(flat[n]))[: int(flat.size * share)]:
            flat[n] = 0
        return weight
    for row in weight:
        for start in range(0, len(row), of_every):
            group = range(start, start + of_every)
            for n in sorted(group, key=lambda n: abs(row[n]))[: of_every - kept]:
                row[n] = 0
    return weight


def wanda_slow(weight, inputs, share, kept, of_every):
    """Zero the weights with the smallest |w| * ||x||, row by row."""
    weight = weight.copy()
    for row in weight:
        size = of_every or len(row)
        gone = of_every - kept if of_every else int(len(row) * share)
        for start in range(0, len(row), size):
            group = range(start, start + size)
            score = {n: abs(row[n]) * np.sqrt((inputs[:, n] ** 2).sum()) for n in group}
            for n in sorted(group, key=score.get)[:gone]:
                row[n] = 0
    return weight


def sparsegpt_slow(weight, inputs, share, kept, of_every, damping=0.01):
    """Remove one weight after the other by Optimal Brain Surgeon, with an inverse for each column.

    Column by column; when a group of columns begins, its weights are chosen by ``w² / [H⁻¹]ₙₙ`` of
    the columns from there on.
    """
    hessian = inputs.T @ inputs
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    weight = weight.astype(np.float64).copy()
    rows, columns = weight.shape
    group = of_every or 128
    for n in range(columns):
        inverse = np.linalg.inv(hessian[n:, n:])  # of the columns that are still free
        if n % group == 0:
            size = min(group, columns - n)
            pivots = [np.linalg.inv(hessian[m:, m:])[0, 0] for m in range(n, n + size)]
            cost = weight[:, n : n + size] ** 2 / np.array(pivots)
            gone = np.zeros_like(cost, dtype=bool)
            if of_every:
                for row in range(rows):
                    gone[row, np.argsort(cost[row])[: of_every - kept]] = True
            else:
                flat = np.argsort(cost.reshape(-1))[: int(cost.size * share)]
                gone.reshape(-1)[flat] = True
        for row in np.flatnonzero(gone[:, n % group]):
            weight[row, n:] -= weight[row, n] / inverse[0, 0] * inverse[0]
            weight[row, n] = 0
    return weight


# --------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("sparsity", "pattern"), [(0.5, None), (0.3, None), (0.5, "2:4")])
@pytest.mark.parametrize("method", WEIGHT_CHOICES)
def test_every_block_is_pruned_as_the_reference_does(family, method, sparsity, pattern):
    loaded, original = deep(family), matrices_of(deep(family).model)
    kept, of_every = map(int, (pattern or "0:0").split(":"))
    found = prune_weights(loaded, rows_of(), method=method, sparsity=sparsity, pattern=pattern)
    assert found.loaded.model is loaded.model and found.pattern == (pattern or str(sparsity))
    after = matrices_of(loaded.model)
    assert found.weights == sum(w.numel() for w in after.values())
    assert found.zeros[1] == sum(int((w == 0).sum()) for w in after.values())
    assert found.zeros[1] / found.weights == pytest.approx(sparsity, abs=0.02)
    # Inputs of each block: the pruned blocks before it, and itself not yet pruned.
    for visit in walk_blocks(loaded.model, rows_of()):
        for matrix in visit.matrices:
            matrix.set_weight(original[matrix.name])
        inputs = inputs_of(visit)
        for matrix in visit.matrices:
            weight, x = original[matrix.name].numpy(), inputs[matrix.name]
            if method == "magnitude":
                wanted = magnitude_slow(weight, sparsity, kept, of_every)
            elif method == "wanda":
                wanted = wanda_slow(weight, x, sparsity, kept, of_every)
            else:
                wanted = sparsegpt_slow(weight, x, sparsity, kept, of_every)
            actual = after[matrix.name].numpy()
            assert ((actual == 0) == (wanted == 0)).mean() > 0.999, matrix.name
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-3 * np.abs(weight).max())
            matrix.set_weight(after[matrix.name])


def inputs_of(visit):
    """The input vectors of every linear layer of a block, by hooks."""
    seen = {matrix.name: [] for matrix in visit.matrices}
    hooks = [
        matrix.module.register_forward_pre_hook(
            lambda module, args, name=matrix.name: seen[name].append(args[0].flatten(0, -2))
        )
        for matrix in visit.matrices
    ]
    for _ in visit.outputs():
        pass
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts).double().numpy() for name, parts in seen.items()}


def test_errors_of_the_outputs_fall_from_magnitude_to_wanda_to_sparsegpt():
    """On inputs of very different sizes, as in trained models."""
    errors = {}
    for method in WEIGHT_CHOICES:
        loaded = deep("llama")
        block = find_blocks(loaded.model)[0].module
        with torch.no_grad():
            block.input_layernorm.weight.copy_(torch.logspace(-1, 1, 32)[torch.randperm(32)])
        dense = deep("llama").model
        dense.load_state_dict(loaded.model.state_dict())
        prune_weights(loaded, rows_of(), method=method)
        change = {}
        for visit in walk_blocks(dense, rows_of()):
            own = matrices_of(loaded.model)
            statistics = visit.statistics()
            for m in visit.matrices:
                change[m.name] = statistics[m.name].output_error(own[m.name] - m.weight_OI)
            break
        errors[method] = sum(change[m] for m in change if "q_proj" in m or "k_proj" in m)
    assert errors["magnitude"] > errors["wanda"] > errors["sparsegpt"]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 2**31))
def test_a_pattern_leaves_at_most_n_of_every_m(kept, of_every, seed):
    if kept >= of_every:
        kept = of_every - 1
    size = of_every * 4
    heads = {"num_attention_heads": of_every, "num_key_value_heads": of_every, "head_dim": 4}
    shape = {"hidden_size": size, "intermediate_size": size * 2, "num_hidden_layers": 1}
    loaded = deep("llama", seed=seed % 1000, **heads, **shape)
    prune_weights(loaded, rows_of(seed), pattern=f"{kept}:{of_every}")
    for weight_OI in matrices_of(loaded.model).values():
        assert ((weight_OI.unflatten(1, (-1, of_every)) != 0).sum(-1) <= kept).all()


def test_embedding_and_call_row_stay_and_the_model_opens_again(tmp_path):
    loaded, dense = deep("qwen3"), deep("qwen3").model
    found = prune_weights(loaded, rows_of())
    new = loaded.model
    assert torch.equal(dense.get_output_embeddings().weight, new.get_output_embeddings().weight)
    assert torch.equal(dense.get_input_embeddings().weight, new.get_input_embeddings().weight)
    save_model(tmp_path / "m", loaded.model, loaded.tokenizer, found.loaded.meta)
    again = load_model(tmp_path / "m").model.eval()
    assert torch.equal(logits(again, rows_of()[0]), logits(loaded.model, rows_of()[0]))


@pytest.mark.parametrize("last_only", [False, True])
def test_zeros_stay_zero_in_training_and_other_weights_learn(last_only):
    loaded = deep("llama")
    prune_weights(loaded, rows_of(), pattern="2:4")
    before = matrices_of(loaded.model)
    trainable = (lambda name, p: "layers.4." in name) if last_only else None
    state = FitState.start(loaded.model, lr=1e-2, trainable=trainable)
    batch = {"input_ids": rows_of()[0]}
    with holding_zeros(state) as held:
        results = list(fit(state, [batch] * 4, Objective(method="none")))
    assert results[-1].loss < results[0].loss
    after = matrices_of(loaded.model)
    trained = [name for name in after if not last_only or ".4." in name]
    assert held == sum(int((before[name] == 0).sum()) for name in trained)
    for name, weight_OI in after.items():
        assert bool((weight_OI[before[name] == 0] == 0).all())
        assert torch.equal(weight_OI, before[name]) == (name not in trained)
    list(fit(state, [batch], Objective(method="none")))  # without the context, they learn
    assert any(bool((w[before[n] == 0] != 0).any()) for n, w in matrices_of(loaded.model).items())


def test_chance_zeros_of_a_dense_model_are_not_held():
    loaded = deep("llama")
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.up_proj.weight[0, :5] = 0
    assert sparse_masks(loaded.model) == {}
    prune_weights(loaded, method="magnitude")
    assert len(sparse_masks(loaded.model)) == 5 * 7


def test_experts_that_no_text_reaches_are_pruned_by_size():
    loaded = deep("llama")
    block = find_blocks(loaded.model)[1].module
    block.unused = torch.nn.Linear(32, 32, bias=False)  # never called
    said = []
    found = prune_weights(loaded, rows_of(), notify=said.append)
    assert found.unused == ("model.layers.1.unused",)
    assert int((block.unused.weight == 0).sum()) == 32 * 32 // 2
    assert len(said) == 5 and "0.5 pruned by wanda" in said[0]


@pytest.mark.parametrize(("how", "code"), [
    ({"pattern": "2:5"}, "E292"), ({}, "E292"), ({"pattern": "4:2"}, "E12"),
    ({"pattern": "half"}, "E12"), ({"sparsity": 1.0}, "E12"), ({"sparsity": 0.0}, "E12"),
    ({"method": "wander"}, "E12"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_changes(how, code):
    loaded = deep("llama")
    with pytest.raises(LacyError, match=code):
        prune_weights(loaded, **how)
    assert torch.equal(
        logits(loaded.model, rows_of()[0]), logits(deep("llama").model, rows_of()[0])
    )


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")  # peft with transformers 5
def test_adapters_are_refused_because_they_fill_the_zeros():
    from lacy.train import TrainConfig
    from lacy.train.trained import freeze

    loaded = deep("llama")
    prune_weights(loaded, method="magnitude")
    freeze(loaded.model, TrainConfig(depth="lora"), "here")
    state = FitState.start(loaded.model)
    with pytest.raises(LacyError, match="E295"), holding_zeros(state):
        pass


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_in_bfloat16_nearly_the_same_weights_go(method):
    exact, fast = deep("llama"), deep("llama")
    prune_weights(exact, rows_of(), method=method)
    prune_weights(fast, rows_of(), method=method, bf16=True)
    pairs = zip(matrices_of(exact.model).values(), matrices_of(fast.model).values(), strict=True)
    same = torch.cat([((a == 0) == (b == 0)).flatten() for a, b in pairs])
    assert float(same.float().mean()) > 0.97
