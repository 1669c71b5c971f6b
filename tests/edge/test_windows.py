"""Time within daily windows, and random numbers that are functions of a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.edge import Spread
from lacy.edge.draws import exponentials, uniforms
from lacy.edge.windows import DAY, active_until, is_open, time_after


def walked(begin, work, start, length):
    """Work off a task window by window."""
    if work <= 0:
        return begin
    time = begin
    while True:
        into = (time - start) % DAY
        if length < DAY and into >= length:
            time += DAY - into
            into = 0.0
        left = length - into if length < DAY else np.inf
        if work <= left:
            return time + work
        work -= left
        time += left + DAY - length


@given(
    begin=st.floats(0, 1e6), work=st.floats(0.01, 1e6), start=st.floats(0, DAY - 1),
    length=st.floats(360, DAY),
)  # fmt: skip
def test_work_ends_where_walking_from_window_to_window_ends(begin, work, start, length):
    got = time_after(begin, *(np.array([v]) for v in (work, start, length)))[0]
    slow = walked(begin, work, start, length)
    # A task that fills a window up to rounding may end in it or at the beginning of the next one.
    edges = abs((got - start) % DAY - length) < 1e-3 or abs((slow - start) % DAY - length) < 1e-3
    assert got == pytest.approx(slow, abs=1e-4) or edges


@given(
    begin=st.floats(0, 1e6), work=st.floats(1, 1e6), start=st.floats(0, DAY - 1),
    length=st.floats(360, DAY),
)  # fmt: skip
def test_the_clock_of_windows_counts_the_work(begin, work, start, length):
    start, length = np.array([start]), np.array([length])
    end = time_after(begin, np.array([work]), start, length)
    passed = active_until(end, start, length) - active_until(begin, start, length)
    assert passed[0] == pytest.approx(work, abs=1e-4)


def test_a_window_may_pass_midnight():
    start, length = np.array([23 * 3600.0]), np.array([4 * 3600.0])
    hours = np.array([22.9, 23.1, 0.5, 2.9, 3.1])
    assert is_open(hours * 3600, start, length).tolist() == [False, True, True, True, False]


def test_random_numbers_depend_on_key_and_number_only():
    numbers = np.arange(20_000)
    first, again = uniforms((1, 2), numbers), uniforms((1, 2), numbers[::-1])[::-1]
    assert np.array_equal(first, again)
    others = uniforms((1, 3), numbers)
    assert abs(np.corrcoef(first, others)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03
    for drawn in (first, others):
        deciles = np.histogram(drawn, bins=10, range=(0, 1))[0]
        assert abs(deciles - 2000).max() < 200  # 4.7 standard deviations
    assert exponentials((0,), numbers).mean() == pytest.approx(1.0, abs=0.03)


def test_spreads_have_their_quantiles():
    level = np.array([0.1, 0.5, 0.9])
    assert Spread(median=4, p90=8).at(level) == pytest.approx([2, 4, 8])
    assert Spread(median=4).at(level) == pytest.approx([4, 4, 4])
    assert Spread(low=10, high=20).at(level) == pytest.approx([11, 15, 19])
    assert Spread(values=(1, 2), weights=(3, 1)).at(np.array([0.74, 0.76])).tolist() == [1, 2]
    assert Spread(median=4, p90=8).scaled(2).at(level) == pytest.approx([4, 8, 16])


@pytest.mark.parametrize(
    "spread",
    [
        Spread(), Spread(median=1, low=0, high=1), Spread(median=2, p90=1), Spread(low=1),
        Spread(low=2, high=1), Spread(values=(1, 2), weights=(1,)), Spread(median=float("nan")),
        Spread(values=(1, 2), weights=(0, 0)),
    ],
)  # fmt: skip
def test_impossible_spreads_say_why(spread):
    assert spread.problem()
