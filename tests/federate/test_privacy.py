"""Differential privacy: sensitivity, noise, budget."""

import math
from dataclasses import replace

import pytest
import torch

from helpers.federation import Steady, state_of, steady
from lacy.federate import FederateSettings, FederationServer, InProcess, PrivateMean, epsilon_after
from lacy.types import Update

pytest.importorskip("opacus", reason="opacus is not installed (lacy[private])")

PRIVATE = FederateSettings(rounds=3, noise=1.0, clip=1.0, fraction=0.5)


def classical_epsilon(rounds, fraction, noise, delta):
    """Mironov et al. (arXiv 1908.10530, §3.3) for whole orders, and the first known conversion."""

    def divergence(order):
        parts = [
            math.comb(order, k) * (1 - fraction) ** (order - k) * fraction**k
            * math.exp(k * (k - 1) / (2 * noise**2))
            for k in range(order + 1)
        ]  # fmt: skip
        return math.log(sum(parts)) / (order - 1)

    return min(rounds * divergence(a) + math.log(1 / delta) / (a - 1) for a in range(2, 40))


@pytest.mark.parametrize("rounds", [1, 20, 300])
@pytest.mark.parametrize(("fraction", "noise"), [(0.01, 1.3), (0.3, 2.0)])
def test_the_budget_is_a_little_better_than_the_classical_bound(rounds, fraction, noise):
    bound = classical_epsilon(rounds, fraction, noise, 1e-5)
    assert 0.6 * bound < epsilon_after(rounds, fraction, noise, 1e-5) <= bound + 1e-9


def test_before_the_first_round_nothing_is_spent():
    assert epsilon_after(0, 0.5, 1.0, 1e-5) == 0.0


def test_one_client_changes_the_sum_by_no_more_than_the_clip():
    """Whatever one client sends, the aggregate without noise moves by clip / expected at most."""
    settings = replace(PRIVATE, noise=1e-9, fraction=1.0, rounds=1)

    def state_with(extra):
        server = FederationServer(state_of(), settings, model="m")
        server._stored = replace(server._stored, secret=0)
        clients = {**steady(3), "one": extra}
        server.run_round(InProcess(clients))
        return torch.cat([server.state[name].flatten() for name in ("a", "b")])

    with_it, without = state_with(Steady("one", target=1e6)), state_with(Fails())
    assert float((with_it - without).norm()) <= 1.0 / 4 + 1e-5


class Fails:
    def train(self, state, round):
        raise ValueError


def test_the_noise_has_the_standard_deviation_of_the_settings():
    state = {"w": torch.zeros(20_000)}
    strategy = PrivateMean(clip=0.5, noise=2.0, expected=10.0, seed=3, round=1)
    found = strategy.start(state).result().delta["w"]
    assert float(found.std()) == pytest.approx(2.0 * 0.5 / 10, rel=0.02)
    again = strategy.start(state)
    again.add("c", Update({"w": torch.ones(20_000)}, 1, 1))
    torch.testing.assert_close(again.result().delta["w"] - found, torch.full((20_000,), 0.1))


def test_rounds_end_before_the_budget_is_exceeded_and_noise_is_always_added():
    budget = epsilon_after(2, 0.5, 1.0, 1e-5) + 1e-6
    server = FederationServer(state_of(), replace(PRIVATE, budget=budget, rounds=9), model="m")
    while not server.finished:
        server.run_round(InProcess(steady(4)))
    assert len(server.rounds) == 2 and server.rounds[-1].epsilon <= budget
    nobody = FederationServer(state_of(), PRIVATE, model="m")
    done = nobody.run_round(InProcess({"x": Fails()}))
    assert done.changed and not done.accepted  # no updates look like some
