"""The running threshold holds the rate on average over uneven micro-batches, also resumed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from lacy.errors import LacyError
from lacy.objective import RunningQuantile


def micro_batches(count, seed, tokens=400, share=0.25, drift=0.0):
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
    quantile = RunningQuantile(rate, window=4000)
    called = total = 0
    for score, marked, valid in micro_batches(120, seed, drift=drift):
        call = quantile.select(score, marked, valid)
        assert not (call & ~(marked & valid)).any()
        called += int(call.sum())
        total += int(valid.sum())
    assert called / total == pytest.approx(rate, abs=0.004)


def test_the_first_micro_batch_is_exact():
    ((score, marked, valid),) = micro_batches(1, 0)
    call = RunningQuantile(0.1).select(score, marked, valid)
    assert abs(int(call.sum()) - 0.1 * int(valid.sum())) <= 1
    left = marked & valid & ~call
    assert score[call].min() > score[left].max()


def test_hard_micro_batches_give_more_than_easy_ones():
    """The purpose: one threshold for all micro-batches, not one rate for each."""
    quantile = RunningQuantile(0.15)
    called, total = [0, 0], 0
    for step, (score, marked, valid) in enumerate(micro_batches(200, 1)):
        hard = step % 2
        called[hard] += int(quantile.select(score + hard, marked, valid).sum())
        total += int(valid.sum())
    assert called[1] > 1.5 * called[0] > 0
    assert sum(called) / total == pytest.approx(0.15, abs=0.004)


def test_too_few_marks_leave_no_debt_behind():
    quantile = RunningQuantile(0.15, window=2000)
    for score, marked, valid in micro_batches(50, 2, share=0.05):
        assert torch.equal(quantile.select(score, marked, valid), marked & valid)
    called = total = 0
    for score, marked, valid in micro_batches(100, 3, share=0.4):
        called += int(quantile.select(score, marked, valid).sum())
        total += int(valid.sum())
    assert called / total < 0.25


def test_nothing_marked_and_nothing_valid():
    quantile = RunningQuantile(0.15)
    nothing, everything = torch.zeros(1, 5, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool)
    for marked, valid in ((nothing, everything), (everything, nothing)):
        assert not quantile.select(torch.ones(1, 5), marked, valid).any()
    assert RunningQuantile(0.0).select(torch.ones(1, 5), everything, everything).sum() == 0
    assert RunningQuantile(1.0).select(torch.ones(1, 5), everything, everything).sum() == 5


def test_resumed_it_chooses_the_same():
    stream = list(micro_batches(30, 4))
    first = RunningQuantile(0.15, window=1500)
    for batch in stream[:15]:
        first.select(*batch)
    state = load(save(first.state_dict()))
    second = RunningQuantile(0.15, window=1500)
    second.load_state_dict(state)
    for batch in stream[15:]:
        assert torch.equal(first.select(*batch), second.select(*batch))


def test_processes_share_one_threshold():
    """Two simulated processes: each sees its own micro-batch, and all through ``gather``."""
    quantiles = [RunningQuantile(0.15), RunningQuantile(0.15)]
    both = list(micro_batches(60, 5))
    called = total = 0
    for left, right in zip(both[::2], both[1::2], strict=True):
        pooled = torch.cat(
            [torch.stack((s.float(), (m & v).float(), v.float()), -1) for s, m, v in (left, right)]
        )
        for quantile, own in zip(quantiles, (left, right), strict=True):
            quantile.gather = lambda mine, pooled=pooled: pooled
            called += int(quantile.select(*own).sum())
            total += int(own[2].sum())
    one, two = (quantile.state_dict() for quantile in quantiles)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert called / total == pytest.approx(0.15, abs=0.004)


def test_mistakes_are_named():
    for arguments in ((1.2,), (0.1, 0)):
        with pytest.raises(LacyError) as caught:
            RunningQuantile(*arguments)
        assert caught.value.code == "E12"
