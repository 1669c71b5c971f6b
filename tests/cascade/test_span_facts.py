"""Spans say which fact a call returned, or why it returned none, in words that can be counted."""

import pytest

from lacy.cascade import Engine
from lacy.testing import scripted
from lacy.types import Candidate, Reply

PLACES = (
    Candidate(" Ulm.", "Mara · birthplace · Ulm", "birthplace", 8.0, "Mara"),
    Candidate(" Bonn.", "Mara · deathplace · Bonn", "deathplace", 8.0, "Mara"),
)


class Book:
    """Returns the same reply to every request."""

    name = "book"

    def __init__(self, **reply):
        self.reply = Reply(**reply)

    async def ask(self, requests):
        return [self.reply] * len(requests)


def first_call(source, prompt="Mara was born in", **how):
    settings = {"abstain": None, "max_new_tokens": 8, "restate": False} | how
    engine = Engine(scripted(lambda text: "x"), source, "always", **settings)
    [answer] = engine.generate([prompt])
    return next(span for span in answer.spans if span.asked)


def test_a_borrowed_value_has_relation_subject_and_score():
    span = first_call(Book(candidates=PLACES, ranked=True))
    assert span.speaker == "book" and span.missing == "" and span.subject == "Mara"
    chosen = next(c for c in PLACES if c.text == span.text)
    assert span.relation == chosen.kind and isinstance(span.score, float)


def test_a_single_value_that_is_not_ranked_has_no_score():
    span = first_call(Book(candidates=PLACES[:1]))
    assert (span.relation, span.subject, span.score) == ("birthplace", "Mara", None)


@pytest.mark.parametrize(
    ("source", "missing", "how"),
    [
        (None, "no source", {}),
        (Book(error="down", fault=True), "failed", {}),
        (Book(), "not found", {}),
        (Book(error="it does not know 'Mara'"), "not found", {}),
        (Book(candidates=PLACES, ranked=True), "stated", {"prompt": "Ulm. Bonn. Mara was in"}),
        (Book(candidates=PLACES, ranked=True), "none fits", {"abstain": 1e9}),
        (Book(candidates=PLACES), "no room", {"max_new_tokens": 2}),
    ],
)
def test_a_call_without_an_answer_says_why(source, missing, how):
    span = first_call(source, **how)
    assert span.speaker == "slm" and span.missing == missing
    # the value that fitted best says what the call was about
    fits = missing in ("none fits", "no room")
    assert (span.relation in ("birthplace", "deathplace")) is fits
    assert (span.subject == "Mara") is fits
