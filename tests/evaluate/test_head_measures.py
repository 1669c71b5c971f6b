"""Measures of a head against slow references: pairs, singular values, projections, derivatives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.evaluate.anisotropy import mean_cosine
from lacy.evaluate.head_gradient import call_gradients, loss_gradient, text_gradients
from lacy.evaluate.head_spectrum import head_spectrum, principal_axes, spectrum_of
from lacy.model import TextHead


def random_head(vocabulary, size, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return TextHead(torch.randn(vocabulary, size, generator=generator) * scale)


def states(tokens, size, vocabulary, seed=1):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, size, generator=generator)
    return hidden, torch.randint(vocabulary, (tokens,), generator=generator)


# --------------------------------------------------------------------------------- anisotropy


def texts_of(seed=0, size=5):
    rng = np.random.default_rng(seed)
    return [rng.normal(1.0, 1.0, (n, size)) for n in (3, 1, 4, 2)]


def sums_of(texts):
    unit = [text / np.linalg.norm(text, axis=1, keepdims=True) for text in texts]
    return unit, np.stack([text.sum(0) for text in unit]), [len(text) for text in texts]


def test_anisotropy_is_the_mean_over_all_pairs_of_different_texts():
    unit, sums, counts = sums_of(texts_of())
    cosines = [
        float(a @ b)
        for i, first in enumerate(unit)
        for j, second in enumerate(unit)
        for a in first
        for b in second
        if i != j
    ]
    found = mean_cosine(sums, counts)
    assert found.value == pytest.approx(np.mean(cosines))
    assert found.low <= found.value <= found.high
    assert found.n == 4


def test_states_that_point_one_way_have_anisotropy_one():
    _, sums, counts = sums_of([np.outer([1.0, 2.0], [3.0, 4.0]), [[0.3, 0.4]], [[6.0, 8.0]]])
    found = mean_cosine(sums, counts)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_a_text_that_is_drawn_twice_makes_no_pair_with_itself():
    """Orthogonal texts have no cosine, whatever is drawn."""
    found = mean_cosine(np.eye(6), np.ones(6))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_one_text_has_no_anisotropy():
    assert math.isnan(mean_cosine([[1.0, 0.0], [0.0, 0.0]], [1, 0]).value)


# ----------------------------------------------------------------------------------- spectrum


def test_singular_values_are_those_of_the_svd():
    weight = random_head(50, 7).weight_VD
    found = head_spectrum(weight)
    expected = torch.linalg.svdvals(weight.double())
    torch.testing.assert_close(torch.tensor(found.values).double(), expected)
    axes = torch.linalg.svd(weight.double())[2]
    _, own = principal_axes(weight)
    torch.testing.assert_close((axes @ own).abs(), torch.eye(7).double(), atol=1e-6, rtol=0)


def test_entropy_and_ranks_by_hand():
    found = spectrum_of(np.array([4.0, 2.0, 1.0, 1.0]), vocabulary=100)
    entropy = -(0.5 * math.log(0.5) + 0.25 * math.log(0.25) + 2 * 0.125 * math.log(0.125))
    assert found.entropy == pytest.approx(entropy)
    assert found.singular_entropy == pytest.approx(math.log(4) - entropy)
    assert found.effective_rank == pytest.approx(math.exp(entropy))
    assert found.stable_rank == pytest.approx(22 / 16)
    assert (found.rank_90, found.rank_99, found.rank) == (2, 4, 4)  # 20/22 = 90.9%, 21/22 = 95.5%


def test_equal_singular_values_use_every_dimension():
    found = head_spectrum(torch.cat([torch.eye(6)] * 3))
    assert found.singular_entropy == pytest.approx(0.0, abs=1e-9)
    assert found.effective_rank == pytest.approx(6.0)
    assert found.stable_rank == pytest.approx(6.0)


def test_a_head_of_rank_one():
    weight = torch.outer(torch.arange(1.0, 41.0), torch.tensor([1.0, -2.0, 0.5]))
    found = head_spectrum(weight)
    assert (found.rank, found.rank_90, found.rank_99) == (1, 1, 1)
    assert found.effective_rank == pytest.approx(1.0, abs=1e-5)
    assert found.singular_entropy == pytest.approx(math.log(3), abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-4, 0.3, 7.0, 1e4]))
def test_the_spectrum_ignores_scale_and_the_order_of_tokens(seed, scale):
    weight = random_head(30, 5, seed).weight_VD
    plain = head_spectrum(weight)
    other = head_spectrum(weight[torch.randperm(30)] * scale)
    for name in ("entropy", "effective_rank", "stable_rank", "rank_90", "rank_99", "rank"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-5)


# ----------------------------------------------------------------------------------- gradient


def shares_by_least_squares(weight, gradients):
    """Squared norms of gradients, and of their best approximations by columns of the head."""
    weight, gradients = weight.double().numpy(), gradients.double().numpy()
    found = weight @ np.linalg.lstsq(weight, gradients.T, rcond=None)[0]
    return (gradients**2).sum(1), (found.T**2).sum(1)


def by_autograd(logits, loss_of):
    logits = logits.clone().requires_grad_()
    losses = loss_of(logits)
    losses.sum().backward()
    return losses.detach(), logits.grad


@pytest.mark.parametrize("chunk", [1 << 23, 64])
def test_the_share_that_passes_is_a_projection(chunk, monkeypatch):
    monkeypatch.setattr("lacy.evaluate.head_gradient.MAX_LOGITS", chunk)
    head = random_head(40, 6)
    hidden, target = states(25, 6, 40)
    found = text_gradients(head, hidden, target)
    losses, gradients = by_autograd(
        head.logits(hidden),
        lambda z: torch.nn.functional.cross_entropy(z, target, reduction="none"),
    )
    total, kept = shares_by_least_squares(head.weight_VD, gradients)
    np.testing.assert_allclose(found.total_N, total, rtol=1e-5)
    np.testing.assert_allclose(found.kept_N, kept, rtol=1e-4)
    np.testing.assert_allclose(found.loss_N, losses, rtol=1e-5)


def test_the_body_receives_the_same_from_the_projected_gradient():
    head = random_head(40, 6)
    hidden, target = states(5, 6, 40)
    _, gradient = loss_gradient(head.logits(hidden), target)
    basis, _ = torch.linalg.qr(head.weight_VD)
    torch.testing.assert_close(
        gradient @ basis @ basis.T @ head.weight_VD, gradient @ head.weight_VD
    )


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_loss_that_teaches_to_call(gate):
    head = random_head(31, 6)
    hidden, target = states(20, 6, 30)
    called = torch.arange(20) % 3 == 0
    found = call_gradients(head, hidden, target, called, gate)

    def expected(z):
        if gate == "softmax":
            wanted = torch.where(called, 30, target)
            return torch.nn.functional.cross_entropy(z, wanted, reduction="none")
        text = torch.nn.functional.cross_entropy(z[:, :-1], target, reduction="none")
        due = torch.nn.functional.binary_cross_entropy_with_logits(
            z[:, -1], called.float(), reduction="none"
        )
        return torch.where(called, 0.0, text) + due

    losses, gradients = by_autograd(head.logits(hidden), expected)
    total, kept = shares_by_least_squares(head.weight_VD, gradients)
    np.testing.assert_allclose(found.loss_N, losses, rtol=1e-5)
    np.testing.assert_allclose(found.total_N, total, rtol=1e-5)
    np.testing.assert_allclose(found.kept_N, kept, rtol=1e-4)


def test_bias_scale_and_cap_count():
    plain = random_head(40, 6)
    head = TextHead(plain.weight_VD, torch.linspace(-1, 1, 40), scale=0.7, cap=2.0)
    hidden, target = states(25, 6, 40)
    output = hidden @ head.weight_VD.T + head.bias_V
    _, gradients = by_autograd(
        output,
        lambda z: torch.nn.functional.cross_entropy(
            2.0 * torch.tanh(0.7 * z / 2.0), target, reduction="none"
        ),
    )
    total, kept = shares_by_least_squares(head.weight_VD, gradients)
    found = text_gradients(head, hidden, target)
    np.testing.assert_allclose(found.total_N, total, rtol=1e-4)
    np.testing.assert_allclose(found.kept_N, kept, rtol=1e-4)


def test_a_head_with_a_dimension_per_token_lets_everything_through():
    head = random_head(8, 12)
    hidden, target = states(20, 12, 8)
    found = text_gradients(head, hidden, target)
    np.testing.assert_allclose(found.kept_N, found.total_N, rtol=1e-5)


def test_one_dimension_less_is_enough_if_it_is_the_mean_of_all_tokens():
    """Gradients of a softmax sum to 0, so the direction of equal logits carries none."""
    weight = random_head(8, 7).weight_VD
    hidden, target = states(20, 7, 8)
    centred = text_gradients(TextHead(weight - weight.mean(0)), hidden, target)
    np.testing.assert_allclose(centred.kept_N, centred.total_N, rtol=1e-4)
    other = text_gradients(TextHead(weight), hidden, target)
    assert (other.kept_N < 0.999 * other.total_N).any()


def test_a_head_of_rank_one_lets_one_direction_through():
    direction = torch.randn(30, generator=torch.Generator().manual_seed(3))
    head = TextHead(torch.outer(direction, torch.tensor([1.0, 2.0, -1.0])))
    hidden, target = states(10, 3, 30)
    _, gradient = loss_gradient(head.logits(hidden), target)
    expected = (gradient @ (direction / direction.norm())) ** 2
    np.testing.assert_allclose(text_gradients(head, hidden, target).kept_N, expected, rtol=1e-4)


def test_a_sure_model_keeps_its_digits():
    """p - 1 in float32 would be 0 here."""
    head = TextHead(torch.diag(torch.tensor([20.0, 0.0, 0.0])))
    found = text_gradients(head, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0]))
    rest = math.exp(-20.0)
    assert float(found.total_N[0]) == pytest.approx((2 * rest) ** 2 + 2 * rest**2, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 50.0]))
def test_what_passes_depends_on_the_span_of_the_head_alone(seed, scale):
    head = random_head(30, 5, seed)
    hidden, target = states(12, 5, 30, seed)
    plain = text_gradients(head, hidden, target)
    mixed = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed)) + 3 * torch.eye(5)
    # The same logits from other coordinates of the states, and another order of the tokens.
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    other = TextHead((head.weight_VD @ mixed)[order] * scale)
    coordinates = torch.linalg.solve(mixed, hidden.T).T / scale
    found = text_gradients(other, coordinates, torch.argsort(order)[target])
    np.testing.assert_allclose(found.total_N, plain.total_N, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(found.kept_N, plain.kept_N, rtol=1e-2, atol=1e-6)
