"""Blocks of a model in order: the same inputs as in a run of the whole model."""

import copy

import families
import pytest
import torch

from helpers.models import REAL
from lacy.errors import LacyError
from lacy.layerwise import find_blocks, walk_blocks


def rows_for(model, seed=0):
    random = torch.Generator().manual_seed(seed)
    size = model.config.vocab_size - 1
    return [torch.randint(size, shape, generator=random) for shape in ((2, 9), (1, 9), (3, 4))]


def slow_statistics(model, rows):
    """Inputs of every linear layer in a run of the whole model, and their sums in float64."""
    found, hooks = {}, []
    for block in find_blocks(model):
        for matrix in block.matrices:
            kept = found.setdefault(matrix.name, [])
            hook = lambda module, args, kept=kept: kept.append(args[0].double())  # noqa: E731
            hooks.append(matrix.module.register_forward_pre_hook(hook))
    with torch.no_grad():
        for ids_BT in rows:
            model(input_ids=ids_BT)
    for hook in hooks:
        hook.remove()
    inputs = {name: torch.cat([x.flatten(0, -2) for x in kept]) for name, kept in found.items()}
    return {name: (len(x), x.T @ x) for name, x in inputs.items()}


def assert_same(statistics, expected):
    for name, found in statistics.items():
        count, hessian_II = expected[name]
        assert found.count == count
        scale = float(hessian_II.abs().max())
        assert torch.allclose(found.squares_I, hessian_II.diagonal(), rtol=1e-4, atol=1e-5 * scale)
        assert torch.allclose(found.norms_I**2, found.squares_I)
        if found.hessian_II is not None:
            assert torch.allclose(found.hessian_II, hessian_II, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", list(REAL))
@pytest.mark.parametrize("hessian", [True, False])
def test_statistics_equal_those_of_a_run_of_the_whole_model(kind, hessian):
    model = REAL[kind].model
    rows = rows_for(model)
    expected, seen = slow_statistics(model, rows), set()
    for visit in walk_blocks(model, rows):
        found = visit.statistics(hessian=hessian)
        assert_same(found, expected)
        seen |= found.keys()
    assert seen == expected.keys()


@pytest.mark.parametrize("kind", list(REAL))
def test_a_change_of_a_block_counts_for_all_later_layers(kind):
    model = copy.deepcopy(REAL[kind].model)
    rows, seen = rows_for(model), {}
    for visit in walk_blocks(model, rows):
        for matrix in visit.matrices:  # one after the other: later layers see earlier changes
            seen |= visit.statistics([matrix.name])
            matrix.set_weight(matrix.weight_OI.sign() * 0.1)
    assert_same(seen, slow_statistics(model, rows))


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text", "gpt_neox", "opt", "phi3", "mixtral"])
def test_other_families(kind):
    model = families.tiny(kind, 60).eval()
    rows = rows_for(model)
    expected, seen = slow_statistics(model, rows), set()
    for visit in walk_blocks(model, rows):
        found = visit.statistics()
        assert_same(found, expected)
        seen |= found.keys()
    assert seen == expected.keys()


def test_the_model_is_in_evaluation_mode_during_a_walk_only():
    model = copy.deepcopy(REAL["gpt2"].model).train()
    assert [model.training for _ in walk_blocks(model, rows_for(model))] == [False, False]
    assert model.training


def test_outputs_are_the_inputs_of_the_next_block():
    model = REAL["llama"].model
    first, second = [
        (visit.inputs, list(visit.outputs())) for visit in walk_blocks(model, rows_for(model))
    ]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[0], strict=True))


def test_the_output_error_is_that_of_the_layer():
    model = REAL["llama"].model
    visit = next(iter(walk_blocks(model, rows_for(model))))
    (matrix, *_), states = visit.matrices, []
    matrix.module.register_forward_pre_hook(lambda module, args: states.append(args[0].double()))
    change_OI = torch.randn(matrix.weight_OI.shape, dtype=torch.float64) * 0.1
    found = visit.statistics([matrix.name])[matrix.name]
    inputs_NI = torch.cat([state.flatten(0, -2) for state in states])
    expected = (inputs_NI @ change_OI.T).square().sum(1).mean()
    assert found.output_error(change_OI) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match="Hessian"):
        visit.statistics([matrix.name], hessian=False)[matrix.name].output_error(change_OI)


def test_models_that_are_not_one_sequence_of_blocks_are_refused():
    from torch import nn

    class Twice(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, states_BTD, *args, **named):
            return self.layer(states_BTD * 2, *args, **named)

    model = copy.deepcopy(REAL["gpt2"].model)
    model.transformer.h[1] = Twice(model.transformer.h[1])
    assert len(list(walk_blocks(model, rows_for(model)))) == 2  # only the block itself changes
    hook = lambda module, args: (args[0] * 2, *args[1:])  # noqa: E731
    model.transformer.h[1].register_forward_pre_hook(hook)
    with pytest.raises(LacyError, match=r"E281.*block 1"):
        next(walk_blocks(model, rows_for(model)))
    del model.transformer.h[:]
    with pytest.raises(LacyError, match=r"E281.*no list"):
        find_blocks(model)


def test_rows_are_required():
    with pytest.raises(ValueError, match="no rows"):
        next(walk_blocks(REAL["llama"].model, []))
