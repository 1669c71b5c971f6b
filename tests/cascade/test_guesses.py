"""Guesses: text of the model after a call that found nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.cascade.guesses import GuessTracker, guessed_ranges
from lacy.types import Answer, Span


def marked(*spans):
    """The text, with brackets around its guesses."""
    answer = Answer(tuple(spans))
    text, end = answer.text, 0
    shown = ""
    for start, stop in guessed_ranges(answer):
        shown += text[end:start] + "[" + text[start:stop] + "]"
        end = stop
    return shown + text[end:]


def guess(text):
    return Span(text, "slm", 1, "nothing found", asked=True)


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        (" June 1994. She sang.", "[ 12 June 1994.] She sang."),
        (" June 1994", "[ 12 June 1994]"),
        (" May, 1815, in Ulm.", "[ 12 May, 1815, ]in Ulm."),
        (" May at 3.30 by J. R. Smith; he left", "[ 12 May at 3.30 by J. R. Smith;] he left"),
        (" lines\nNext", "[ 12 lines]\nNext"),
        (" May 1815) and left", "[ 12 May 1815]) and left"),
        ("? Nobody knows", "[ 12?] Nobody knows"),
    ],
)
def test_a_guess_goes_on_to_the_end_of_its_clause(after, shown):
    prompt = Span("Ada was born on", "prompt")
    assert marked(prompt, guess(" 12"), Span(after, "slm", 9)) == "Ada was born on" + shown


def test_text_of_a_source_is_no_guess_and_ends_one():
    spans = [
        Span("Ada", "prompt"), guess(" was"), Span(" in", "slm"),
        Span(" Ulm", "book", asked=True), Span(" for long", "slm"), guess(" 3"), guess(" years"),
    ]  # fmt: skip
    assert marked(*spans) == "Ada[ was in] Ulm for long[ 3][ years]"


@given(st.text("aB 1.,;\n", max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_parts_of_a_span_are_marked_like_the_whole(text, cuts):
    whole = GuessTracker()
    whole.split(guess(" x"))
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = GuessTracker()
    pieces.split(guess(" x"))
    parts = [
        part
        for start, end in pairwise(edges)
        for part in pieces.split(Span(text[start:end], "slm"))
    ]

    def flags(parts):
        return [flag for part, flag in parts for _ in part]

    assert "".join(part for part, _ in parts) == text
    assert flags(parts) == flags(whole.split(Span(text, "slm")))
