"""Chunks give the value and gradient of the formula; <CALL> takes no part; the bias of top k."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.distill import RowPredictions, divergence
from lacy.distill.divergence import divergence_reference, reduce_to_top
from lacy.objective import fused

KINDS = ("forward", "reverse", "jsd")
KINDS_AND_TOPS = tuple(product(KINDS, [None, 3]))


class Given:
    """Predictions from a matrix of logits, of all tokens or of the k likeliest."""

    def __init__(self, logits, temperature=1.0, top=None):
        self.logq = torch.log_softmax(logits / temperature, -1)
        self.ids = None
        if top is not None:
            self.ids = self.logq.topk(top).indices
            self.logq = reduce_to_top(self.logq, self.ids)

    def chunk(self, rows):
        return RowPredictions(self.logq[rows], None if self.ids is None else self.ids[rows])


def batch(seed, rows=7, width=4, vocabulary=11, spread=2.0, dtype=torch.float64):
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=chance, dtype=torch.float64).to(dtype)

    weight = torch.rand(rows, generator=chance)
    weight[torch.rand(rows, generator=chance) < 0.3] = 0.0
    return (
        spread * draw(rows, width),
        draw(vocabulary, width),
        3 * draw(rows, vocabulary - 1),
        weight,
    )


def gradients(total, *inputs):
    return torch.autograd.grad(total, inputs)


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(KINDS),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    top=st.sampled_from([None, 1, 4, 9]),
    chunk=st.sampled_from([1, 3, 128]),
)
@settings(max_examples=120, deadline=None)
def test_value_and_gradient_are_those_of_the_formula(seed, kind, temperature, top, chunk):
    hidden, head, logits, weight = batch(seed)
    hidden.requires_grad_(), head.requires_grad_()
    teacher = Given(logits, temperature, top)
    before = fused.FEWEST_ROWS, dict(fused.CHUNK_BYTES)
    try:
        fused.FEWEST_ROWS, fused.CHUNK_BYTES["cpu"] = chunk, 1
        found = divergence(hidden, head, teacher, weight, kind=kind, temperature=temperature)
    finally:
        fused.FEWEST_ROWS = before[0]
        fused.CHUNK_BYTES.update(before[1])
    everything = teacher.chunk(torch.arange(len(hidden)))
    by_row = divergence_reference(hidden @ head[:-1].T, everything, kind, temperature)
    wanted = (weight * by_row).sum()
    torch.testing.assert_close(found, wanted)
    for one, two in zip(
        gradients(2.5 * found, hidden, head), gradients(2.5 * wanted, hidden, head), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("kind", "top"), KINDS_AND_TOPS)
def test_gradient_is_that_of_the_value(kind, top):
    """Finite differences, so that the formula is not checked against itself."""
    hidden, head, logits, weight = batch(1, rows=3, width=3, vocabulary=6)
    teacher = Given(logits, 2.0, top)
    assert torch.autograd.gradcheck(
        lambda h, w: divergence(h, w, teacher, weight, kind=kind, temperature=2.0),
        (hidden.requires_grad_(), head.requires_grad_()),
    )


@pytest.mark.parametrize(("kind", "top"), KINDS_AND_TOPS)
def test_call_takes_no_part(kind, top):
    hidden, head, logits, weight = batch(2)
    teacher = Given(logits, top=top)
    head.requires_grad_()
    found = divergence(hidden, head, teacher, weight, kind=kind)
    assert not gradients(found, head)[0][-1].any()
    other = head.detach().clone()
    other[-1] = 1e3
    assert torch.equal(divergence(hidden, other, teacher, weight, kind=kind), found.detach())


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), top=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_classes_never_exceed_the_full_divergence(seed, kind, top):
    """The data processing inequality: k tokens and a rest know less than all tokens."""
    hidden, head, logits, weight = batch(seed)
    full, less, more = (
        divergence(hidden, head, Given(logits, top=k), weight, kind=kind)
        for k in (None, top, top + 1)
    )
    assert -1e-9 <= less <= more + 1e-9 and more <= full + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_rest_of_one_token_is_that_token(kind):
    hidden, head, logits, weight = batch(3)
    all_but_one = divergence(hidden, head, Given(logits, top=9), weight, kind=kind)
    full = divergence(hidden, head, Given(logits), weight, kind=kind)
    torch.testing.assert_close(all_but_one, full)


@pytest.mark.parametrize(("kind", "top"), KINDS_AND_TOPS)
def test_an_equal_student_has_no_loss_and_no_gradient(kind, top):
    hidden, head, _, _ = batch(4)
    hidden.requires_grad_(), head.requires_grad_()
    teacher = Given((hidden @ head[:-1].T).detach(), top=top)
    found = divergence(hidden, head, teacher, torch.ones(len(hidden)), kind=kind)
    assert found.detach().abs() < 1e-12
    for gradient in gradients(found, hidden, head):
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize(("kind", "top"), KINDS_AND_TOPS)
def test_certain_and_impossible_tokens_are_finite(kind, top):
    hidden, head, logits, _ = batch(5, dtype=torch.float32)
    teacher = Given((400 * logits).float(), top=top)
    hidden = (50 * hidden).requires_grad_()
    found = divergence(hidden, head.requires_grad_(), teacher, torch.ones(len(hidden)), kind=kind)
    if not (kind == "reverse" and top):  # a rest without mass that the student uses costs infinity
        assert found.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients(found, hidden, head))


def test_weights_of_zero_everywhere():
    hidden, head, logits, weight = batch(6)
    found = divergence(hidden.requires_grad_(), head, Given(logits), torch.zeros_like(weight))
    assert found.item() == 0.0 and not gradients(found, hidden)[0].any()


def test_bfloat16_is_close():
    hidden, head, logits, weight = batch(7, rows=64, width=32, vocabulary=100, spread=0.3)
    exact = divergence(hidden, head, Given(logits), weight)
    half = divergence(hidden.bfloat16(), head.bfloat16(), Given(logits.float()), weight)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(exact), rel=0.02)
