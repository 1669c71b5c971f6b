"""The order of the data: every row once per epoch, the same for every split into processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import BatchOrder
from lacy.corpus.order import permutation
from lacy.errors import LacyError


@given(
    n_rows=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(-5, 10), epochs=st.just(3)
)
@settings(max_examples=80, deadline=None)
def test_every_row_once_per_epoch_across_borders(n_rows, batch, seed, epochs):
    order = BatchOrder(n_rows, batch, seed)
    steps = -(-epochs * n_rows // batch)
    stream = np.concatenate([order.rows(step) for step in range(steps)])
    for epoch in range(epochs):
        seen = stream[epoch * n_rows : (epoch + 1) * n_rows]
        assert sorted(seen.tolist()) == list(range(n_rows))


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 4), st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_processes_share_the_same_batch(n_rows, per_rank, world_size, step):
    batch = per_rank * world_size
    whole = BatchOrder(n_rows, batch, seed=3).rows(step)
    parts = [
        BatchOrder(n_rows, batch, seed=3, rank=rank, world_size=world_size).rows(step)
        for rank in range(world_size)
    ]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_pure_in_seed_and_step_and_stable_for_ever():
    first, second = BatchOrder(1000, 8, seed=1), BatchOrder(1000, 8, seed=1)
    late = first.rows(700).tolist()
    for step in range(50):
        second.rows(step)
    assert second.rows(700).tolist() == late
    assert first.rows(700).tolist() != BatchOrder(1000, 8, seed=2).rows(700).tolist()
    assert permutation(8, 0, 0).tolist() != permutation(8, 0, 1).tolist()
    assert permutation(8, 0, 0).tolist() == FROZEN  # a resumed run depends on it


FROZEN = [1, 4, 0, 6, 5, 3, 7, 2]


def test_permutations_are_fair():
    """Each row's place is uniform: over 6,000 epochs of 6 rows every cell of the 6 x 6 table is
    within 5 standard deviations of 1,000 (a fair one fails with probability 2e-5)."""
    table = np.zeros((6, 6))
    for epoch in range(6000):
        table[np.arange(6), permutation(6, 7, epoch)] += 1
    assert np.abs(table - 1000).max() < 5 * np.sqrt(6000 * (1 / 6) * (5 / 6))


def test_permutation_is_shared_and_read_only():
    with pytest.raises(ValueError, match="read-only"):
        permutation(5, 0, 0)[0] = 1


def test_epochs_seen_before_a_step():
    assert BatchOrder(10, 4).epoch(5) == 2.0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"n_rows": 0, "batch_rows": 1}, "n_rows"),
        ({"n_rows": 5, "batch_rows": 0}, "batch_rows"),
        ({"n_rows": 5, "batch_rows": 3, "world_size": 2}, "batch_rows"),
        ({"n_rows": 5, "batch_rows": 4, "world_size": 2, "rank": 2}, "rank"),
    ],
)
def test_numbers_that_do_not_fit(options, key):
    with pytest.raises(LacyError) as caught:
        BatchOrder(**options)
    assert caught.value.code == "E12" and caught.value.values["key"] == key
