"""Marks are sorted and apart, whatever an annotator proposes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.annotate.protocol import (
    REASONS,
    Annotator,
    annotator_settings,
    merge_marks,
    validated_marks,
)
from lacy.errors import LacyError
from lacy.types import Mark

spans = st.tuples(st.integers(0, 40), st.integers(0, 12), st.sampled_from(REASONS))
heaps = st.lists(spans.map(lambda s: Mark(s[0], s[0] + s[1], s[2])), max_size=12)


def covered(marks, content):
    wanted = (mark for mark in marks if (mark.reason == "CONTENT") == content)
    return {place for mark in wanted for place in range(mark.start, mark.end)}


@given(heaps)
def test_merged_marks_keep_the_facts_and_never_overlap(heap):
    settled = merge_marks(heap)
    assert all(a.end <= b.start for a, b in itertools.pairwise(settled))
    assert covered(settled, content=False) == covered(heap, content=False)
    assert covered(settled, content=True) <= covered(heap, content=True)
    assert merge_marks(settled) == settled
    assert merge_marks(reversed(heap)) == settled or len({m.start for m in heap}) < len(heap)


def test_a_union_takes_the_reason_and_relation_of_its_longest_member():
    year = Mark(4, 8, "DATE", "year")
    name = Mark(0, 20, "ENTITY", "league")
    assert merge_marks([year, name]) == [Mark(0, 20, "ENTITY", "league")]
    assert merge_marks([Mark(0, 5, "NUMBER"), Mark(0, 5, "DATE")]) == [Mark(0, 5, "DATE")]


def test_adjacent_values_stay_two():
    touching = [Mark(0, 4, "NUMBER"), Mark(4, 8, "DATE")]
    assert merge_marks(touching) == touching


def test_facts_win_over_content():
    marks = merge_marks([Mark(0, 10, "CONTENT"), Mark(8, 12, "ENTITY"), Mark(12, 15, "CONTENT")])
    assert marks == [Mark(8, 12, "ENTITY"), Mark(12, 15, "CONTENT")]


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([[]], "2 texts, 1 lists"),
        ([[Mark(0, 9, "DATE")], []], "3 characters"),
        ([[Mark(1, 2, "DATE"), Mark(0, 1, "DATE")], []], r"text 0 has a mark \[0, 1\)"),
        ([[], [Mark(0, 2, "DATE"), Mark(1, 3, "DATE")]], "text 1"),
        ([[Mark(2, 2, "DATE")], []], r"\[2, 2\)"),
        ([[Mark(0, 1, "WHIM")], []], "unknown reason 'WHIM'"),
    ],
)
def test_invalid_marks_are_an_error(marks, says):
    with pytest.raises(LacyError, match=says) as caught:
        validated_marks(["abc", "abc"], marks, "mine")
    assert caught.value.code == "E31"


class Loud:
    """The smallest annotator: a name and a method."""

    name = "loud"

    def annotate(self, texts):
        return [[] for _ in texts]


def test_any_object_with_name_and_annotate_is_an_annotator():
    assert isinstance(Loud(), Annotator)
    assert annotator_settings(Loud()) == {"name": "loud"}


def test_a_merged_mark_keeps_a_label():
    marks = [Mark(0, 9, "ENTITY"), Mark(0, 4, "ENTITY", label="GPE"), Mark(5, 6, "NUMBER")]
    assert merge_marks(marks) == [Mark(0, 9, "ENTITY", label="GPE")]
    assert merge_marks([Mark(0, 4, "DATE", label="DATE")]) == [Mark(0, 4, "DATE", label="DATE")]
