import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_wsd_schedule

from lacy.train import WSD, TrainConfig
from lacy.train.schedule import make_schedule


@given(
    warmup=st.integers(0, 7), stable=st.integers(0, 9), decay=st.integers(0, 8),
    shape=st.sampled_from(["linear", "cosine", "1-sqrt"]),
    floor=st.floats(0, 1, allow_nan=False),
)  # fmt: skip
def test_equals_transformers_at_its_steps(warmup, stable, decay, shape, floor):
    total = warmup + stable + decay
    ours = WSD(total, warmup, decay, shape, floor)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_wsd_schedule(
        optimizer, warmup, decay, num_stable_steps=stable, decay_type=shape, min_lr_ratio=floor
    ).lr_lambdas[0]
    for step in range(total + 3):
        assert ours(step) == pytest.approx(theirs(step), abs=1e-12), step


def test_no_step_has_a_learning_rate_of_zero():
    schedule = WSD(total=20, warmup=4, decay=4)
    rates = [schedule.at(step) for step in range(20)]
    assert min(rates) > 0
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:16] == [1.0] * 12
    assert rates[16:] == sorted(rates[16:], reverse=True)


def test_exponential_halves_at_equal_distances():
    schedule = WSD(total=100, warmup=0, decay=50, shape="exponential", half_life=10)
    assert [schedule(step) for step in (50, 60, 70, 100)] == pytest.approx([1, 0.5, 0.25, 2**-5])


def test_length_from_steps_tokens_or_epochs(tmp_path):
    def total(**given):
        config = TrainConfig(data=tmp_path, batch_rows=10, **given)
        return make_schedule(config, rows=105, context=8).total

    assert (total(steps=7), total(tokens=161), total(epochs=2), total()) == (7, 3, 21, 11)


def test_parts_of_the_run(tmp_path):
    config = TrainConfig(data=tmp_path, steps=200, warmup=0.05)
    schedule = make_schedule(config, rows=9, context=8)
    assert (schedule.warmup, schedule.decay_start, schedule.total) == (10, 160, 200)
    cosine = TrainConfig(data=tmp_path, steps=200, warmup=0.05, decay=0.95)
    assert make_schedule(cosine, rows=9, context=8).decay_start == 10


def test_a_fork_continues_the_step_count_without_warm_up_and_decays(tmp_path):
    config = TrainConfig(data=tmp_path, steps=50, fork=tmp_path)
    schedule = make_schedule(config, rows=9, context=8, start=300)
    assert (schedule.start, schedule.warmup, schedule.decay_start, schedule.total) == (
        300,
        0,
        300,
        350,
    )
    assert schedule.at(300) > schedule.at(349) > 0
