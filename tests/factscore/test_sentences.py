import pytest

from lacy.factscore import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("He was born. He died.", ["He was born.", "He died."]),
        (
            "J. R. R. Tolkien was born in Bloemfontein. C. S. Lewis met him.",
            ["J. R. R. Tolkien was born in Bloemfontein.", "C. S. Lewis met him."],
        ),
        (
            'She was in "Hello, Dolly!", and in "M*A*S*H." In 1970 she left.',
            ['She was in "Hello, Dolly!", and in "M*A*S*H."', "In 1970 she left."],
        ),
        (
            "Dr. Ada Lee lives in Washington, D.C. She has a Ph.D. in law.",
            ["Dr. Ada Lee lives in Washington, D.C.", "She has a Ph.D. in law."],
        ),
        ("It was the U.S. Open. It rained.", ["It was the U.S. Open.", "It rained."]),
        (
            "Miracle in Cell No. 7 was a film. So what?",
            ["Miracle in Cell No. 7 was a film.", "So what?"],
        ),
        (
            "Ramesses V. He ruled, and Ramesses V. ruled.",
            ["Ramesses V.", "He ruled, and Ramesses V. ruled."],
        ),
        ("He came [1][2]. He saw.[3] He won.", ["He came.", "He saw.", "He won."]),
        (
            "- First item.\n- Second item.\n\n3. Third item.",
            ["First item.", "Second item.", "Third item."],
        ),
        ("He cost 3.5 million. then he left. Wow.", ["He cost 3.5 million. then he left. Wow."]),
        ("Sure. Here is a text about him.", ["Sure. Here is a text about him."]),
        ("", []),
        (" \n ", []),
        ("He asked: Who? (", ["He asked: Who? ("]),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_no_word_is_lost():
    text = 'A. "B c." D e! (F g?) H... I j.\nK l [4]. M n'
    joined = " ".join(split_sentences(text))
    assert [c for c in joined if c.isalpha()] == [c for c in text if c.isalpha()]
