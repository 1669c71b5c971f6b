"""The running threshold: the rate on average, across pieces of unequal difficulty, resumable."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from lacy.errors import LacyError
from lacy.objective import RunningQuantile


def pieces(count, seed, tokens=400, share=0.25, drift=0.0):
    chance = torch.Generator().manual_seed(seed)
    for step in range(count):
        score = torch.randn(1, tokens, generator=chance) + 6.0 - drift * step
        marked = torch.rand(1, tokens, generator=chance) < share
        valid = torch.rand(1, tokens, generator=chance) < 0.95
        yield score, marked, valid


@given(
    seed=st.integers(0, 1000),
    rate=st.floats(0.02, 0.22),
    drift=st.sampled_from([-0.02, 0.0, 0.02, 0.04]),
)
@settings(max_examples=12, deadline=None)
def test_the_rate_holds_on_average(seed, rate, drift):
    selector = RunningQuantile(rate, window=4000)
    called = total = 0
    for score, marked, valid in pieces(120, seed, drift=drift):
        call = selector.select(score, marked, valid)
        assert not (call & ~(marked & valid)).any()
        called += int(call.sum())
        total += int(valid.sum())
    assert selector.measured_rate == called / total
    assert called / total == pytest.approx(rate, abs=0.004)


def test_the_first_piece_is_exact():
    ((score, marked, valid),) = pieces(1, 0)
    call = RunningQuantile(0.1).select(score, marked, valid)
    assert abs(int(call.sum()) - 0.1 * int(valid.sum())) <= 1
    left = marked & valid & ~call
    assert score[call].min() > score[left].max()


def test_hard_pieces_give_more_than_easy_ones():
    """That is the point: one threshold for all pieces, not one rate for each."""
    selector = RunningQuantile(0.15)
    called = [0, 0]
    for step, (score, marked, valid) in enumerate(pieces(200, 1)):
        hard = step % 2
        called[hard] += int(selector.select(score + hard, marked, valid).sum())
    assert called[1] > 1.5 * called[0] > 0
    assert selector.measured_rate == pytest.approx(0.15, abs=0.004)


def test_too_few_marks_leave_no_debt_behind():
    selector = RunningQuantile(0.15, window=2000)
    for score, marked, valid in pieces(50, 2, share=0.05):
        assert torch.equal(selector.select(score, marked, valid), marked & valid)
    called = total = 0
    for score, marked, valid in pieces(100, 3, share=0.4):
        called += int(selector.select(score, marked, valid).sum())
        total += int(valid.sum())
    assert called / total < 0.25


def test_nothing_marked_and_nothing_valid():
    selector = RunningQuantile(0.15)
    nothing, everything = torch.zeros(1, 5, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool)
    assert selector.measured_rate == 0.0
    for marked, valid in ((nothing, everything), (everything, nothing)):
        assert not selector.select(torch.ones(1, 5), marked, valid).any()
    assert RunningQuantile(0.0).select(torch.ones(1, 5), everything, everything).sum() == 0
    assert RunningQuantile(1.0).select(torch.ones(1, 5), everything, everything).sum() == 5


def test_resumed_it_chooses_the_same():
    stream = list(pieces(30, 4))
    first = RunningQuantile(0.15, window=1500)
    for piece in stream[:15]:
        first.select(*piece)
    state = load(save(first.state_dict()))
    second = RunningQuantile(0.15, window=1500)
    second.load_state_dict(state)
    for piece in stream[15:]:
        assert torch.equal(first.select(*piece), second.select(*piece))
    assert first.measured_rate == second.measured_rate


def test_processes_share_one_threshold():
    """Two processes, simulated: each sees its own piece, and through ``gather`` the other's."""
    selectors = [RunningQuantile(0.15), RunningQuantile(0.15)]
    both = list(pieces(60, 5))
    for left, right in zip(both[::2], both[1::2], strict=True):
        pooled = torch.cat(
            [torch.stack((s.float(), (m & v).float(), v.float()), -1) for s, m, v in (left, right)]
        )
        for selector, piece in zip(selectors, (left, right), strict=True):
            selector.select(*piece, gather=lambda mine, pooled=pooled: pooled)
    one, two = (selector.state_dict() for selector in selectors)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert selectors[0].measured_rate == pytest.approx(0.15, abs=0.004)


def test_mistakes_are_named():
    for arguments in ((1.2,), (0.1, 0)):
        with pytest.raises(LacyError) as caught:
            RunningQuantile(*arguments)
        assert caught.value.code == "E12"
