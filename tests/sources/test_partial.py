"""Partial answers: once the unit is complete, nothing that follows can change it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lacy.remote import RemoteError
from lacy.sources.models.answers import is_settled
from lacy.sources.models.partial import MAX_CHECKED_CHARS, PartialCompletion

TEXT = "Emil Quilodell (born 1901) was an ethnologist. He was born in"
WORDS = st.sampled_from(
    [*TEXT.split(), "Kelfield", "Kel", "in", "a", "O'", "Brien", "1", ",", "1,5", ".", "...", "…",
     '"', "'", "“", "<think>", "</think>", "</text>", "```", "\n", "I'm", "sorry", "St.", "東京",
     "*", "**", "__", "~~", "`", "-", "#", ">", "|", "1.", "[", "](x)", "[1]", "\\", "&amp;", "&",
     "<answer>", "</answer>", "<|im_end|>", "Answer:", "Sure!", "Here", "is", "the", "The", "next",
     "word", ":", "{", '{"answer": "', "}", "\ufffd", "Okay,", "He", "we", "need", "to", "$", "=",
     "May", "12,", "1815", "c.", "https://a", "<sup>2</sup>", "[source](x)"]
)  # fmt: skip
ANSWERS = st.lists(st.tuples(st.sampled_from(["", " ", "  ", "\n"]), WORDS), max_size=30).map(
    lambda parts: "".join(space + word for space, word in parts)
)


def result(partial, finish):
    try:
        return partial.result(finish)
    except RemoteError as error:
        return str(error)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([TEXT, "", "He said: ", "He was born on 1", "a a a"]),
    st.one_of(ANSWERS, ANSWERS.map(lambda rest: TEXT[:40] + rest), st.text(max_size=60)),
    st.sampled_from(["word", "value"]),
    st.booleans(),
    st.booleans(),
)
@example(TEXT, "Kelfield</text> and more, so it is, and more", "value", False, True)
@example(TEXT, TEXT + " Kelfield, where he grew up, and more", "value", True, True)
@example(TEXT, "c.\nEmil", "value", True, False)
@example(TEXT, "12, <|im_end|>", "word", True, False)
@example(TEXT, "May 12,\nand more, and more", "value", True, True)
def test_a_complete_unit_stays_whatever_follows(text, answer, unit, raw, ended):
    whole = PartialCompletion(text, unit, raw=raw)
    whole.add(answer)
    partial = PartialCompletion(text, unit, raw=raw)
    for letter in answer:
        if partial.add(letter):
            assert partial.refused == whole.refused
            assert partial.cut(ended=False) == whole.cut(ended=ended) != ""
            for finish in ("stop", "length", "content_filter"):
                assert result(partial, "") == result(whole, finish)
            break


@pytest.mark.parametrize(
    ("unit", "raw", "answer", "read"),
    [
        ("word", True, " Kelfield in the north", " Kelfield "),
        ("value", True, " Kelfield, where he", " Kelfield, "),
        ("value", True, " 1,500 metres. He", " 1,500 metres. "),
        (
            "word",
            False,
            "Kelfield, where he grew up in a village",
            "Kelfield, where he grew up in a ",
        ),
    ],
)
def test_reading_stops_at_the_first_possible_point(unit, raw, answer, read):
    partial = PartialCompletion(TEXT, unit, raw=raw)
    assert any(partial.add(letter) for letter in answer)  # stops at the first that suffices
    assert abs(len(partial.answer) - len(read)) <= 1
    assert partial.cut(ended=False).strip(" ,") in ("Kelfield", "1,500 metres")


def test_reading_continues_while_the_answer_may_become_something_else():
    for said in (
        "<think>He was born in Kelfield, I am sure of it",
        '"Kelfield, where he grew up, and',
    ):
        partial = PartialCompletion(TEXT, "value", raw=False)
        assert not partial.add(said)
    assert not is_settled(TEXT, "He was born in", raw=False)
    assert not PartialCompletion(TEXT, "token", raw=True).add(" Kelfield, where")


def test_an_endless_answer_is_not_checked_at_every_chunk():
    partial = PartialCompletion("x", "value", raw=True)
    partial.add("a" * (MAX_CHECKED_CHARS + 1))
    assert not partial.add(", and")


@pytest.mark.parametrize(
    ("answer", "is_none"),
    [
        ("N/A", True),
        ("n/a.", True),
        ("**Unknown.**", True),
        ('{"answer": "not specified"}', True),
        ("Answer: None", True),
        ("Unknown to all, he left", False),
        ("None of them", False),
        ("N", False),
        ("Nil Kelfield", False),
    ],
)
def test_answers_that_say_there_is_none(answer, is_none):
    partial = PartialCompletion("He was born in", "word", raw=False)
    partial.add(answer)
    assert (partial.result() == "") == is_none
    raw = PartialCompletion("He was", "word", raw=True)
    raw.add(" unknown")
    assert raw.result() == " unknown"


@pytest.mark.parametrize(
    ("answer", "unit"),
    [
        ("May 12, 1815, in London.", " May 12, 1815"),
        ("Jan 3, 44", " Jan 3"),
        ("On May 12, he left", " On May 12"),
        ("c. 1450, at home", " c. 1450"),
        ("vitamin c. Then", " vitamin c"),
        ("https://example.com/a_b, a page", " https://example.com/a_b"),
        ("Ulm: a town", " Ulm"),
        ("12 May 1815[1][2].", " 12 May 1815"),
        ("Ulm [1], a town", " Ulm"),
        ("Ulm[1, 3]", " Ulm"),
        ("Ulm[2](https://example.com), a town", " Ulm"),
        ("[Ulm][1], a town", " Ulm"),
        ("Ulm [source](https://example.com), a town", " Ulm"),
        ("Ulmer<sup>1</sup>, a town", " Ulmer"),
        ("10<sup>6</sup>, or more", " 10⁶"),
        ("9 km<sup>2</sup>, or more", " 9 km²"),
    ],
)
def test_values_with_punctuation_or_citations(answer, unit):
    for raw in (False, True):
        partial = PartialCompletion("It was", "value", raw=raw)
        partial.add(answer if not raw else f" {answer}")
        assert partial.result() == unit
    for end in range(len(answer)):  # what a stream takes for complete stays the same
        partial = PartialCompletion("It was", "value", raw=True)
        if partial.add(f" {answer[:end]}"):
            assert partial.result("") == unit
