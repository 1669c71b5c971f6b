"""A cache with spare capacity equals that of transformers after any operation."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from lacy.model.cache import SPARE, new_cache


def same(roomy, plain):
    assert roomy.get_seq_length() == plain.get_seq_length()
    for ours, theirs in zip(roomy.layers, plain.layers, strict=True):
        assert torch.equal(ours.keys, theirs.keys) and torch.equal(ours.values, theirs.values)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_buffered_cache_equals_a_dynamic_cache(data):
    roomy, plain, rows, seed = new_cache(), DynamicCache(), data.draw(st.integers(1, 4)), 0
    with torch.inference_mode():
        for move in ["add", *data.draw(st.lists(st.sampled_from(["add", "crop", "select"])))]:
            length = plain.get_seq_length()
            if move == "add":
                width = data.draw(st.sampled_from([1, 1, 1, 3, SPARE + 5]))
                for layer in range(2):
                    seed += 1
                    torch.manual_seed(seed)
                    new = torch.randn(2, rows, 2, width, 3)
                    got = roomy.update(new[0], new[1], layer)
                    expected = plain.update(new[0], new[1], layer)
                    assert all(map(torch.equal, got, expected))
            elif move == "crop" and length > 1:
                count = data.draw(st.integers(1, length - 1))
                roomy.crop(-count)
                plain.crop(-count)
            elif move == "select":
                chosen = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=5))
                rows = len(chosen)
                roomy.batch_select_indices(torch.tensor(chosen))
                plain.batch_select_indices(torch.tensor(chosen))
            same(roomy, plain)


def test_a_step_copies_nothing_while_there_is_room():
    cache = new_cache()
    with torch.inference_mode():
        keys, _ = cache.update(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3), 0)
        places = {keys.data_ptr()}
        for _ in range(SPARE):
            keys, _ = cache.update(torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1, 3), 0)
            places.add(keys.data_ptr())
        assert len(places) == 1
        cache.update(torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1, 3), 0)
    assert cache.get_seq_length() == SPARE + 3


def test_rows_of_different_length_are_aligned_at_the_end():
    layer = new_cache(1).layers[0]
    long, short = torch.ones(2, 1, 4, 3), 2 * torch.ones(1, 1, 2, 3)
    with torch.inference_mode():
        layer.fill([(long, long), (short, short)], 5)
    assert layer.keys.shape == (3, 1, 5, 3)
    assert layer.keys[:, 0, :, 0].tolist() == [[0, 1, 1, 1, 1]] * 2 + [[0, 0, 0, 2, 2]]
