"""The loss: the paper's formula, its variants, and implementations equal in value and gradient."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.objective import fused, loss, shift, token_losses
from lacy.objective.losses import choose_impl

NEGATIVES = ("none", "softmax", "sigmoid")
IMPLS = ("reference", "fused")
EVERY_MODE = list(itertools.product(IMPLS, NEGATIVES))


def make_batch(seed, rows=3, length=9, width=5, vocabulary=17, call=0.3, ignored=0.2, valid=0.9):
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=chance, dtype=torch.float64)

    hidden = torch.randn(rows, length, width, generator=chance, dtype=torch.float64)
    head = torch.randn(vocabulary, width, generator=chance, dtype=torch.float64)
    targets = torch.randint(0, vocabulary - 1, (rows, length), generator=chance)
    targets[draw(rows, length) >= valid] = -100
    return hidden, head, targets, draw(rows, length) < call, draw(rows, length) < ignored


def value_and_gradients(hidden, head, *rest, **options):
    hidden, head = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    result = loss(hidden, head, *rest, **options)
    (2.5 * result.total).backward()
    return result, hidden.grad, head.grad


def by_hand(hidden, head, targets, call, ignore, negative, weight):
    """The formula of the module docstring in plain Python numbers."""
    total, count = 0.0, 0
    for h, t, c, i in zip(
        hidden.flatten(0, 1), targets.flatten(), call.flatten(), ignore.flatten(), strict=True
    ):
        if t == -100:
            continue
        count += 1
        z = [math.fsum((h * row).tolist()) for row in head]
        text = math.log(math.fsum(math.exp(x) for x in z[:-1])) - z[t]
        everything = math.log(math.fsum(math.exp(x) for x in z))
        q = 1 / (1 + math.exp(-z[-1]))
        if c:
            total += weight * text
            total += -math.log(q) if negative == "sigmoid" else everything - z[-1]
        elif not i:
            total += everything - z[t] if negative == "softmax" else text
            total += -math.log(1 - q) if negative == "sigmoid" else 0.0
    return total / max(count, 1)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_value_is_the_formula(impl, negative, weight):
    hidden, head, targets, call, ignore = make_batch(1)
    result = loss(
        hidden, head, targets, call, call_negative=negative, text_weight=weight,
        ignore_BT=ignore, impl=impl,
    )  # fmt: skip
    want = by_hand(hidden, head, targets, call, ignore, negative, weight)
    assert result.total.item() == pytest.approx(want, rel=1e-12)
    numbers = result.numbers()
    parts = numbers["text"] + numbers["call"] + numbers["negative"]
    assert parts == pytest.approx(want, rel=1e-12)
    valid = targets != -100
    assert numbers["positions"] == int(valid.sum())
    assert numbers["delegated"] == int((call & valid).sum())
    assert numbers["ignored"] == int((ignore & valid & ~call).sum())


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 3),
    length=st.integers(1, 12),
    width=st.integers(1, 6),
    vocabulary=st.integers(2, 30),
    shares=st.tuples(*[st.sampled_from([0.0, 0.2, 0.7, 1.1])] * 3),
    negative=st.sampled_from(NEGATIVES),
    weight=st.sampled_from([0.0, 0.25, 1.0]),
)
@settings(max_examples=120, deadline=None)
def test_implementations_agree(seed, rows, length, width, vocabulary, shares, negative, weight):
    hidden, head, targets, call, ignore = make_batch(
        seed, rows, length, width, vocabulary, call=shares[0], ignored=shares[1], valid=shares[2]
    )
    options = {"call_negative": negative, "text_weight": weight, "ignore_BT": ignore}
    want = value_and_gradients(hidden, head, targets, call, impl="reference", **options)
    for impl in ("fused", "auto"):
        got = value_and_gradients(hidden, head, targets, call, impl=impl, **options)
        torch.testing.assert_close(got[0].total, want[0].total, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(got[1], want[1], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(got[2], want[2], rtol=1e-10, atol=1e-12)
        assert torch.equal(got[0].delegated, want[0].delegated)


@pytest.mark.parametrize("negative", NEGATIVES)
def test_single_precision_and_many_chunks(negative, monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_BYTES", {"cpu": 1})
    monkeypatch.setattr(fused, "FEWEST_ROWS", 7)
    hidden, head, targets, call, ignore = make_batch(2, rows=8, length=25, width=32, vocabulary=300)
    exact = value_and_gradients(
        hidden, head, targets, call, call_negative=negative, ignore_BT=ignore, impl="reference"
    )
    for impl in IMPLS:
        got = value_and_gradients(
            hidden.float(), head.float(), targets, call, call_negative=negative,
            ignore_BT=ignore, impl=impl,
        )  # fmt: skip
        assert got[0].total.dtype == got[1].dtype == torch.float32
        torch.testing.assert_close(got[0].total.double(), exact[0].total, rtol=1e-5, atol=0)
        torch.testing.assert_close(got[1].double(), exact[1], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(got[2].double(), exact[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("impl", IMPLS)
def test_half_precision_adds_up_in_single(impl):
    hidden, head, targets, call, _ = make_batch(3, rows=2, length=40, width=16, vocabulary=50)
    exact = value_and_gradients(hidden, head, targets, call, call_negative="softmax")
    got = value_and_gradients(
        hidden.bfloat16(), head.bfloat16(), targets, call, call_negative="softmax", impl=impl
    )
    assert got[0].total.dtype == torch.float32 and got[1].dtype == torch.bfloat16
    torch.testing.assert_close(got[0].total.double(), exact[0].total, rtol=0.02, atol=0)
    for mine, want in zip(got[1:], exact[1:], strict=True):
        assert (mine.double() - want).norm() / want.norm() < 0.03


def test_autocast_keeps_the_parameters_type():
    hidden, head, targets, call, _ = make_batch(4)
    hidden, head = hidden.float(), head.float()
    plain = value_and_gradients(hidden, head, targets, call, impl="fused")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = value_and_gradients(hidden, head, targets, call, impl="fused")
    assert cast[0].total.dtype == cast[1].dtype == cast[2].dtype == torch.float32
    assert not torch.equal(cast[2], plain[2])
    assert (cast[2] - plain[2]).norm() / plain[2].norm() < 0.03


@pytest.mark.parametrize("impl", IMPLS)
def test_tied_head_collects_both_gradients(impl):
    _, head, targets, call, _ = make_batch(5)
    ids = targets.clamp(min=0)

    def gradient(impl):
        table = head.clone().requires_grad_()
        loss(table[ids] * 0.5, table, targets, call, text_weight=0.1, impl=impl).total.backward()
        return table.grad

    torch.testing.assert_close(gradient(impl), gradient("reference"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("impl", ["reference", "fused"])
def test_tied_gradient_is_that_of_the_value(impl):
    """Finite differences, so that the reference is not checked against itself."""
    _, head, targets, call, _ = make_batch(5, rows=2, length=4, width=3, vocabulary=6)
    ids = targets.clamp(min=0)
    assert torch.autograd.gradcheck(
        lambda table: loss(table[ids], table, targets, call, text_weight=0.1, impl=impl).total,
        (head.requires_grad_(),),
    )


@pytest.mark.parametrize("impl", ["reference", "fused"])
@pytest.mark.parametrize("negative", NEGATIVES)
def test_gradients_are_those_of_the_value(impl, negative):
    hidden, head, targets, call, ignore = make_batch(6, rows=2, length=4, width=3, vocabulary=6)
    assert torch.autograd.gradcheck(
        lambda h, w: loss(
            h, w, targets, call, call_negative=negative, text_weight=0.4,
            ignore_BT=ignore, impl=impl,
        ).total,
        (hidden.requires_grad_(), head.requires_grad_()),
    )  # fmt: skip


@pytest.mark.parametrize("impl", IMPLS)
def test_text_rows_have_no_gradient_on_the_call_logit(impl):
    hidden, head, targets, call, _ = make_batch(7)
    _, _, none = value_and_gradients(hidden, head, targets, torch.zeros_like(call), impl=impl)
    assert torch.all(none[-1] == 0) and none[:-1].abs().max() > 0
    for negative in ("softmax", "sigmoid"):
        _, _, grad = value_and_gradients(
            hidden, head, targets, torch.zeros_like(call), call_negative=negative, impl=impl
        )
        assert grad[-1].abs().max() > 0
    # Also in a mixed batch: only the delegated rows reach the <CALL> row.
    _, grad_hidden, grad = value_and_gradients(hidden, head, targets, call, impl=impl)
    mask = call & (targets != -100)
    log_p = torch.log_softmax(hidden @ head.T, -1)[..., -1].exp()
    want = (2.5 * (log_p - 1)[..., None] * hidden)[mask].sum(0) / (targets != -100).sum()
    torch.testing.assert_close(grad[-1], want)
    assert torch.all(grad_hidden[targets == -100] == 0)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_huge_call_logit_costs_nothing_unless_penalised(impl):
    """The published loss has no negative signal for <CALL>; the two other modes do."""
    hidden, head, targets, call, _ = make_batch(8)
    hidden = torch.cat((hidden, torch.ones_like(hidden[..., :1])), -1)
    head = torch.cat((head, torch.zeros_like(head[:, :1])), -1)
    for size in (50.0, 1e30):
        pushed = head.clone()
        pushed[-1, -1] = size
        text_only = loss(hidden, head, targets, torch.zeros_like(call), ignore_BT=call).total
        for negative in NEGATIVES:
            result, grad_hidden, grad_head = value_and_gradients(
                hidden, pushed, targets, call, call_negative=negative, impl=impl
            )
            assert grad_hidden.isfinite().all() and grad_head.isfinite().all()
            if negative == "none":
                torch.testing.assert_close(result.total.detach(), text_only)
            else:
                assert result.total.item() > text_only.item() + 0.3 * size


def test_an_infinite_gate_costs_nothing_where_it_is_not_trained():
    seen = fused.RowScores(torch.tensor([1.0, 2.0]), torch.tensor([torch.inf, torch.inf]))
    terms = fused.row_terms(
        seen, torch.tensor([True, False]), torch.tensor([False, False]), "none", 0.0
    )
    assert terms.sums.tolist() == [2.0, 0.0, 0.0]
    assert terms.call_n.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("impl", "negative"), EVERY_MODE)
def test_extreme_batches_are_finite(impl, negative):
    hidden, head, targets, call, _ = make_batch(9)
    yes, no = torch.ones_like(call), torch.zeros_like(call)
    nowhere = torch.full_like(targets, -100)
    cases = {
        "no facts": (targets, no, no),
        "all facts": (targets, yes, no),
        "all ignored": (targets, no, yes),
        "no target": (nowhere, yes, yes),
    }
    for name, (target, chosen, ignored) in cases.items():
        result, grad_hidden, grad_head = value_and_gradients(
            hidden, head, target, chosen, call_negative=negative, ignore_BT=ignored, impl=impl
        )
        assert all(math.isfinite(number) for number in result.numbers().values()), name
        assert grad_hidden.isfinite().all() and grad_head.isfinite().all(), name
        silent = name in ("all ignored", "no target")
        assert (result.total.item() == 0.0) == silent, name
        assert (not grad_head.any() and not grad_hidden.any()) == silent, name
    empty, _, grad = value_and_gradients(
        hidden[:0], head, targets[:0], call[:0], call_negative=negative, impl=impl
    )
    assert empty.total.item() == 0.0 and not grad.any()


@pytest.mark.parametrize("impl", IMPLS)
def test_order_of_positions_does_not_matter(impl):
    hidden, head, targets, call, ignore = make_batch(10)
    order = torch.randperm(targets.numel(), generator=torch.Generator().manual_seed(0))

    def permute(x):
        return x.flatten(0, 1)[order].view(x.shape)

    first = value_and_gradients(hidden, head, targets, call, ignore_BT=ignore, impl=impl)
    second = value_and_gradients(
        permute(hidden), head, permute(targets), permute(call), ignore_BT=permute(ignore), impl=impl
    )
    torch.testing.assert_close(first[0].total, second[0].total)
    torch.testing.assert_close(permute(first[1]), second[1])
    torch.testing.assert_close(first[2], second[2])


def test_ignored_positions_still_count_in_the_mean():
    hidden, head, targets, call, ignore = make_batch(11, call=0.0, valid=1.1)
    per_token = token_losses(hidden, head, targets)
    result = loss(hidden, head, targets, call, ignore_BT=ignore)
    torch.testing.assert_close(result.total, per_token[~ignore].sum() / targets.numel())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_token_losses(dtype, monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_BYTES", {"cpu": 1})
    monkeypatch.setattr(fused, "FEWEST_ROWS", 4)
    hidden, head, targets, _, _ = make_batch(12)
    got = token_losses(hidden.to(dtype).requires_grad_(), head.to(dtype), targets)
    logits = hidden.to(dtype).double() @ head.to(dtype).double()[:-1].T
    want = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")
    assert not got.requires_grad and got.dtype == torch.promote_types(dtype, torch.float32)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)
    assert torch.all(got[targets == -100] == 0)


def test_evaluation_needs_no_gradient_and_one_input_is_enough():
    hidden, head, targets, call, _ = make_batch(13)
    with torch.no_grad():
        want = loss(hidden, head, targets, call, impl="fused").total
    assert not want.requires_grad
    head.requires_grad_()
    loss(hidden, head, targets, call, impl="fused").total.backward()
    assert hidden.grad is None and head.grad is not None
    hidden.requires_grad_()
    frozen = head.detach()
    loss(hidden, frozen, targets, call, impl="fused").total.backward()
    assert hidden.grad is not None and frozen.grad is None


def test_fused_backward_twice_is_right_and_second_order_refused():
    hidden, head, targets, call, _ = make_batch(14)
    head.requires_grad_()
    total = loss(hidden, head, targets, call, impl="fused").total
    (first,) = torch.autograd.grad(total, head, retain_graph=True)
    (second,) = torch.autograd.grad(3 * total, head)
    torch.testing.assert_close(3 * first, second)
    total = loss(hidden, head, targets, call, impl="fused").total
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(total, head, create_graph=True)


def test_auto_says_why():
    name, reason = choose_impl()
    assert name == "fused" and reason.startswith("fused: ")


def test_shift_keeps_documents_apart():
    ids = torch.tensor([[0, 5, 6, 0, 0, 7, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7]], dtype=torch.int32)
    marks = torch.tensor([[0, 1, 2, 0, 0, 3, 0, 9], [0, 1, 2, 3, 4, 5, 6, 7]], dtype=torch.uint8)
    segments = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0], [1] * 8], dtype=torch.int32)
    targets, target_marks = shift(ids, marks, segments)
    assert targets.dtype == torch.int64 and target_marks.dtype == torch.uint8
    assert targets[0].tolist() == [5, 6, 0, -100, 7, 0, -100, -100]
    assert target_marks[0].tolist() == [1, 2, 0, 0, 3, 0, 0, 0]
    assert targets[1].tolist() == [1, 2, 3, 4, 5, 6, 7, -100]
    assert target_marks[1].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E12", {"call_negative": "tanh"}),
        ("E12", {"impl": "fast"}),
        ("E42", {"call_BT": torch.zeros(1, 2, dtype=torch.bool)}),
        ("E42", {"ignore_BT": torch.zeros(1, 2, dtype=torch.bool)}),
    ],
)
def test_mistakes_are_named(code, change):
    hidden, head, targets, call, _ = make_batch(0)
    with pytest.raises(LacyError) as caught:
        loss(hidden, head, targets, **({"call_BT": call} | change))
    assert caught.value.code == code


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("negative", NEGATIVES)
def test_a_row_trained_alone_has_the_gradient_of_the_whole_head(impl, negative):
    """Hidden states and row get the same gradients as with a trained head; the head gets none."""
    torch.manual_seed(3)
    hidden_BTD = torch.randn(2, 6, 5, dtype=torch.float64)
    head_VD = torch.randn(9, 5, dtype=torch.float64)
    row_D = torch.randn(5, dtype=torch.float64)
    targets_BT = torch.randint(0, 8, (2, 6))
    call_BT = torch.rand(2, 6) < 0.4

    def run(head_VD, row_D):
        hidden = hidden_BTD.clone().requires_grad_()
        found = loss(hidden, head_VD, targets_BT, call_BT, call_negative=negative,
                     text_weight=0.3, row_D=row_D, impl=impl)  # fmt: skip
        found.total.backward()
        return found.total.detach(), hidden.grad

    whole_VD = torch.cat((head_VD[:-1], row_D[None])).requires_grad_()
    alone_D = row_D.clone().requires_grad_()
    value, grad_BTD = run(whole_VD, None)
    other, other_BTD = run(head_VD, alone_D)
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_BTD, grad_BTD)
    torch.testing.assert_close(alone_D.grad, whole_VD.grad[-1])


@pytest.mark.parametrize(("impl", "negative"), EVERY_MODE)
def test_text_scale_multiplies_the_text_loss_alone(impl, negative):
    hidden, head, targets, call, ignore = make_batch(11)
    options = {
        "call_negative": negative, "text_weight": 0.3, "ignore_BT": ignore, "impl": impl
    }  # fmt: skip
    whole, half, none = (
        value_and_gradients(hidden, head, targets, call, text_scale=scale, **options)
        for scale in (1.0, 0.5, 0.0)
    )
    for part in ("call", "negative"):
        torch.testing.assert_close(getattr(half[0], part), getattr(whole[0], part))
    torch.testing.assert_close(half[0].text, 0.5 * whole[0].text)
    assert none[0].text == 0.0 and none[0].total == none[0].call + none[0].negative
    for n in (1, 2):  # the loss is linear in the scale
        torch.testing.assert_close(half[n], 0.5 * (whole[n] + none[n]))
