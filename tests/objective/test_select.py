"""Which tokens are delegated: exact counts, the right tokens, all methods, clear refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.objective import METHODS, Objective, select
from lacy.types import MarkFlag

FACT, VALUE, CONTENT = int(MarkFlag.FACT), int(MarkFlag.VALUE), int(MarkFlag.CONTENT)


def make_batch(seed, rows=3, length=40, fact_share=0.3, valid_share=0.9):
    chance = torch.Generator().manual_seed(seed)

    def draw():
        return torch.rand(rows, length, generator=chance)

    loss, reference = draw() * 8, draw() * 8
    facts = draw() < fact_share
    values = facts & (draw() < 0.5)
    content = ~facts & (draw() < 0.5)
    marks = (facts * FACT + values * VALUE + content * CONTENT).to(torch.uint8)
    valid = draw() < valid_share
    return loss, reference, marks, valid


def allowed(method, marks, valid):
    among = METHODS[method].among
    if among == "nothing":
        return torch.zeros_like(valid)
    if among == "all":
        return valid
    return valid & ((marks & (FACT if among == "facts" else VALUE)) != 0)


def all_arguments(method, loss, reference, marks, valid, rate, seed=0):
    return chosen(
        method,
        loss,
        marks,
        rate,
        valid,
        reference_loss_BT=reference,
        generator=torch.Generator().manual_seed(seed),
    )


def chosen(method, loss, marks, rate, valid, **options):
    return select.choose_targets(
        Objective(method=method, call_rate=rate), loss, marks, valid, **options
    )[0]


@given(
    method=st.sampled_from(sorted(METHODS)),
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 4),
    length=st.integers(1, 50),
    rate=st.floats(0, 1),
    fact_share=st.floats(0, 1),
    valid_share=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_every_method_takes_exactly_the_rate_or_all_it_may(
    method, seed, rows, length, rate, fact_share, valid_share
):
    loss, reference, marks, valid = make_batch(seed, rows, length, fact_share, valid_share)
    call = all_arguments(method, loss, reference, marks, valid, rate)
    may = allowed(method, marks, valid)
    want = round(rate * int(valid.sum()))
    assert call.dtype == torch.bool and call.shape == valid.shape
    assert not (call & ~may).any()
    assert int(call.sum()) == min(want, int(may.sum()))
    assert int(select.count_wanted(rate, valid)) == want


@pytest.mark.parametrize("method", ["lacy", "loss_top", "oracle", "marks_reference", "rho"])
@given(seed=st.integers(0, 10_000), rate=st.floats(0.02, 0.3))
@settings(max_examples=25, deadline=None)
def test_ranked_methods_take_the_highest(method, seed, rate):
    loss, reference, marks, valid = make_batch(seed)
    call = all_arguments(method, loss, reference, marks, valid, rate)
    score = {"loss": loss, "reference": reference, "low_excess": reference - loss}[
        METHODS[method].by
    ]
    left = allowed(method, marks, valid) & ~call
    if call.any() and left.any():
        assert score[call].min() >= score[left].max()


def test_equal_scores_are_taken_in_reading_order():
    valid = torch.ones(2, 5, dtype=torch.bool)
    call = select.take(torch.ones(2, 5), valid, 7)
    assert call.flatten().tolist() == [True] * 7 + [False] * 3


def test_broken_losses_do_not_break_the_count():
    loss = torch.tensor([[torch.nan, torch.inf, 1.0, -torch.inf, 2.0, torch.nan]])
    among = torch.tensor([[True, True, True, True, True, False]])
    assert select.take(loss, among, 3).tolist() == [[False, True, True, False, True, False]]
    assert int(select.take(loss, among, 5).sum()) == 5
    assert int(select.take(loss, among, -2).sum()) == 0


def test_random_methods_are_uniform_and_repeatable():
    _, _, marks, valid = make_batch(0, rows=1, length=30, valid_share=1.1)
    chance = torch.Generator().manual_seed(1)
    counts = torch.zeros(30)
    for _ in range(600):
        counts += chosen("random", None, marks, 0.2, valid, generator=chance)[0]
    # Binomial(600, 0.2): standard deviation 9.8.
    assert (counts - 120).abs().max() < 5 * 9.8
    assert counts.std() > 4
    for name in ("random", "marks_only", "judge"):
        first, second = (
            chosen(name, None, marks, 0.1, valid, generator=torch.Generator().manual_seed(7))
            for _ in range(2)
        )
        assert torch.equal(first, second) and first.any()


def test_selection_has_no_gradient():
    loss, _, marks, valid = make_batch(0)
    assert not chosen("lacy", loss.requires_grad_(), marks, 0.1, valid).requires_grad


@pytest.mark.parametrize(
    ("code", "method", "change", "said"),
    [
        ("E41", "rho", {"reference_loss_BT": None}, "reference model"),
        ("E41", "lacy", {"loss_BT": None}, "own losses"),
        ("E42", "lacy", {"target_marks_BT": torch.zeros(1, 2, dtype=torch.uint8)}, "marks"),
        ("E42", "lacy", {"loss_BT": torch.zeros(1, 2)}, "own losses"),
    ],
)
def test_mistakes_are_named(code, method, change, said):
    loss, reference, marks, valid = make_batch(0)
    arguments = {
        "loss_BT": loss,
        "target_marks_BT": marks,
        "valid_BT": valid,
        "reference_loss_BT": reference,
    }
    with pytest.raises(LacyError, match=said) as caught:
        select.choose_targets(Objective(method=method), **(arguments | change))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "change", "said"),
    [
        ("E40", {"method": "lacey"}, "did you mean 'lacy'"),
        ("E12", {"call_rate": 1.5}, "call_rate"),
        ("E12", {"call_rate": float("nan")}, "call_rate"),
        ("E12", {"call_negative": "tanh"}, "call_negative"),
        ("E12", {"ignore": "some"}, "ignore"),
        ("E12", {"delegate": "sentence"}, "delegate"),
        ("E12", {"rank_within": "page"}, "rank_within"),
    ],
)
def test_an_objective_rejects_unknown_values(code, change, said):
    with pytest.raises(LacyError, match=said) as caught:
        Objective(**change)
    assert caught.value.code == code


@given(seed=st.integers(0, 10_000), ignore_rate=st.floats(0, 0.9))
@settings(max_examples=50, deadline=None)
def test_ignore_masks(seed, ignore_rate):
    loss, _, marks, valid = make_batch(seed)
    call = chosen("lacy", loss, marks, 0.1, valid)
    facts = (marks & FACT) != 0
    left = select.ignore_facts(marks, call, valid)
    assert torch.equal(left, facts & valid & ~call)

    ignored = select.ignore_all(loss, marks, call, valid, ignore_rate)
    content = ((marks & CONTENT) != 0) & valid
    extra = ignored & ~left
    assert not (left & ~ignored).any() and not (extra & ~content).any()
    room = max(0, round(ignore_rate * int(valid.sum())) - int(left.sum()))
    assert int(extra.sum()) == min(room, int(content.sum()))
    rest = content & ~extra
    if extra.any() and rest.any():
        assert loss[extra].min() >= loss[rest].max()
