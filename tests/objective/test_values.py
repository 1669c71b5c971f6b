"""Whole values, starts of values and ranks within rows, compared with plain Python."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.objective import METHODS, Objective, RunningQuantile, fused, select, select_and_loss
from lacy.objective.select import ValueRuns
from lacy.types import MarkFlag

FACT, START, VALUE = int(MarkFlag.FACT), int(MarkFlag.START), int(MarkFlag.VALUE)
UNMARKED, INSIDE, BEGIN = 0, FACT | VALUE, FACT | START | VALUE


def choose(method, loss, marks, rate, valid, *, delegate="token", rank_within="batch", **options):
    objective = Objective(method=method, call_rate=rate, delegate=delegate, rank_within=rank_within)
    return select.choose_targets(objective, loss, marks, valid, **options)[0]


@st.composite
def batches(draw):
    """Marks with runs, adjacent values, facts without VALUE, holes; small losses, so some tie."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    kinds = st.sampled_from([UNMARKED, UNMARKED, INSIDE, INSIDE, BEGIN, FACT, FACT | START])
    grid = st.lists(kinds, min_size=length, max_size=length)
    marks = torch.tensor([draw(grid) for _ in range(rows)], dtype=torch.uint8)
    valid = torch.tensor(
        [[draw(st.integers(0, 9)) > 0 for _ in range(length)] for _ in range(rows)]
    )
    number = st.integers(0, 6).map(float)
    loss, reference = (
        torch.tensor([[draw(number) for _ in range(length)] for _ in range(rows)]) for _ in range(2)
    )
    return loss, reference, marks, valid


def values_of(method, marks, valid):
    """Lists of (row, place), one per value, in reading order."""
    wanted = {"facts": FACT, "values": VALUE}.get(METHODS[method].among)
    found = []
    for row in range(len(marks)):
        open_value = False
        for place in range(len(marks[row])):
            mark = int(marks[row, place])
            may = bool(valid[row, place]) and (wanted is None or mark & wanted)
            if METHODS[method].among == "nothing" or not may:
                open_value = False
                continue
            if not (open_value and mark & FACT and not mark & START):
                found.append([])
            found[-1].append((row, place))
            open_value = bool(mark & FACT)
    return found


def slow_choice(method, scores, marks, valid, rate, delegate, chance):
    """Take one value after the other, as the docstrings describe."""
    call = torch.zeros_like(valid)
    values = values_of(method, marks, valid)
    if delegate == "token":
        values = [[token] for value in values for token in value]

    def score(value):
        return float(scores[value[0]]) if chance else sum(float(scores[t]) for t in value)

    want = round(rate * int(valid.sum()))
    if delegate == "value":
        values = [value for value in values if len(value) <= want]
    taken = 0
    for value in sorted(values, key=score, reverse=True):
        tokens = value[:1] if delegate == "start" else value
        if taken + len(tokens) > want:
            break
        taken += len(tokens)
        for token in tokens:
            call[token] = True
    return call


def slow_choice_by_row(method, scores, marks, valid, *rest):
    """Choose in every row as if it were a batch."""
    rows = zip(scores.split(1), marks.split(1), valid.split(1), strict=True)
    return torch.cat([slow_choice(method, *row, *rest) for row in rows])


