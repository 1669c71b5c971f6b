"""Questions in a frame: examples, context, instructions, a blank."""

import pytest

from lacy.cascade import question_in
from lacy.cascade.framing import unframed

SHOTS = (
    "Answer the final question with a short factual phrase.\n\nQuestion: Where was Ada Lovelace "
    "born?\nAnswer: London\n\nQ: In what year was Emma published?\nA: 1815\n\n"
)


def asked(message):
    return question_in([{"role": "user", "content": message}])


@pytest.mark.parametrize(
    ("message", "question"),
    [
        ("Where was Ann Bell born?", None),
        ("Could you answer this question: Where was Ann Bell born?", None),
        ("Please answer the following question: Where was Ann Bell born?", None),
        ("I have a question: Where was Ann Bell born?", None),
        ("Answer in one word: Where was Ann Bell born?", None),
        ("Where was Ann Bell born? Answer with a short factual phrase.", None),
        ("Where was Ann Bell born?\nGive only the answer. Do not explain.", None),
        ("Please answer briefly. Where was Ann Bell born?", None),
        ("Question: Where was Ann Bell born?\nAnswer:", None),
        (f"{SHOTS}Question: Where was Ann Bell born?\nAnswer:", None),
        (f"{SHOTS}Question 3: Where was Ann Bell born?", None),
        ("Q: Where was Ann Bell born?", None),
    ],
)
def test_the_question_alone_is_asked(message, question):
    found = asked(message)
    assert found.text == "Where was Ann Bell born?" and found.asks and not found.turns
    assert found.opening() == "Ann Bell was born"


def test_examples_name_no_subject_and_context_does():
    assert "Lovelace" not in asked(f"{SHOTS}Question: Where was Ann Bell born?\nAnswer:").shown
    found = asked(
        "Context: I am writing about Ann Bell. Answer with a short factual phrase.\n"
        "Question: Where was she born?"
    )
    assert found.shown == "I am writing about Ann Bell.\n\nWhere was she born?"


@pytest.mark.parametrize(
    ("message", "opening", "closing"),
    [
        ("Complete the sentence with the missing fact: Ann Bell was born in ____.",
         "Ann Bell was born in", ""),
        ("Fill in the blank: ____ is the birth place of Ann Bell.", "",
         "is the birth place of Ann Bell"),
        ("Ann Bell, a painter, was born in [MASK] in 1901.", "Ann Bell, a painter, was born in",
         "in 1901"),
    ],
)  # fmt: skip
def test_a_blank_is_a_question_for_its_value(message, opening, closing):
    found = asked(message)
    assert found.asks and (found.opening(), found.closing()) == (opening, closing)


@pytest.mark.parametrize(
    "message",
    [
        "Write a poem. Answer me in rhymes: my love is far",
        "Can you help me with my question: I am sad",
        "How do I use snake_case__names in Python?",
        "",
        "Question:",
        "____",
        "The question is: to be or not to be",
    ],
)
def test_other_messages_ask_for_no_fact(message):
    found = asked(message)
    assert found is None or not found.asks


@pytest.mark.parametrize(
    "message",
    [
        "Line one.\nWhere was Ann Bell born?",
        "He said: Where was Ann Bell born?",
        "Q. E. D.",
        "Who said in a statement: I am the king?",
    ],
)
def test_a_message_without_a_frame_stays_as_it_is(message):
    assert unframed(message) == (" ".join(message.split()), "")


def test_long_messages_take_linear_time():
    for part in ("Question: a\n", "answer: b ", "____ ", "please answer ", "a: "):
        unframed(part * 40_000)


@pytest.mark.parametrize(
    ("question", "noun"),
    [
        ("In which Olympics did Ann Bell participate?", "Olympics"),
        ("Which NFL team is Ann Bell associated with?", "NFL team"),
        ("What is Ann Bell's job?", ""),
    ],
)
def test_a_noun_may_have_a_capital(question, noun):
    found = asked(question)
    assert found.asks and found.noun == noun
