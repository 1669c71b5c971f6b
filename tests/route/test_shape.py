"""How texts and answer options are written, as inputs of heads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.route.shape import (
    KNOTS,
    OPTION_COLUMNS,
    SplineShape,
    option_counts,
    options_of,
)

QUESTION = "Which one is not a bird?\nA. owl\nB. not a bat\nC. All of the above\nD. 12\nAnswer:"


def column(name, text):
    return option_counts(text)[OPTION_COLUMNS.index(name)]


def test_options_are_found_in_their_usual_forms():
    assert options_of(QUESTION) == (
        "Which one is not a bird?", ["owl", "not a bat", "All of the above", "12"],
    )  # fmt: skip
    assert options_of("Pick\n(a) one\n(b) two")[1] == ["one", "two"]
    assert options_of("1. is no option when it comes first") == (
        "1. is no option when it comes first", [],
    )  # fmt: skip


def test_counts_by_hand():
    assert column("options", QUESTION) == 4
    assert column("longest option", QUESTION) == pytest.approx(np.log1p(16))
    assert column("options that are numbers", QUESTION) == 0.25
    assert column("negations in options", QUESTION) == 1
    assert column("all or none of the above", QUESTION) == 1
    assert column("options", "no options here") == 0
    assert column("numbered statements", "Statement 1 | x. Statement 2 | y.") == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.text(max_size=80))
def test_any_text_has_finite_inputs_within_those_of_training(train, other):
    features = SplineShape()
    inputs = features.fit(train)
    found = features.matrix([*train, other])
    assert np.isfinite(found).all()
    assert np.allclose(found[:-1], inputs)
    # Beyond the training texts, a line goes on flat.
    assert (found >= 0).all()
    assert (found <= (features.knots_FK[:, 1:] - features.knots_FK[:, :-1]).ravel() + 1e-9).all()
    assert found.shape[1] == len(features.names())


def test_pieces_add_up_to_the_input():
    features = SplineShape()
    texts = ["x" * size for size in (1, 3, 9, 27, 81)]
    pieces = features.fit(texts).reshape(len(texts), -1, KNOTS - 1)
    plain = features._plain(texts)
    assert np.allclose(pieces.sum(2), plain - plain.min(0), atol=1e-6)


def test_stored_features_read_as_before():
    features = SplineShape()
    features.fit([QUESTION, "hello", "what is 3 + 4?"])
    again = SplineShape(features.arrays()["knots"])
    assert np.array_equal(again.matrix([QUESTION]), features.matrix([QUESTION]))