@given(
    batch=batches(),
    method=st.sampled_from(sorted(METHODS)),
    rate=st.floats(0, 1),
    delegate=st.sampled_from(["token", "value", "start"]),
    within=st.sampled_from(["batch", "sequence"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=400, deadline=None)
def test_the_choice_equals_a_slow_reference(batch, method, rate, delegate, within, seed):
    loss, reference, marks, valid = batch
    call = choose(
        method, loss, marks, rate, valid, delegate=delegate, rank_within=within,
        reference_loss_BT=reference, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    chance = METHODS[method].by == "random"
    scores = {
        "loss": loss, "reference": reference, "low_excess": reference - loss,
        "random": torch.rand(valid.shape, generator=torch.Generator().manual_seed(seed)),
    }[METHODS[method].by]  # fmt: skip
    slow = slow_choice if within == "batch" else slow_choice_by_row
    want = slow(method, scores, marks, valid, rate, delegate, chance)
    assert torch.equal(call, want)
    counts = [int(valid.sum())] if within == "batch" else valid.sum(-1).tolist()
    missing = sum(round(rate * count) for count in counts) - int(want.sum())
    assert missing >= 0
    asked = select.count_wanted(rate, valid, within)
    assert int(asked.sum()) == missing + int(want.sum())


def test_a_value_ends_before_a_start_a_gap_and_at_the_row():
    marks = torch.tensor([[INSIDE, INSIDE, 0, BEGIN, BEGIN, INSIDE], [INSIDE, 0, 0, BEGIN, 0, 0]])
    valid = torch.ones(2, 6, dtype=torch.bool)
    values = ValueRuns.of(marks > 0, marks.to(torch.uint8))
    assert values.first_BT.int().tolist() == [[1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 0, 0]]
    assert values.last_BT.int().tolist() == [[0, 1, 0, 1, 0, 1], [1, 0, 0, 1, 0, 0]]
    scores = torch.tensor([[1.0, 2, 9, 4, 5, 6], [7, 9, 9, 8, 9, 9]])
    sums = values.sums(scores)[marks > 0]
    assert sums.tolist() == [3, 3, 4, 11, 11, 7, 8]
    every = ValueRuns.of(valid, marks.to(torch.uint8))
    assert int(every.first_BT.sum()) == 5 + 5  # an unmarked token is a value of its own


def test_a_long_value_is_neither_split_nor_replaced_by_a_short_one():
    marks = torch.tensor([[BEGIN, INSIDE, INSIDE, 0, BEGIN, 0, BEGIN, INSIDE, 0, 0]])
    loss = torch.tensor([[5.0, 5, 5, 0, 1, 0, 4, 4, 0, 0]])
    valid = torch.ones(1, 10, dtype=torch.bool)

    def places(rate, delegate):
        call = choose("lacy", loss, marks.to(torch.uint8), rate, valid, delegate=delegate)
        return call.nonzero()[:, 1].tolist()

    assert places(0.2, "value") == [6, 7]  # the first would never fit: it bars no way
    assert places(0.3, "value") == places(0.4, "value") == [0, 1, 2]
    assert places(0.5, "value") == [0, 1, 2, 6, 7]
    assert places(0.4, "token") == [0, 1, 2, 6]
    assert places(0.2, "start") == [0, 6]
    assert places(0.9, "start") == [0, 4, 6]


def test_every_row_keeps_the_rate_by_itself():
    marks = torch.full((2, 10), FACT, dtype=torch.uint8)
    loss = torch.arange(20.0).view(2, 10)  # the second row is harder everywhere
    valid = torch.ones(2, 10, dtype=torch.bool)
    valid[1, :5] = False

    def counts(within):
        call = choose("lacy", loss, marks, 0.4, valid, rank_within=within)
        return call.sum(-1).tolist()

    assert counts("batch") == [1, 5] and counts("sequence") == [4, 2]
    none = torch.zeros(0, 4, dtype=torch.bool)
    assert select.count_wanted(0.5, none, "sequence").shape == (0,)


def test_a_broken_loss_puts_its_value_last():
    marks = torch.tensor([[BEGIN, INSIDE, BEGIN, INSIDE]], dtype=torch.uint8)
    loss = torch.tensor([[9.0, torch.nan, 1.0, 1.0]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    call = choose("lacy", loss, marks, 0.5, valid, delegate="value")
    assert call.tolist() == [[False, False, True, True]]


def test_random_choices_do_not_prefer_long_values():
    """Three values of 1, 2 and 4 tokens, one start each time: a third each."""
    marks = torch.tensor([[BEGIN, 0, BEGIN, INSIDE, 0, BEGIN, INSIDE, INSIDE, INSIDE]])
    valid = torch.ones(1, 9, dtype=torch.bool)
    chance = torch.Generator().manual_seed(0)
    counts = torch.zeros(9)
    for _ in range(900):
        counts += choose(
            "marks_only", None, marks.to(torch.uint8), 1 / 9, valid, delegate="start",
            generator=chance,
        )[0]  # fmt: skip
    # Binomial(900, 1/3): standard deviation 14.
    assert counts.sum() == 900 and (counts[[0, 2, 5]] - 300).abs().max() < 5 * 14


@given(
    batch=batches(),
    method=st.sampled_from(sorted(METHODS)),
    rate=st.sampled_from([0.1, 0.3, 0.7]),
    delegate=st.sampled_from(["token", "value", "start"]),
    within=st.sampled_from(["batch", "sequence"]),
    ignore=st.sampled_from(["none", "facts", "all"]),
    negative=st.sampled_from(["none", "softmax", "sigmoid"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_one_pass_equals_the_reference(
    batch, method, rate, delegate, within, ignore, negative, seed
):
    _, reference, marks, valid = batch
    chance = torch.Generator().manual_seed(seed)
    hidden = torch.randn(*valid.shape, 5, generator=chance, dtype=torch.float64)
    head = torch.randn(17, 5, generator=chance, dtype=torch.float64)
    targets = torch.randint(0, 16, valid.shape, generator=chance).masked_fill(~valid, -100)
    objective = Objective(
        method=method, call_rate=rate, delegate=delegate, rank_within=within, ignore=ignore,
        call_negative=negative, text_weight=0.3,
    )  # fmt: skip
    found = []
    for impl in ("fused", "reference"):
        mine, theirs = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fused, "CHUNK_BYTES", {"cpu": 1})
            patch.setattr(fused, "FEWEST_ROWS", 3)
            step = select_and_loss(
                mine, theirs, targets, marks, objective, impl=impl,
                reference_loss_BT=reference.double(), generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
        step.loss.total.backward()
        found.append((step, mine.grad, theirs.grad))
    (one, *grads), (two, *expected) = found
    assert torch.equal(one.call_BT, two.call_BT) and torch.equal(one.ignore_BT, two.ignore_BT)
    torch.testing.assert_close(one.loss.total, two.loss.total, rtol=1e-10, atol=1e-12)
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("within", ["batch", "sequence"])
@pytest.mark.parametrize("delegate", ["value", "start"])
def test_it_compiles_to_one_graph(delegate, within):
    chance = torch.Generator().manual_seed(3)
    hidden = torch.randn(2, 12, 5, generator=chance).requires_grad_()
    head = torch.randn(9, 5, generator=chance)
    targets = torch.randint(0, 8, (2, 12), generator=chance)
    marks = torch.tensor([[BEGIN, INSIDE, 0, 0] * 3] * 2, dtype=torch.uint8)

    objective = Objective(delegate=delegate, rank_within=within, call_rate=0.3)

    def choice(hidden):
        return select_and_loss(hidden, head, targets, marks, objective).call_BT

    want = choice(hidden)
    assert want.any()
    assert torch.equal(torch.compile(choice, backend="aot_eager", fullgraph=True)(hidden), want)


def test_mistakes_are_named():
    hidden, head = torch.randn(1, 4, 3), torch.randn(5, 3)
    targets, marks = torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.uint8)
    quantile = RunningQuantile(0.1)
    for settings_, said in (
        ({"rank_within": "sequence"}, "choose batch"),
        ({"delegate": "value"}, "ranks tokens"),
    ):
        with pytest.raises(LacyError, match=said) as caught:
            select_and_loss(hidden, head, targets, marks, Objective(**settings_), quantile=quantile)
        assert caught.value.code == "E12"
