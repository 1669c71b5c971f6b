"""Columns with compensated errors, against exact surgery on tiny matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.layerwise import solve_columns

DAMPING = 0.01


def problem(seed, outputs=5, inputs=12, samples=40):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(samples, inputs)) @ random.normal(size=(inputs, inputs))
    return torch.tensor(random.normal(size=(outputs, inputs))), torch.tensor(mixed.T @ mixed)


def damped(hessian_II):
    size = len(hessian_II)
    return hessian_II + DAMPING * hessian_II.diagonal().mean() * torch.eye(size).double()


def slow_surgery(weight_OI, hessian_II, new_values, order):
    """Optimal Brain Surgeon, one column at a time, with a fresh inverse of what is left."""
    weight_OI, left = weight_OI.clone(), list(order)
    full_II = damped(hessian_II)
    while left:
        column = left[0]
        inverse = torch.linalg.inv(full_II[left][:, left])
        new_O = new_values(column, weight_OI[:, column])
        error_O = (weight_OI[:, column] - new_O) / inverse[0, 0]
        weight_OI[:, left] -= torch.outer(error_O, inverse[0])
        weight_OI[:, column] = new_O
        left = left[1:]
    return weight_OI


def by_column(new_values):
    def choose(columns_B, weight_OB, pivot_B):
        return lambda n, weight_O: new_values(int(columns_B[n]), weight_O)

    return choose


def rounded(column, weight_O):
    return (weight_O * 2).round() / 2


def error(change_OI, hessian_II):
    return float(((change_OI @ hessian_II) * change_OI).sum())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    inputs=st.integers(1, 14),
    group=st.integers(1, 15),
    shuffled=st.booleans(),
)
def test_equals_exact_surgery(seed, inputs, group, shuffled):
    weight_OI, hessian_II = problem(seed, inputs=inputs)
    order = np.random.default_rng(seed).permutation(inputs) if shuffled else np.arange(inputs)
    order_I = torch.tensor(order)
    found = solve_columns(
        weight_OI, hessian_II, by_column(rounded), group=group, damping=DAMPING,
        order_I=order_I if shuffled else None,
    )  # fmt: skip
    expected = slow_surgery(weight_OI, hessian_II, rounded, order.tolist())
    assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_the_output_changes_less_than_with_nearest_values(seed):
    weight_OI, hessian_II = problem(seed, outputs=32)
    found = solve_columns(weight_OI, hessian_II, by_column(rounded))
    nearest = rounded(0, weight_OI)
    assert error(found - weight_OI, hessian_II) < error(nearest - weight_OI, hessian_II)


def test_weights_that_are_not_changed_stay():
    weight_OI, hessian_II = problem(0)
    kept = solve_columns(weight_OI, hessian_II, by_column(lambda n, weight_O: weight_O))
    assert torch.equal(kept, weight_OI)


def test_the_pivot_is_the_cost_of_a_removed_weight():
    """With the later columns adapted, removing w costs (w / pivot) ** 2."""
    weight_OI, hessian_II = problem(3, outputs=1, inputs=6)
    pivots = {}

    def choose(columns_B, weight_OB, pivot_B):
        pivots.update(zip(columns_B.tolist(), pivot_B.tolist(), strict=True))
        return lambda n, weight_O: weight_O * (columns_B[n] != 2)

    found = solve_columns(weight_OI, hessian_II, choose, damping=DAMPING)
    cost = error(found - weight_OI, damped(hessian_II))
    assert cost == pytest.approx((float(weight_OI[0, 2]) / pivots[2]) ** 2)


def test_inputs_that_are_always_zero_change_nothing_else():
    weight_OI, hessian_II = problem(1)
    hessian_II[4] = hessian_II[:, 4] = 0
    changed = by_column(lambda n, weight_O: weight_O * (n != 4))
    found = solve_columns(weight_OI, hessian_II, changed)
    assert torch.equal(found[:, 4], torch.zeros(len(found)).double())
    others = [n for n in range(12) if n != 4]
    assert torch.equal(found[:, others], weight_OI[:, others])
    nothing = solve_columns(weight_OI, torch.zeros_like(hessian_II), by_column(rounded))
    assert torch.equal(nothing, rounded(0, weight_OI))


def test_the_dtype_is_kept():
    weight_OI, hessian_II = problem(2)
    found = solve_columns(weight_OI.bfloat16(), hessian_II, by_column(rounded))
    assert found.dtype == torch.bfloat16
