"""Strategies against slow references, and what malicious clients can do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.federation import state_of, steady
from lacy.federate import Krum, Mean, Median, ProductMean, TrimmedMean, refactor
from lacy.types import Update


def updates(count, seed=0, samples=lambda n: n + 1):
    random = np.random.default_rng(seed)
    return {
        f"c{n:02}": Update(
            {"w": torch.from_numpy(random.normal(size=(3, 4)).astype("f"))}, samples(n), 1
        )
        for n in range(count)
    }


def aggregated(strategy, found, order=None):
    aggregator = strategy.start({"w": torch.zeros(3, 4)})
    for name in order or found:
        aggregator.add(name, found[name])
    return aggregator.result()


def reference(name, found, malicious):
    values = np.stack([u.delta["w"].double().numpy() for u in found.values()])
    if name == "mean":
        return np.average(values, axis=0, weights=[u.samples for u in found.values()])
    if name == "median":
        return np.median(values, axis=0)
    inner = np.sort(values, axis=0)[malicious : len(values) - malicious]
    return inner.mean(0)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(3, 9), seed=st.integers(0, 99), malicious=st.integers(0, 1))
def test_mean_median_and_trimmed_mean_equal_numpys_in_any_order(count, seed, malicious):
    found = updates(count, seed)
    backwards = sorted(found, reverse=True)
    for name, strategy in {
        "mean": Mean(), "median": Median(malicious), "trimmed": TrimmedMean(malicious)
    }.items():  # fmt: skip
        delta = aggregated(strategy, found).delta["w"]
        np.testing.assert_allclose(delta, reference(name, found, malicious), atol=1e-6)
        assert torch.equal(delta, aggregated(strategy, found, backwards).delta["w"])


@settings(max_examples=15, deadline=None)
@given(count=st.integers(5, 9), seed=st.integers(0, 99), keep=st.integers(0, 3))
def test_krum_keeps_the_updates_closest_to_their_neighbours(count, seed, keep):
    """Against the paper's definition, written as loops over pairs."""
    found, malicious = updates(count, seed), 1
    flat = {name: u.delta["w"].double().flatten() for name, u in found.items()}
    scores = {}
    for name in flat:
        apart = sorted(float(((flat[name] - flat[x]) ** 2).sum()) for x in flat if x != name)
        scores[name] = sum(apart[: count - malicious - 2])
    best = sorted(flat, key=scores.get)[: keep or count - malicious]
    got = aggregated(Krum(malicious, keep), found)
    wanted = torch.stack([flat[name] for name in best]).mean(0).view(3, 4).float()
    torch.testing.assert_close(got.delta["w"], wanted, atol=1e-6, rtol=0)
    assert set(got.left_out) == set(flat) - set(best)


@pytest.mark.parametrize("strategy", [Median(2), TrimmedMean(2), Krum(2), Krum(2, 0)])
def test_two_malicious_clients_of_nine_move_only_the_mean(strategy):
    state, clients = state_of(), steady(7)
    found = {name: client.train(state, 1) for name, client in clients.items()}
    wanted = {name: (1.0 - tensor) / 2 for name, tensor in state.items()}
    for evil in ("x1", "x2"):
        far = {name: -1000.0 * torch.ones_like(tensor) for name, tensor in state.items()}
        found[evil] = Update(far, 10**6, 1)

    def error(strategy):
        aggregator = strategy.start(state)
        for name, update in found.items():
            aggregator.add(name, update)
        delta = aggregator.result().delta
        return max(float((delta[name] - wanted[name]).abs().max()) for name in wanted)

    assert error(strategy) < 0.4 < 900 < error(Mean())


# ---------------------------------------------------------------------------------- adapters

A, B = "layer.lora_A.default.weight", "layer.lora_B.default.weight"


def adapters(clients, rank, seed, outputs=6, inputs=5, distance=1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    state = {A: draw(rank, inputs), B: draw(outputs, rank), "row": draw(1, 4)}
    found = {
        f"c{n}": Update(
            {name: distance * draw(*tensor.shape) for name, tensor in state.items()}, n + 1, 1
        )
        for n in range(clients)
    }
    return state, found


def dense_mean(state, found):
    """The mean of the clients' products, as whole matrices."""
    total = sum(update.samples for update in found.values())
    return sum(
        u.samples / total
        * (state[B].double() + u.delta[B]) @ (state[A].double() + u.delta[A])
        for u in found.values()
    )  # fmt: skip


def after(strategy, state, found):
    aggregator = strategy.start(state)
    for name, update in found.items():
        aggregator.add(name, update)
    result = aggregator.result()
    return {name: state[name] + result.delta[name] for name in state}, result


@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(1, 4), rank=st.integers(1, 6), seed=st.integers(0, 99),
    outputs=st.integers(2, 7), inputs=st.integers(2, 7),
)  # fmt: skip
def test_the_product_is_the_best_of_its_rank(clients, rank, seed, outputs, inputs):
    """Against a singular value decomposition of the dense mean."""
    state, found = adapters(clients, rank, seed, outputs, inputs)
    new, result = after(ProductMean(), state, found)
    dense = dense_mean(state, found)
    left, values, right = torch.linalg.svd(dense)
    best = (left[:, : len(values)] * values)[:, :rank] @ right[: len(values)][:rank]
    torch.testing.assert_close(new[B].double() @ new[A].double(), best, atol=2e-5, rtol=1e-4)
    lost = float(values[rank:].square().sum() / values.square().sum())
    assert result.figures["lost"] == pytest.approx(lost, abs=1e-9)
    row = after(Mean(), state, found)[0]["row"]
    assert torch.equal(new["row"], row)


def test_averaging_the_factors_is_not_averaging_the_product():
    state, found = adapters(3, 2, 0)
    dense = dense_mean(state, found)

    def error(strategy):
        new, _ = after(strategy, state, found)
        return float((new[B].double() @ new[A].double() - dense).norm() / dense.norm())

    assert error(Mean()) > 1.5 * error(ProductMean())


def test_with_a_frozen_the_mean_of_b_is_the_mean_of_the_product():
    state, found = adapters(3, 2, 0)
    fixed = {
        name: Update({**u.delta, A: torch.zeros_like(state[A])}, u.samples, 1)
        for name, u in found.items()
    }
    new, _ = after(Mean(), state, fixed)
    torch.testing.assert_close(
        new[B].double() @ new[A].double(), dense_mean(state, fixed), atol=1e-5, rtol=1e-5
    )


def test_a_direction_that_nobody_uses_can_still_be_learned():
    """A fresh adapter has B = 0; if no client moves, A must not vanish."""
    state, found = adapters(2, 3, 0, distance=0.0)
    state[B] = torch.zeros_like(state[B])
    new, _ = after(ProductMean(), state, found)
    assert not new[B].any()
    assert torch.linalg.matrix_rank(new[A]) == 3
    assert float(new[A].norm()) == pytest.approx(float(state[A].norm()), rel=1e-5)


def test_new_factors_are_as_balanced_as_a_fresh_adapter():
    generator = torch.Generator().manual_seed(0)
    like = torch.randn(4, 30, generator=generator)
    left, right = (torch.randn(*shape, generator=generator) for shape in ((20, 8), (8, 30)))
    a, b, _, _ = refactor(left, right, like)
    torch.testing.assert_close(a @ a.T / (like.square().sum() / 4), torch.eye(4))
    assert b.shape == (20, 4)
