"""Selection and loss in one pass agree with the two done one after the other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.objective import (
    METHODS,
    Objective,
    RunningQuantile,
    fused,
    loss,
    select,
    select_and_loss,
    token_losses,
)
from lacy.types import MarkFlag


def make_batch(seed, rows=3, length=20, width=5, vocabulary=17, facts=0.3, valid=0.9):
    chance = torch.Generator().manual_seed(seed)

    def draw():
        return torch.rand(rows, length, generator=chance)

    hidden = torch.randn(rows, length, width, generator=chance, dtype=torch.float64)
    head = torch.randn(vocabulary, width, generator=chance, dtype=torch.float64)
    targets = torch.randint(0, vocabulary - 1, (rows, length), generator=chance)
    targets[draw() >= valid] = -100
    fact = draw() < facts
    bits = fact * int(MarkFlag.FACT) + (fact & (draw() < 0.6)) * int(MarkFlag.VALUE)
    bits = bits + (~fact & (draw() < 0.5)) * int(MarkFlag.CONTENT)
    return hidden, head, targets, bits.to(torch.uint8), draw().double() * 5


PAPER = Objective(call_negative="none", text_weight=0.0)


def run(hidden, head, targets, marks, objective=PAPER, **options):
    hidden, head = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    step = select_and_loss(hidden, head, targets, marks, objective, **options)
    step.loss.total.backward()
    return step, hidden.grad, head.grad


@given(
    seed=st.integers(0, 10_000),
    method=st.sampled_from(sorted(METHODS)),
    ignore=st.sampled_from(["none", "facts", "all"]),
    negative=st.sampled_from(["none", "softmax", "sigmoid"]),
    weight=st.sampled_from([0.0, 0.5]),
    rate=st.sampled_from([0.0, 0.15, 0.6, 1.0]),
    facts=st.sampled_from([0.0, 0.3, 1.1]),
    keep=st.sampled_from([0, 900, 1 << 20]),
    scale=st.sampled_from([1.0, 0.4]),
)
@settings(max_examples=150, deadline=None)
def test_one_pass_equals_two_passes(
    seed, method, ignore, negative, weight, rate, facts, keep, scale
):
    hidden, head, targets, marks, reference = make_batch(seed, facts=facts)
    objective = Objective(
        method=method, call_rate=rate, call_negative=negative, text_weight=weight, ignore=ignore
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "CHUNK_BYTES", {"cpu": 1})
        patch.setattr(fused, "FEWEST_ROWS", 5)
        patch.setattr(fused, "KEEP_BYTES", {"cpu": keep})
        got = run(
            hidden,
            head,
            targets,
            marks,
            objective,
            reference_loss_BT=reference,
            generator=torch.Generator().manual_seed(1),
            text_scale=scale,
        )

    valid = targets != -100
    losses = token_losses(hidden, head, targets)
    call, _ = select.choose_targets(
        objective, losses, marks, valid, reference_loss_BT=reference,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    ignored = {
        "none": torch.zeros_like(call),
        "facts": select.ignore_facts(marks, call, valid),
        "all": select.ignore_all(losses, marks, call, valid),
    }[ignore]
    hidden.requires_grad_(), head.requires_grad_()
    want = loss(
        hidden, head, targets, call, call_negative=negative, text_weight=weight,
        ignore_BT=ignored, impl="reference", text_scale=scale,
    )  # fmt: skip
    want.total.backward()
    assert torch.equal(got[0].call_BT, call)
    assert torch.equal(got[0].ignore_BT, ignored & ~call)
    torch.testing.assert_close(got[0].loss_BT, losses)
    for part in ("total", "text", "call", "negative", "positions", "delegated", "ignored"):
        torch.testing.assert_close(
            getattr(got[0].loss, part), getattr(want, part), rtol=1e-10, atol=1e-12
        )
    torch.testing.assert_close(got[1], hidden.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got[2], head.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("impl", ["reference", "fused", "auto"])
def test_implementations_choose_the_same(impl):
    hidden, head, targets, marks, _ = make_batch(2)
    want = run(hidden, head, targets, marks, impl="reference")
    got = run(hidden, head, targets, marks, impl=impl)
    assert torch.equal(got[0].call_BT, want[0].call_BT) and want[0].call_BT.any()
    torch.testing.assert_close(got[2], want[2])


def test_it_compiles_to_one_graph():
    """Where a graph is compiled, ``auto`` takes the implementation with fixed shapes."""
    hidden, head, targets, marks, _ = make_batch(5)

    def total(hidden, head):
        step = select_and_loss(hidden, head, targets, marks, Objective(ignore="all"))
        return step.loss.total, step.call_BT

    hidden.requires_grad_()
    want, call = total(hidden, head)
    got, same = torch.compile(total, backend="aot_eager", fullgraph=True)(hidden, head)
    assert torch.equal(call, same)
    torch.testing.assert_close(got, want)
    mine, theirs = torch.autograd.grad(got, hidden)[0], torch.autograd.grad(want, hidden)[0]
    torch.testing.assert_close(mine, theirs)


def test_plain_method_is_cross_entropy():
    hidden, head, targets, marks, _ = make_batch(3)
    step = select_and_loss(hidden, head, targets, marks, PAPER.plain())
    logits = (hidden @ head[:-1].T).mT
    torch.testing.assert_close(step.loss.total, torch.nn.functional.cross_entropy(logits, targets))
    assert not step.call_BT.any()


def test_too_few_marks_are_all_delegated():
    hidden, head, targets, marks, _ = make_batch(4, facts=0.05, valid=1.1)
    step = select_and_loss(hidden, head, targets, marks, Objective(call_rate=0.5))
    facts = int(((marks & 1) != 0).sum())
    assert int(step.loss.delegated) == facts
    assert facts < 30 == int(select.count_wanted(0.5, targets != -100))


@pytest.mark.parametrize("impl", ["fused", "reference"])
def test_a_running_quantile_takes_the_place_of_the_count(impl):
    rates = []
    quantile = RunningQuantile(0.15)
    for seed in range(40):
        hidden, head, targets, marks, _ = make_batch(seed, rows=4, length=50)
        step, _, _ = run(hidden, head, targets, marks, quantile=quantile, impl=impl)
        rates.append(int(step.loss.delegated) / int(step.loss.positions))
        assert not (step.call_BT & ((marks & 1) == 0)).any()
    assert sum(rates) / len(rates) == pytest.approx(0.15, abs=0.005)
    assert len(set(rates)) > 10


def test_training_learns_where_to_call():
    """Facts are unpredictable, the rest is copied; a linear model learns to tell them apart."""
    chance = torch.Generator().manual_seed(0)
    kind = torch.eye(8, dtype=torch.float32)
    head = torch.zeros(9, 8, requires_grad=True)
    optimizer = torch.optim.Adam([head], lr=0.1)
    for _ in range(150):
        context = torch.randint(0, 8, (4, 50), generator=chance)
        fact = context >= 6
        noise = torch.randint(0, 8, (4, 50), generator=chance)
        targets = torch.where(fact, noise, context)
        step = select_and_loss(
            kind[context], head, targets, fact.to(torch.uint8), Objective(text_weight=0.0)
        )  # fmt: skip
        optimizer.zero_grad()
        step.loss.total.backward()
        optimizer.step()
    call = torch.softmax(head.detach().T, -1)[:, -1]
    assert call[6:].min() > 0.3 and call[:6].max() < 0.05
    assert step.loss.text.item() < 0.6


def test_mistakes_are_named():
    hidden, head, targets, marks, _ = make_batch(0)
    wrong = (
        ("E12", marks, Objective(), {"impl": "slow"}),
        ("E41", marks, Objective(method="rho"), {}),
        ("E42", marks[:1], Objective(), {}),
    )
    for code, given_marks, objective, options in wrong:
        with pytest.raises(LacyError) as caught:
            select_and_loss(hidden, head, targets, given_marks, objective, **options)
        assert caught.value.code == code
