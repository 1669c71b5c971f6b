"""Packing keeps every token, keeps documents apart, and wastes little room."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus import Encoded
from lacy.corpus.pack import Segment, best_fit, pack, split, to_segment
from lacy.errors import LacyError


def make_segment(length, start=1):
    ids = np.arange(start, start + length, dtype=np.int32)
    return Segment(ids, (ids % 7).astype(np.uint8))


@given(st.integers(1, 200), st.integers(3, 50))
@settings(max_examples=200, deadline=None)
def test_split_segments_join_to_the_document(length, context):
    whole = make_segment(length)
    parts = list(split(whole, context))
    assert np.concatenate([part.ids for part in parts]).tolist() == whole.ids.tolist()
    assert np.concatenate([part.marks for part in parts]).tolist() == whole.marks.tolist()
    sizes = [len(part.ids) for part in parts]
    assert max(sizes) <= context
    assert len(parts) == -(-length // context)
    assert length == 1 or min(sizes) >= 2  # one token has nothing to predict


@given(st.lists(st.integers(1, 30), max_size=120))
@settings(max_examples=200, deadline=None)
def test_best_fit_places_each_item_once_and_leaves_no_two_rows_that_would_fit_into_one(lengths):
    rows = best_fit(lengths, 30)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    filled = sorted(sum(lengths[item] for item in row) for row in rows)
    assert all(0 < room <= 30 for room in filled)
    assert all(first + second > 30 for first, second in pairwise(filled))


def slow_best_fit(lengths, context):
    """The same rule, written as one reads it."""
    rows, rooms = [], []
    for item in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = [row for row in range(len(rows)) if rooms[row] >= lengths[item]]
        if fitting:
            row = min(fitting, key=lambda row: rooms[row])
        else:
            row = len(rows)
            rows.append([])
            rooms.append(context)
        rows[row].append(item)
        rooms[row] -= lengths[item]
    return rows


@given(st.lists(st.integers(1, 30), max_size=80))
@settings(max_examples=200, deadline=None)
def test_best_fit_fills_as_the_slow_rule_does(lengths):
    def fillings(rows):
        return sorted(sum(lengths[item] for item in row) for row in rows)

    assert fillings(best_fit(lengths, 30)) == fillings(slow_best_fit(lengths, 30))


@given(st.lists(st.integers(2, 20), min_size=1, max_size=60), st.sampled_from([1, 40, 10_000]))
@settings(max_examples=100, deadline=None)
def test_pack_places_each_document_once_as_one_segment(lengths, window):
    segments = [make_segment(length, start=1 + 100 * i) for i, length in enumerate(lengths)]
    found = []
    for ids_RT, marks_RT, segments_RT in pack(segments, 20, pad_id=9999, window=window):
        padding = segments_RT == 0
        assert (ids_RT[padding] == 9999).all() and (marks_RT[padding] == 0).all()
        for ids, marks, numbers in zip(ids_RT, marks_RT, segments_RT, strict=True):
            count = numbers.max()
            real = numbers[numbers > 0]
            assert count >= 1 and set(real.tolist()) == set(range(1, count + 1))
            assert (np.diff(real) >= 0).all() and (numbers[len(real) :] == 0).all()
            for number in range(1, count + 1):
                here = numbers == number
                found.append((ids[here].tolist(), marks[here].tolist()))
    wanted = [(part.ids.tolist(), part.marks.tolist()) for part in segments]
    assert sorted(found) == sorted(wanted)


def test_packing_is_repeatable_and_tight():
    lengths = np.random.default_rng(0).lognormal(4, 1, 4000).astype(int).clip(2, 256)
    segments = [make_segment(int(length)) for length in lengths]
    first, second = ([*pack(segments, 256, 0)] for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
    rows = sum(len(part.marks_RT) for part in first)
    assert rows <= 1.01 * lengths.sum() / 256 + 1


@pytest.mark.parametrize(
    ("ids", "marks", "code", "words"),
    [
        ([1, 2, 3], [0, 0], "E20", "3 tokens but 2 marks"),
        ([1, 99], [0, 0], "E29", "token id 99"),
        ([1, -1], [0, 0], "E29", "token id -1"),
        ([1, 9], [0, 0], "E29", "token id 9"),  # <CALL> never stands in a text
        ([1, 2], [0, 256], "E29", "mark flags"),
        ([1, 2], [0, -1], "E29", "mark flags"),
    ],
)
def test_documents_that_do_not_fit_are_named(ids, marks, code, words):
    with pytest.raises(LacyError) as caught:
        to_segment(Encoded("doc-7", ids, marks), vocab_size=10, call_id=9)
    assert caught.value.code == code
    assert words in str(caught.value) and "doc-7" in str(caught.value)
